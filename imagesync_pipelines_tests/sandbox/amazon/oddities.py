"""What is wrong in real mapping files, and mapping files that have it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imagesync_pipelines.sandbox.amazon.listings import AmazonListing
from imagesync_pipelines.sandbox.amazon.mapping import FLAT_IMAGES, FLAT_MAIN, Json, Shape, mapping_file
from imagesync_pipelines.sandbox.answers import SandboxError

Entry = dict[str, Any]
Oddity = Callable[[Entry], object]
LEGACY_URL = "https://images-na.ssl-images-amazon.com/images/P/{asin}.01.LZZZZZZZ.jpg"


class OddityError(SandboxError):
    """No oddity has this name, or the entry's shape cannot have it; the message says which."""


def make_odd(entry: Entry, name: str) -> None:
    """Spoil one product's entry; raises OddityError."""
    if name not in ODDITIES:
        raise OddityError(f"no oddity is called {name}; there are {', '.join(sorted(ODDITIES))}")
    try:
        ODDITIES[name](entry)
    except OddityError as error:
        raise OddityError(f"{name}: {error}") from error


def _no_images(entry: Entry) -> None:
    """An empty list, or nothing but nulls."""
    entry.update({"amazon_images": []} if "amazon_images" in entry else dict.fromkeys(FLAT_IMAGES))


def _no_main(entry: Entry) -> None:
    if "amazon_images" in entry:
        entry["amazon_images"] = [image for image in entry["amazon_images"] if image["variant"] != "MAIN"]
    else:
        entry[FLAT_MAIN] = None


def _two_mains(entry: Entry) -> None:
    """The second picture says that it is MAIN too."""
    others = [image for image in _list_of(entry) if image["variant"] != "MAIN"]
    if not others:
        raise OddityError("the product has one picture only")
    others[0]["variant"] = "MAIN"


def _same_twice(entry: Entry) -> None:
    """MAIN's picture stands in another slot too, with a size token, at another host and percent-encoded."""
    if "amazon_images" in entry:
        images = entry["amazon_images"]
        images.append(images[0] | {"variant": "PT08", "link": _alias(images[0]["link"])})
    else:
        entry["amazon_image_variant_8"] = _alias(entry[FLAT_MAIN])


def _reduced_url(entry: Entry) -> None:
    """An address of a WebP of poor quality under the name of a JPEG, with a query behind it."""
    link = entry["amazon_images"][-1]["link"] if "amazon_images" in entry else entry[FLAT_MAIN]
    head, _, extension = link.rpartition(".")
    _set_last_link(entry, f"{head}._SX300_QL65_FMwebp_.{extension}?ref=x")


def _with(**values: object) -> Oddity:
    """Other values in the entry."""
    return lambda entry: entry.update(values)


def _without(*names: str) -> Oddity:
    """The entry without some keys."""
    return lambda entry: [entry.pop(name, None) for name in names]


def _last_image(**values: object) -> Oddity:
    """Other values in the last image of the list."""
    return lambda entry: _list_of(entry)[-1].update(values)


def _last_image_without(name: str) -> Oddity:
    return lambda entry: _list_of(entry)[-1].pop(name)


def _last_link(link: object) -> Oddity:
    return lambda entry: _set_last_link(entry, link)


def _list_of(entry: Entry) -> list[Entry]:
    """The list of images; only its shape can have this oddity."""
    if not entry.get("amazon_images"):
        raise OddityError("the product has no list of images; make the mapping with shape='list'")
    images: list[Entry] = entry["amazon_images"]
    return images


def _set_last_link(entry: Entry, link: object) -> None:
    """Another link on the product's last image; the flat shape may need a column for it."""
    if "amazon_images" in entry:
        _list_of(entry)[-1]["link"] = link
    else:
        filled = [name for name in FLAT_IMAGES if entry.get(name)]
        entry[filled[-1] if filled else FLAT_MAIN] = link


def _alias(link: str) -> str:
    """The same picture by another address."""
    head, _, extension = link.replace("m.media-amazon.com", "images-na.ssl-images-amazon.com").rpartition(".")
    return f"{head.replace('+', '%2B')}._AC_SL500_.{extension}"


ODDITIES: Mapping[str, Oddity] = {
    "no_suggested_sku": _without("suggested_sku"),
    "null_suggested_sku": _with(suggested_sku=None),
    "no_marketplace": _without("marketplace"),
    "no_asin": lambda entry: (_with(amazon_asin=None)(entry), _without("suggested_sku")(entry)),
    "no_images": _no_images,
    "missing_images": _without("amazon_images", *FLAT_IMAGES),  # neither the list nor any column
    "null_images": lambda entry: (_list_of(entry), _with(amazon_images=None)(entry)),
    "no_main": _no_main,
    "two_mains": _two_mains,
    "same_twice": _same_twice,
    "repeated_entry": lambda entry: _list_of(entry).append(dict(_list_of(entry)[0])),  # one image, word for word
    "malformed_url": _last_link("https:/m.media-amazon.com images I"),
    "foreign_url": _last_link("https://pictures.example.com/uploads/cushion.jpg"),
    "private_url": _last_link("http://169.254.169.254/latest/meta-data"),
    "legacy_url": lambda entry: _set_last_link(entry, LEGACY_URL.format(asin=entry["amazon_asin"])),
    "reduced_url": _reduced_url,
    "null_link": _last_link(None),
    "no_link": _last_image_without("link"),
    "number_as_link": _last_link(404),
    "unknown_variant": _last_image(variant="TOPP"),
    "late_variant": _last_image(variant="PT12"),  # a slot that the API does not give any more
    "null_variant": _last_image(variant=None),
    "no_variant": _last_image_without("variant"),
    "swatch_by_its_old_name": _last_image(variant="SWATCH"),
}


def odd_mapping(listings: Sequence[AmazonListing], shape: Shape = "flat", **oddities: int) -> Json:
    """A mapping file with oddities; each names the product that it befalls by its entry's number: `two_mains=0`."""
    made = mapping_file(listings, shape)
    for name, nth in oddities.items():
        make_odd(made["variants" if shape == "export" else "matched"][nth], name)
    return made
