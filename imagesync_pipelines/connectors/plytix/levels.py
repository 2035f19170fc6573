"""Which marketplace an entry of a mapping file is of: the file, the entry and its summary may each name one.

What belongs here: the levels and which of them holds, pure. What does not: the table of marketplaces (marketplaces.py),
the rest of a file (mapping.py). The entry's own name holds, then its SKU's, its summary's, the file's. A name that is
no marketplace of Amazon is refused at every level, since pictures of one country would go to products of another.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from imagesync_pipelines.connectors.plytix.marketplaces import DEFAULT_MARKETPLACE, known_marketplace

AMAZON_SKU = re.compile(r"AMZN-([A-Z]{2})-([A-Z0-9]{10})")
_SHOWN = 60
_EXPECTED = "one of Amazon's was expected, by country (such as US) or by Amazon's id"


class Levels(NamedTuple):
    """The countries that the levels of an entry name, '' where one names none, the one that holds first."""

    entry: str
    sku: str
    summary: str
    file: str

    @property
    def holds(self) -> str:
        """The entry's marketplace; '' when no level names one."""
        return next(filter(None, self), "")

    @property
    def difference(self) -> str:
        """What is told where summary or file name another marketplace than the one that holds; '' where none does."""
        others = {"its _raw_summary": self.summary, "the file": self.file}
        said = [f"{level} names {country}" for level, country in others.items() if country not in ("", self.holds)]
        return f"it is of {self.holds}, though {' and '.join(said)}" if said else ""


def file_marketplace(metadata: object) -> str:
    """The country that a file names in its metadata, '' when it names none.

    Raises ValueError with the reason for an unknown one, and for two that are not the same.
    """
    about = metadata if isinstance(metadata, dict) else {}
    named = {country_named(name, about.get(name)) for name in ("marketplace", "marketplace_id")} - {""}
    if len(named) > 1:
        raise ValueError(
            f"marketplace {about['marketplace']!r} and marketplace_id {about['marketplace_id']!r} of its metadata are "
            "not the same marketplace"
        )
    return next(iter(named), "")


def levels_of(raw: Mapping[str, Any], file: str) -> Levels:
    """What the levels of an entry name; `file`: the country of its file. Raises ValueError for an unknown one."""
    sku = AMAZON_SKU.fullmatch(_text(raw.get("suggested_sku")))
    return Levels(
        entry=country_named("marketplace", raw.get("marketplace")),
        sku=country_named("marketplace", sku[1]) if sku else "",
        summary=country_named("_raw_summary.marketplaceId", _summary(raw)),
        file=file,
    )


def names_any(entries: Iterable[object]) -> bool:
    """Whether any of these entries names a marketplace at any level, known or not."""
    return any(isinstance(raw, dict) and _names_one(raw) for raw in entries)


def differences_told(source: str, told: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """One sentence about all entries (place, Levels.difference) whose levels name different marketplaces."""
    if not told:
        return ()
    place, difference = told[0]
    return (
        f"{source}: {len(told)} entries name another marketplace than what is above or below them, and the entry "
        f"holds; the first, {place}: {difference}.",
    )


def default_told(source: str) -> tuple[str, ...]:
    """The sentence about a file that names no marketplace at any level."""
    return (
        f"{source}: it names no marketplace anywhere, so its products are taken for those of {DEFAULT_MARKETPLACE}.",
    )


def country_named(name: str, value: object) -> str:
    """The country of the marketplace in a field, '' where the field is empty. Raises ValueError for an unknown one."""
    if _is_empty(value):
        return ""
    country = known_marketplace(value) if isinstance(value, str) else None
    if country is None:
        raise ValueError(f"{name} {str(value)[:_SHOWN]!r} is unknown; {_EXPECTED}")
    return country


def _names_one(raw: Mapping[str, Any]) -> bool:
    if AMAZON_SKU.fullmatch(_text(raw.get("suggested_sku"))):
        return True
    return not (_is_empty(raw.get("marketplace")) and _is_empty(_summary(raw)))


def _summary(raw: Mapping[str, Any]) -> object:
    summary = raw.get("_raw_summary")
    return summary.get("marketplaceId") if isinstance(summary, dict) else None


def _is_empty(value: object) -> bool:
    """Whether a field says nothing; a table that was written as JSON has NaN there."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
