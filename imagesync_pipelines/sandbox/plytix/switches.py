"""How the stand-in of Plytix behaves where the contract leaves it open, or where a test wants it worse.

What belongs here: plain values. What does not: behaviour, and faults of single calls (sandbox/faults.py, losing.py).
"""

from dataclasses import dataclass
from enum import StrEnum


class WaitNamed(StrEnum):
    """How a 429 names the time to wait (contract section 3)."""

    SECONDS = "seconds"  # Retry-After: 7
    DECIMAL = "decimal"  # Retry-After: 6.492
    TTL = "ttl"  # no header; `ttl` in the body, milliseconds
    BOTH = "both"  # Retry-After: 7 and `ttl`
    ABSENT = "absent"  # neither


class WindowStart(StrEnum):
    """When a window of the rate limit begins; the contract only knows that it does not slide."""

    FIRST_CALL = "first call"  # with the first call after the window before has ended
    CLOCK = "clock"  # at whole multiples of its length


class Counts(StrEnum):
    """How `count` and `total_count` of a search are meant (contract section 6)."""

    MATCHES_OF_ACCOUNT = "matches of account"  # matches; all records of the account
    PAGE_OF_MATCHES = "page of matches"  # rows on this page; matches


class ThumbnailForm(StrEnum):
    """How v2 gives a thumbnail; two documented examples differ."""

    OBJECT = "object"  # {"id": "…"}
    LIST = "list"  # ["…"]


@dataclass
class Switches:
    """May be changed while the stand-in runs; delays are seconds of the sandbox's clock unless said otherwise."""

    wait_named: WaitNamed = WaitNamed.SECONDS
    window_start: WindowStart = WindowStart.FIRST_CALL
    in_refused: bool = False  # `in` on sku is answered with 422
    in_most: int = 100  # SKUs in one `in`; more are a 422
    groups_most: int | None = None  # OR groups in one search; more are a 422
    columns_most: int = 20  # columns of a search; the documents say 20 and 50
    counts: Counts = Counts.MATCHES_OF_ACCOUNT
    v2_thumbnail: ThumbnailForm = ThumbnailForm.OBJECT
    bad_image_status: int = 422  # for a URL that gives no image: 422 or 400, not recorded anywhere
    lost_update_race: bool = False  # two links of one product at once: one is lost, though both are answered with 201
    race_seconds: float = 0.05  # real seconds between the read and the write of a link, when the race is on
    inheritance: bool = False  # thumbnail and media attributes of a parent flow to its variants
    delete_delay: float = 0.0  # so long a deleted asset is still answered
    search_delay: float = 0.0  # so long a new asset is not found by a search
    deprecation: str | None = None  # the header X-Plytix-Deprecation of every answer
