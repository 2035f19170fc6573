"""Amazon's marketplaces: their ids, the hosts that know them, and the names under which they are asked for."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NORTH_AMERICA = "sellingpartnerapi-na.amazon.com"
EUROPE = "sellingpartnerapi-eu.amazon.com"
FAR_EAST = "sellingpartnerapi-fe.amazon.com"


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
