"""The rules of Amazon's pictures: which entries are one picture, which one is taken, in which order,
under which name; and Amazon's marketplaces, with the hosts that know them.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from imagesync_pipelines.connectors.plytix.errors import BadImageUrlError
from imagesync_pipelines.connectors.plytix.model import AmazonItem, ItemImage, Listing, ListingImage, SetAside
from imagesync_pipelines.languages import N_

SKU_PREFIX = "AMZN-"
MAIN = "MAIN"
SWATCH = "SWCH"
AMAZON_SKU = re.compile(r"AMZN-([A-Z]{2})-([A-Z0-9]{10})")
_CODE = re.compile(r"[A-Z0-9]{1,10}")
_NUMBERED = re.compile(r"PT(\d{1,2})")
_ASIN = re.compile(r"[A-Z0-9]{10}")
_HOST = re.compile(r"([a-z0-9-]+\.)*media-amazon\.(com|cn)|([a-z0-9-]+\.)*(ssl-)?images-amazon\.com")
# Ids had 11 characters in all that was seen; + and - are part of every fifth one, and case matters.
_ID = "[A-Za-z0-9+-]{8,16}"
# What stands before it in addresses of pages (/images/W/<experiment>) changes nothing of the picture.
_IMAGE_PATH = re.compile(rf"(/images/W/[^/]+)?/images/I/(?P<id>{_ID})(?P<tokens>\._.*_)?\.(?P<ext>[A-Za-z]{{3,4}})")
_KEY = re.compile(rf"{_ID}\.[a-z]{{3,4}}")
_FILE_PREFIX = "amazon_"
NORTH_AMERICA = "sellingpartnerapi-na.amazon.com"
EUROPE = "sellingpartnerapi-eu.amazon.com"
FAR_EAST = "sellingpartnerapi-fe.amazon.com"


class Marketplace(NamedTuple):
    """A marketplace: Amazon's id, the country as it stands in SKUs (`AMZN-UK-…`), the host of its catalogue API.

    name: of the country, in English. site: of its shop, which is Amazon's own name of the marketplace.
    """

    id: str
    country: str
    host: str
    name: str
    site: str


_ALL = (
    Marketplace("ATVPDKIKX0DER", "US", NORTH_AMERICA, N_("United States"), "amazon.com"),
    Marketplace("A2EUQ1WTGCTBG2", "CA", NORTH_AMERICA, "Canada", "amazon.ca"),
    Marketplace("A1AM78C64UM0Y8", "MX", NORTH_AMERICA, "Mexico", "amazon.com.mx"),
    Marketplace("A2Q3Y263D00KWC", "BR", NORTH_AMERICA, "Brazil", "amazon.com.br"),
    Marketplace("A1F83G8C2ARO7P", "UK", EUROPE, N_("United Kingdom"), "amazon.co.uk"),
    Marketplace("A28R8C7NBKEWEA", "IE", EUROPE, "Ireland", "amazon.ie"),
    Marketplace("A1PA6795UKMFR9", "DE", EUROPE, "Germany", "amazon.de"),
    Marketplace("A13V1IB3VIYZZH", "FR", EUROPE, "France", "amazon.fr"),
    Marketplace("APJ6JRA9NG5V4", "IT", EUROPE, "Italy", "amazon.it"),
    Marketplace("A1RKKUPIHCS9HS", "ES", EUROPE, "Spain", "amazon.es"),
    Marketplace("A1805IZSGTT6HS", "NL", EUROPE, "Netherlands", "amazon.nl"),
    Marketplace("A2NODRKZP88ZB9", "SE", EUROPE, "Sweden", "amazon.se"),
    Marketplace("A1C3SOZRARQ6R3", "PL", EUROPE, "Poland", "amazon.pl"),
    Marketplace("A33AVAJ2PDY3EV", "TR", EUROPE, "Turkey", "amazon.com.tr"),
    Marketplace("AMEN7PMS3EDWL", "BE", EUROPE, "Belgium", "amazon.com.be"),
    Marketplace("A2VIGQ35RCS4UG", "AE", EUROPE, N_("United Arab Emirates"), "amazon.ae"),
    Marketplace("A17E79C6D8DWNP", "SA", EUROPE, N_("Saudi Arabia"), "amazon.sa"),
    Marketplace("ARBP9OOSHTCHU", "EG", EUROPE, "Egypt", "amazon.eg"),
    Marketplace("AE08WJ6YKNBMC", "ZA", EUROPE, N_("South Africa"), "amazon.co.za"),
    Marketplace("A21TJRUUN4KGV", "IN", EUROPE, "India", "amazon.in"),
    Marketplace("A1VC38T7YXB528", "JP", FAR_EAST, "Japan", "amazon.co.jp"),
    Marketplace("A39IBJ37TRP1C6", "AU", FAR_EAST, "Australia", "amazon.com.au"),
    Marketplace("A19VAU5U5O7RUS", "SG", FAR_EAST, "Singapore", "amazon.sg"),
)
MARKETPLACES: Mapping[str, Marketplace] = MappingProxyType({one.country: one for one in _ALL})
"""All marketplaces by country."""
HOSTS = frozenset(one.host for one in _ALL)
# ISO's code for the United Kingdom (Amazon's own code, and that of its SKUs in Plytix, is UK), and longer names.
_ALSO = {"GB": "UK", "UNITED STATES OF AMERICA": "US", "USA": "US", "TÜRKIYE": "TR"}
_BY_NAME: Mapping[str, str] = MappingProxyType(
    {word.upper(): one.country for one in _ALL for word in (one.id, one.country, one.name, one.site)} | _ALSO
)


def known_marketplace(text: str) -> str | None:
    """The country of a marketplace by its code or name, by its shop (amazon.fr) or Amazon's id; None for others."""
    return _BY_NAME.get(text.strip().upper())


