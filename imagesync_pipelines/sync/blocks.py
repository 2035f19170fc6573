"""Blocks of consecutive pages of a source: their keys, their pages, which ones a source has."""

import re
from collections.abc import Collection, Iterable

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


def stray_blocks(existing: Collection[str], wanted: Collection[str], busy: Collection[str]) -> list[str]:
    """The existing blocks to remove: those beyond the end of the source, and those that stand after a gap.

    busy: blocks that an unfinished run may still write. Blocks go from the last one on and no further than to a busy
    one: a block that went from the middle could not come back, because ranges follow the order of adding.
    """
    gap = min(set(wanted) - set(existing), default="")
    strays: list[str] = []
    for block in sorted(existing, reverse=True):
        if block in busy or (block in wanted and not (gap and block > gap)):
            break
        strays.append(block)
    return strays


def missing_blocks(existing: Collection[str], wanted: Collection[str]) -> list[str]:
    """The wanted blocks that can be added after the existing ones, ascending.

    One that belongs before an existing block waits until that is gone (stray_blocks): Dagster's ranges follow the order
    of adding, so such a range would name other pages than it says.
    """
    return sorted(block for block in wanted if not existing or block > max(existing))
