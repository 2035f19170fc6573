"""How the stand-in of Amazon's catalogue behaves where the contract leaves it open, or where a test wants it worse.

What belongs here: plain values. What does not: behaviour, and faults of single calls (mishaps.py).
"""

from dataclasses import dataclass
from enum import StrEnum

from imagesync_pipelines.sandbox.amazon.pictures import REAL_HOST


class Imageless(StrEnum):
    """How an item without images shows it; all three were seen."""

    NO_KEY = "no key"  # no `images` at all
    NO_GROUP = "no group"  # `images` is an empty list
    EMPTY_GROUP = "empty group"  # the marketplace's group has no images


@dataclass
class Switches:
    """May be changed while the stand-in runs."""

    rate: float = 2.0  # calls a second of the sandbox's clock, for each of the two operations
    burst: int = 2  # calls that an unused bucket lets through at once
    link_host: str = REAL_HOST  # scheme and host of the links to images
    imageless: Imageless = Imageless.EMPTY_GROUP
    old_variants: bool = False  # slots beyond the ten known ones, and null, are answered too, as before 2022
    parents_in_keyword_search: bool = False  # parents are found by their words; by an identifier they always are
    escaped_slashes: bool = False  # links are written https:\/\/ in the JSON
