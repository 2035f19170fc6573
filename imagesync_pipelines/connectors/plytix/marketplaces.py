"""Amazon's marketplaces, and which one an entry of a mapping file is of.

The entry's own name holds, then its SKU's, its summary's, the file's. A name that is no marketplace of Amazon is
refused at every level, since pictures of one country would go to products of another.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

NORTH_AMERICA = "sellingpartnerapi-na.amazon.com"
EUROPE = "sellingpartnerapi-eu.amazon.com"
FAR_EAST = "sellingpartnerapi-fe.amazon.com"
DEFAULT_MARKETPLACE = "US"


class Marketplace(NamedTuple):
    """A marketplace: Amazon's id, the country as it stands in SKUs (`AMZN-UK-…`), the host of its catalogue API."""

    id: str
    country: str
    host: str


_ALL = (
    Marketplace("ATVPDKIKX0DER", "US", NORTH_AMERICA),
    Marketplace("A2EUQ1WTGCTBG2", "CA", NORTH_AMERICA),
    Marketplace("A1AM78C64UM0Y8", "MX", NORTH_AMERICA),
    Marketplace("A2Q3Y263D00KWC", "BR", NORTH_AMERICA),
    Marketplace("A1F83G8C2ARO7P", "UK", EUROPE),
    Marketplace("A28R8C7NBKEWEA", "IE", EUROPE),
    Marketplace("A1PA6795UKMFR9", "DE", EUROPE),
    Marketplace("A13V1IB3VIYZZH", "FR", EUROPE),
    Marketplace("APJ6JRA9NG5V4", "IT", EUROPE),
    Marketplace("A1RKKUPIHCS9HS", "ES", EUROPE),
    Marketplace("A1805IZSGTT6HS", "NL", EUROPE),
    Marketplace("A2NODRKZP88ZB9", "SE", EUROPE),
    Marketplace("A1C3SOZRARQ6R3", "PL", EUROPE),
    Marketplace("A33AVAJ2PDY3EV", "TR", EUROPE),
    Marketplace("AMEN7PMS3EDWL", "BE", EUROPE),
    Marketplace("A2VIGQ35RCS4UG", "AE", EUROPE),
    Marketplace("A17E79C6D8DWNP", "SA", EUROPE),
    Marketplace("ARBP9OOSHTCHU", "EG", EUROPE),
    Marketplace("AE08WJ6YKNBMC", "ZA", EUROPE),
    Marketplace("A21TJRUUN4KGV", "IN", EUROPE),
    Marketplace("A1VC38T7YXB528", "JP", FAR_EAST),
    Marketplace("A39IBJ37TRP1C6", "AU", FAR_EAST),
    Marketplace("A19VAU5U5O7RUS", "SG", FAR_EAST),
)
MARKETPLACES: Mapping[str, Marketplace] = MappingProxyType({one.country: one for one in _ALL})
"""All marketplaces by country."""
HOSTS = frozenset(one.host for one in _ALL)
# ISO's code for the United Kingdom; Amazon's own code, and that of its SKUs in Plytix, is UK.
_BY_NAME: Mapping[str, str] = MappingProxyType(
    {one.id: one.country for one in _ALL} | {country: country for country in MARKETPLACES} | {"GB": "UK"}
)


def known_marketplace(text: str) -> str | None:
    """The country of a marketplace that is named by country or by Amazon's id; None for anything else."""
    return _BY_NAME.get(text.strip().upper())


def wrong_host(host: str, country: str) -> str:
    """The host of Amazon that knows a marketplace, where `host` is another one of Amazon's; '' when nothing is wrong.

    A host that is not Amazon's (a stand-in, a proxy) may answer for all of them.
    """
    right = MARKETPLACES[country].host
    return right if host in HOSTS and host != right else ""


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