class ImageAddress(NamedTuple):
    """What a link addresses: canonical key, URL of the original; `altered`: the link asked for another size or form."""

    key: str
    url: str
    altered: bool


def picture_of(link: str) -> ImageAddress:
    """The picture behind a link, whatever host, size tokens, query or spelling of + it has (docs/contracts/amazon.md).

    Raises BadImageUrlError for what is no URL, another host, and legacy /images/P/ addresses.
    """
    try:
        parts = urlsplit(link.strip())
        host = parts.hostname or ""
    except ValueError:
        raise BadImageUrlError("not a URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise BadImageUrlError("not a URL")
    if not _HOST.fullmatch(host):
        raise BadImageUrlError("not on an image host of Amazon")
    path = unquote(parts.path)
    if path.startswith("/images/P/"):
        raise BadImageUrlError("a legacy address by ASIN: what it shows may change, or be an empty pixel")
    match = _IMAGE_PATH.fullmatch(path)
    if match is None:
        raise BadImageUrlError("not the address of an image (/images/I/<id>.<extension>)")
    key = f"{match['id']}.{match['ext'].lower()}"
    return ImageAddress(key, address_of(key), match["tokens"] is not None)


def address_of(key: str) -> str:
    """Where the original of a picture is, by its canonical key; '' for what is no such key."""
    return f"https://m.media-amazon.com/images/I/{key}" if _KEY.fullmatch(key) else ""


def canonical_variant(code: str | None) -> str:
    """The code of a variant as we write it: upper case, PT1 as PT01, SWATCH as SWCH; no code is '', never MAIN."""
    text = (code or "").strip().upper()
    if not _CODE.fullmatch(text):
        return ""
    numbered = _NUMBERED.fullmatch(text)
    if numbered:
        return f"PT{int(numbered[1]):02d}"
    return SWATCH if text == "SWATCH" else text


def variant_order(variant: str) -> tuple[int, str]:
    """Sorts canonical variants: MAIN, PT01 …, angle shots and unknown codes by name, images without one, the swatch."""
    if variant == MAIN:
        return 0, ""
    if _NUMBERED.fullmatch(variant):
        return 1, variant
    if variant == SWATCH:
        return 4, ""
    return (2, variant) if variant else (3, "")


def amazon_sku(marketplace: str, asin: str) -> str:
    """The SKU of Amazon's product in Plytix; images go to it, never to the canonical product."""
    return f"{SKU_PREFIX}{marketplace}-{asin}"


def is_asin(text: str) -> bool:
    """Whether a text has the form of an ASIN."""
    return _ASIN.fullmatch(text) is not None


def file_name(key: str) -> str:
    """The name that a picture gets in Plytix: from its id alone, so that it stays when the picture moves.

    + is written _, which no id holds: it makes trouble in Plytix's URLs.
    """
    return f"{_FILE_PREFIX}{key.replace('+', '_')}"


def key_of_file_name(name: str) -> str | None:
    """The key that `file_name` made a name from; None for names that are not ours, or that Plytix changed."""
    key = name.removeprefix(_FILE_PREFIX).replace("_", "+")
    return key if name.startswith(_FILE_PREFIX) and _KEY.fullmatch(key) else None


def key_of_renamed_file(name: str) -> str | None:
    """The key of a name of ours that Plytix gave a suffix, because another file had the name; None for all other names.

    Such a name may be an untouched one of another picture: believe it only where that very picture is expected.
    """
    stem, dot, extension = name.rpartition(".")
    before, _, suffix = stem.rpartition("_")
    return key_of_file_name(f"{before}{dot}{extension}") if suffix.isalnum() else None


def choose_listings(
    items: Iterable[AmazonItem], only_marketplaces: Collection[str] = ()
) -> tuple[tuple[Listing, ...], tuple[SetAside, ...]]:
    """One listing per product, sorted by SKU, and the images set aside (docs/contracts/amazon.md).

    Entries of one product are joined. An item that another one names as its parent is one, whatever it says itself.
    """
    wanted = [item for item in items if not only_marketplaces or item.marketplace in only_marketplaces]
    parents = {(item.marketplace, item.parent_asin) for item in wanted if item.parent_asin != item.asin}
    joined: dict[str, AmazonItem] = {}
    for item in wanted:
        first = joined.get(item.sku, item._replace(images=()))
        joined[item.sku] = first._replace(
            is_parent=first.is_parent or item.is_parent or (item.marketplace, item.asin) in parents,
            images=first.images + item.images,
        )
    made = [_listing(joined[sku]) for sku in sorted(joined)]
    return tuple(listing for listing, _ in made), tuple(entry for _, bad in made for entry in bad)


def _listing(item: AmazonItem) -> tuple[Listing, list[SetAside]]:
    """The largest entry of each variant, in order; a picture that stands in two variants is shown in the first."""
    bad: list[SetAside] = []
    slots: dict[tuple[str, str], tuple[ItemImage, ImageAddress]] = {}
    for image in item.images:
        try:
            picture = picture_of(image.link)
        except BadImageUrlError as error:
            # Whatever a file holds must be fit for our tables.
            address = "".join(character for character in image.link if character.isprintable())[:500]
            bad.append(SetAside(item.sku, str(error), address))
            continue
        variant = canonical_variant(image.variant)
        # Without a code nothing says which entries are sizes of one picture.
        slot = (variant, "" if variant else picture.key)
        held = slots.get(slot)
        if held is None or _size_order(image, picture) < _size_order(*held):
            slots[slot] = (image, picture)
    shown: dict[str, ListingImage] = {}
    for slot in sorted(slots, key=lambda slot: (variant_order(slot[0]), slot[1])):
        image, picture = slots[slot]
        # The size that comes with an altered link is not the original's.
        width, height = (None, None) if picture.altered else (image.width, image.height)
        position = len(shown) + 1
        shown.setdefault(picture.key, ListingImage(slot[0], picture.url, picture.key, width, height, position))
    listing = Listing(item.sku, item.asin, item.marketplace, item.is_parent, tuple(shown.values()), len(slots))
    return listing, bad


def _size_order(image: ItemImage, picture: ImageAddress) -> tuple[int | str, ...]:
    """Sorts entries of one variant, the one to take first: most pixels; then untouched originals, then larger files.

    The first two characters of an id grow with the file; where no size is known they are all there is. Of two entries
    of one picture that differ in their sides only, the wider one is first, whatever their order.
    """
    width, height = image.width or 0, image.height or 0
    # An export names the height only.
    pixels = (width or height) * (height or width)
    start = picture.key[:2]
    # 91 is more than 51, and A1 more than 91.
    rank = int(start, 36) if start.isalnum() else 0
    return -pixels, picture.altered, -rank, picture.key, -width, -height
