"""What is wrong in real mapping files, one thing at a time (contract, simulator point 6).

What belongs here: spoiling one product's entry, in either shape. What does not: making the entry (mapping.py), and
files that are no mapping at all: a test writes those itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

Entry = dict[str, Any]
FLAT_MAIN = "amazon_image_main"
FLAT_IMAGES = (FLAT_MAIN, *(f"amazon_image_variant_{nth}" for nth in range(1, 9)), "amazon_image_swatch")
LEGACY_PATH = "/images/P/{asin}.01.LZZZZZZZ.jpg"


class OddityError(Exception):
    """No oddity has this name, or the entry's shape cannot have it; the message says which."""


def make_odd(entry: Entry, name: str) -> None:
    """Spoil one product's entry; raises OddityError."""
    if name not in ODDITIES:
        raise OddityError(f"no oddity is called {name}; there are {', '.join(sorted(ODDITIES))}")
    ODDITIES[name](entry)


def _no_suggested_sku(entry: Entry) -> None:
    entry.pop("suggested_sku", None)


def _null_suggested_sku(entry: Entry) -> None:
    entry["suggested_sku"] = None


def _no_marketplace(entry: Entry) -> None:
    entry.pop("marketplace", None)


def _no_asin(entry: Entry) -> None:
    entry["amazon_asin"] = None
    entry.pop("suggested_sku", None)


def _no_images(entry: Entry) -> None:
    """An empty list, or nothing but nulls."""
    if "amazon_images" in entry:
        entry["amazon_images"] = []
    else:
        entry.update(dict.fromkeys(FLAT_IMAGES))


def _missing_images(entry: Entry) -> None:
    """Neither the list nor any column."""
    for name in ("amazon_images", *FLAT_IMAGES):
        entry.pop(name, None)


def _null_images(entry: Entry) -> None:
    _list_of(entry, "null_images")
    entry["amazon_images"] = None


def _no_main(entry: Entry) -> None:
    if "amazon_images" in entry:
        entry["amazon_images"] = [image for image in entry["amazon_images"] if image["variant"] != "MAIN"]
    else:
        entry[FLAT_MAIN] = None


def _two_mains(entry: Entry) -> None:
    """The second picture says that it is MAIN too."""
    others = [image for image in _list_of(entry, "two_mains") if image["variant"] != "MAIN"]
    if not others:
        raise OddityError("two_mains: the product has one picture only")
    others[0]["variant"] = "MAIN"


def _same_twice(entry: Entry) -> None:
    """MAIN's picture stands in another slot too, with a size token, at another host and percent-encoded."""
    if "amazon_images" in entry:
        images = entry["amazon_images"]
        images.append(images[0] | {"variant": "PT08", "link": _alias(images[0]["link"])})
    else:
        entry["amazon_image_variant_8"] = _alias(entry[FLAT_MAIN])


def _repeated_entry(entry: Entry) -> None:
    """One image stands twice in the list, word for word."""
    images = _list_of(entry, "repeated_entry")
    images.append(dict(images[0]))


def _malformed_url(entry: Entry) -> None:
    _set_last_link(entry, "https:/m.media-amazon.com images I")


def _foreign_url(entry: Entry) -> None:
    _set_last_link(entry, "https://pictures.example.com/uploads/cushion.jpg")


def _private_url(entry: Entry) -> None:
    _set_last_link(entry, "http://169.254.169.254/latest/meta-data")


def _legacy_url(entry: Entry) -> None:
    _set_last_link(entry, "https://images-na.ssl-images-amazon.com" + LEGACY_PATH.format(asin=entry["amazon_asin"]))


def _reduced_url(entry: Entry) -> None:
    """An address of a WebP of poor quality under the name of a JPEG, with a query behind it."""
    link = entry["amazon_images"][-1]["link"] if "amazon_images" in entry else entry[FLAT_MAIN]
    head, _, extension = link.rpartition(".")
    _set_last_link(entry, f"{head}._SX300_QL65_FMwebp_.{extension}?ref=x")


def _null_link(entry: Entry) -> None:
    _set_last_link(entry, None)


def _no_link(entry: Entry) -> None:
    _list_of(entry, "no_link")[-1].pop("link")


def _number_as_link(entry: Entry) -> None:
    _set_last_link(entry, 404)


def _unknown_variant(entry: Entry) -> None:
    _list_of(entry, "unknown_variant")[-1]["variant"] = "TOPP"


def _late_variant(entry: Entry) -> None:
    """A slot that the API does not give any more."""
    _list_of(entry, "late_variant")[-1]["variant"] = "PT12"


def _null_variant(entry: Entry) -> None:
    _list_of(entry, "null_variant")[-1]["variant"] = None


def _no_variant(entry: Entry) -> None:
    _list_of(entry, "no_variant")[-1].pop("variant")


def _swatch_by_its_old_name(entry: Entry) -> None:
    _list_of(entry, "swatch_by_its_old_name")[-1]["variant"] = "SWATCH"


def _list_of(entry: Entry, name: str) -> list[Entry]:
    """The list of images; only its shape can have this oddity."""
    if not entry.get("amazon_images"):
        raise OddityError(f"{name}: the product has no list of images; make the mapping with shape='list'")
    images: list[Entry] = entry["amazon_images"]
    return images


def _set_last_link(entry: Entry, link: object) -> None:
    """Another link on the product's last image; the flat shape may need a column for it."""
    if "amazon_images" in entry:
        _list_of(entry, "another link")[-1]["link"] = link
    else:
        filled = [name for name in FLAT_IMAGES if entry.get(name)]
        entry[filled[-1] if filled else FLAT_MAIN] = link


def _alias(link: str) -> str:
    """The same picture by another address."""
    head, _, extension = link.replace("m.media-amazon.com", "images-na.ssl-images-amazon.com").rpartition(".")
    return f"{head.replace('+', '%2B')}._AC_SL500_.{extension}"


ODDITIES: Mapping[str, Callable[[Entry], None]] = {
    "no_suggested_sku": _no_suggested_sku,
    "null_suggested_sku": _null_suggested_sku,
    "no_marketplace": _no_marketplace,
    "no_asin": _no_asin,
    "no_images": _no_images,
    "missing_images": _missing_images,
    "null_images": _null_images,
    "no_main": _no_main,
    "two_mains": _two_mains,
    "same_twice": _same_twice,
    "repeated_entry": _repeated_entry,
    "malformed_url": _malformed_url,
    "foreign_url": _foreign_url,
    "private_url": _private_url,
    "legacy_url": _legacy_url,
    "reduced_url": _reduced_url,
    "null_link": _null_link,
    "no_link": _no_link,
    "number_as_link": _number_as_link,
    "unknown_variant": _unknown_variant,
    "late_variant": _late_variant,
    "null_variant": _null_variant,
    "no_variant": _no_variant,
    "swatch_by_its_old_name": _swatch_by_its_old_name,
}
