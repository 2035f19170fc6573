"""Blocks of consecutive pages of a source: their keys, their pages, which ones a source has."""

import re
from collections.abc import Collection, Iterable, Sequence

from imagesync_pipelines.errors import ImagesyncError

# Fixed for ever: partitions are compared as text, so the width decides their order.
_DIGITS = 6
_BLOCK = re.compile(r"(\d{6})-(\d{6})")


class BadBlockError(ImagesyncError, ValueError):
    """A partition key is no block of pages, or does not fit to the blocks that exist: to their size or order."""

    retryable = False


def block_key(first: int, pages_per_block: int) -> str:
    """The key of the block that starts at page `first` (pages count from 1): `000001-000010`."""
    last = first + pages_per_block - 1
    if first < 1 or pages_per_block < 1 or last >= 10**_DIGITS:
        raise BadBlockError(f"Pages {first} to {last} make no block; pages go from 1 to {10**_DIGITS - 1:,}.")
    return f"{first:0{_DIGITS}}-{last:0{_DIGITS}}"


def page_blocks(pages: int, pages_per_block: int) -> list[str]:
    """The keys of all blocks that hold pages 1 to `pages`, ascending.

    The last block has its full width, so that its key stays when the source grows by a page.
    """
    return [block_key(first, pages_per_block) for first in range(1, pages + 1, pages_per_block)]


def block_pages(key: str) -> range:
    """The pages of a block, ascending. Raises BadBlockError for a key that is none."""
    found = _BLOCK.fullmatch(key)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise BadBlockError(f"{key!r} is no block of pages; one looks like 000001-000010.")
    return range(int(found[1]), int(found[2]) + 1)


def check_block_size(existing: Iterable[str], pages_per_block: int, reset_command: str) -> None:
    """Raise BadBlockError when partitions exist that were made with another block size.

    `reset_command` is what a person can type to forget all page partitions of the connector.
    """
    for key in existing:
        pages = block_pages(key)
        if key != block_key(pages.start - (pages.start - 1) % pages_per_block, pages_per_block):
            raise BadBlockError(
                f"The page partitions hold {len(pages)} pages each ({key}), but the setting says {pages_per_block}. "
                f"Set it back, or forget the stored pages and their partitions with `{reset_command}`."
            )


def missing_blocks(existing: Collection[str], wanted: Sequence[str]) -> list[str]:
    """The wanted blocks to add after the existing ones, ascending.

    Raises BadBlockError when one of them belongs before an existing block: Dagster's ranges follow the order of
    adding, so such a range would name other pages than it says.
    """
    missing = sorted(set(wanted) - set(existing))
    if missing and existing and missing[0] < max(existing):
        raise BadBlockError(
            f"Partition {missing[0]} is missing although {max(existing)} is there. Ranges of partitions follow the "
            "order of adding: remove all page partitions with the reset-pages command, they are then added in order."
        )
    return missing
