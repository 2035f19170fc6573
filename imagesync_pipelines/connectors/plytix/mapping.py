"""The mapping file: which products of Amazon there are, and their images (docs/contracts/amazon.md).

Of which marketplace an entry is, its own name says, then its SKU, its summary, the file. A name that is no marketplace
of Amazon is refused at every level, since pictures of one country would go to products of another.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.plytix.errors import MappingError
from imagesync_pipelines.connectors.plytix.model import AmazonItem, ItemImage, ListingsRead, SetAside
from imagesync_pipelines.connectors.plytix.rules import AMAZON_SKU, amazon_sku, is_asin, known_marketplace
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.upstream.answers import load_json
from imagesync_pipelines.upstream.details import ADDRESS_CHARACTERS, KEY_CHARACTERS, details_told, read_details

# The lists of entries: a mapping file has the first two, the export that it is made from has the third.
_PARTS = ("matched", "unmatched_amazon", "variants")
_SUMMARY = "_raw_summary.marketplaceId"
_FLAT_COLUMNS: Mapping[str, str] = {
    "amazon_image_main": "MAIN",
    **{f"amazon_image_variant_{number}": f"PT{number:02d}" for number in range(1, 9)},
    "amazon_image_swatch": "SWCH",
}


def _positive(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None


_Pixels = Annotated[int | None, AfterValidator(_positive)]
_Word = Annotated[str, Field(max_length=KEY_CHARACTERS)]


@with_config(ConfigDict(str_strip_whitespace=True, coerce_numbers_to_str=True))
class _Entry(TypedDict):
    amazon_asin: NotRequired[_Word | None]
    suggested_sku: NotRequired[_Word | None]
    item_classification: NotRequired[_Word | None]
    amazon_parent_asin: NotRequired[_Word | None]


@with_config(ConfigDict(str_strip_whitespace=True))
class _Image(TypedDict):
    link: Annotated[str, Field(min_length=1, max_length=ADDRESS_CHARACTERS)]
    variant: NotRequired[_Word | None]
    width: NotRequired[_Pixels]
    height: NotRequired[_Pixels]


_ENTRY = TypeAdapter(_Entry)
_IMAGE = TypeAdapter(_Image)
# What only describes an entry or an image.
_DETAILS = frozenset({"item_classification", "amazon_parent_asin", "variant", "width", "height"})


def read_mapping(body: bytes, source: str) -> ListingsRead:
    """Read a mapping file; `source` is its name for people.

    shape: `list`, `flat`, `export`, or several joined by +; `no images` when no entry has any. Bad entries and images
    are set aside with their reasons; what only describes them (a width that is "1500 px") is left out and told. Raises
    MappingError for a file that is empty, cut, of another shape, of an unknown marketplace, or without a single entry
    that can be used.
    """
    document = _document(body, source)
    placed = list(_entries(document, source))
    if not placed:
        raise MappingError(f"{source}: it lists no product; nothing was changed. Was its export empty?")
    warnings = []
    file = _marketplace_of_file(document.get("metadata"), source)
    if not file and not any(_marketplaces_named(raw) for _, raw in placed):
        file = "US"
        warnings.append(
            languages.told(
                f"{source}: it names no marketplace anywhere, so its products are taken for those of {file}."
            )
        )
    items: list[AmazonItem] = []
    set_aside: list[SetAside] = []
    shapes: set[str] = set()
    differences: list[str] = []
    left_out: list[tuple[str, str]] = []
    for place, raw in placed:
        told: list[str] = []
        try:
            item, difference = _item(raw, file, told)
        except Exception as error:  # noqa: BLE001 - whatever one entry does to a library, the others are read
            set_aside.append(SetAside(place, reason_of(error)))
            continue
        if difference:
            differences.append(f"{place}: {difference}")
        images = list(_images(raw, told))
        left_out += [(item.sku, what) for what in told]
        shapes.update(shape for shape, _ in images)
        set_aside += [SetAside(item.sku, reason) for _, reason in images if isinstance(reason, str)]
        items.append(item._replace(images=tuple(image for _, image in images if isinstance(image, ItemImage))))
    if not items:
        first = set_aside[0]
        raise MappingError(
            f"{source}: none of its {len(placed)} entries can be used; the first, {first.where}: {first.reason}"
        )
    if differences:
        warnings.append(
            languages.told(
                f"{source}: {len(differences)} entries name another marketplace than what is above or "
                f"below them, and the entry holds; the first, {differences[0]}."
            )
        )
    warnings += details_told(source, left_out)
    return ListingsRead(
        source=source,
        shape=" + ".join(sorted(shapes)) or languages.told("no images"),
        entries=len(placed),
        items=tuple(items),
        set_aside=tuple(set_aside),
        warnings=tuple(warnings),
    )


def _document(body: bytes, source: str) -> Mapping[str, Any]:
    if not body.strip():
        raise MappingError(f"{source}: the file is empty; nothing was changed. Make it again.")
    try:
        document = load_json(body.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        raise MappingError(
            f"{source}: no JSON, or cut off ({len(body)} bytes); nothing was changed. Make it again, or copy it whole."
        ) from None
    if not isinstance(document, dict) or not any(name in document for name in _PARTS):
        raise MappingError(f"{source}: no mapping file: an object with `matched` (or `variants`) was expected.")
    return document


def _entries(document: Mapping[str, Any], source: str) -> Iterator[tuple[str, Any]]:
    for name in _PARTS:
        part = document.get(name)
        if part is None:
            continue
        if not isinstance(part, list):
            raise MappingError(f"{source}: no mapping file: `{name}` is not a list.")
        for number, raw in enumerate(part):
            yield f"{name}[{number}]", raw


def _marketplace_of_file(metadata: object, source: str) -> str:
    """The country that a file names in its metadata, '' when it names none.

    Raises MappingError for an unknown one, and for two that are not the same.
    """
    about = metadata if isinstance(metadata, dict) else {}
    try:
        countries = {_country(name, about.get(name)) for name in ("marketplace", "marketplace_id")} - {""}
        if len(countries) > 1:
            raise ValueError(
                languages.told(
                    f"marketplace {about['marketplace']!r} and marketplace_id {about['marketplace_id']!r} of its "
                    "metadata are not the same marketplace"
                )
            )
    except ValueError as error:
        raise MappingError(f"{source}: {error}; nothing was changed. Correct its metadata.") from None
    return next(iter(countries), "")


def _marketplaces_named(raw: object) -> dict[str, object]:
    """What an entry says of its marketplace, by where it says it; what holds comes first."""
    if not isinstance(raw, dict):
        return {}
    suggested, summary = raw.get("suggested_sku"), raw.get("_raw_summary")
    sku = AMAZON_SKU.fullmatch(suggested.strip()) if isinstance(suggested, str) else None
    said = {
        "marketplace": raw.get("marketplace"),
        "the marketplace of its SKU": sku[1] if sku else None,
        _SUMMARY: summary.get("marketplaceId") if isinstance(summary, dict) else None,
    }
    return {where: value for where, value in said.items() if not _is_empty(value)}


def _country(where: str, value: object) -> str:
    """The country of a marketplace, '' where a field is empty. Raises ValueError for an unknown one."""
    if _is_empty(value):
        return ""
    country = known_marketplace(value) if isinstance(value, str) else None
    if country is None:
        expected = languages.told("one of Amazon's was expected, by country (such as US) or by Amazon's id")
        raise ValueError(languages.told(f"{where} {str(value)[:60]!r} is unknown; {expected}"))
    return country


# What a program that makes texts of a table's cells writes where a cell is empty; none of these is an address.
_NOTHING = frozenset({"nan", "none", "null", "<na>", "n/a"})


def _is_empty(value: object) -> bool:
    """Whether a field says nothing; a table that was written as JSON has NaN there."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _item(raw: object, file: str, told: list[str]) -> tuple[AmazonItem, str]:
    """One entry without its images, and what is told of its marketplace; `file`: the country of the file.

    `told` gets the details that were left out.

    Raises ValueError with the reason when it says not, or not clearly, what it is.
    """
    entry, left_out = read_details(_ENTRY, raw, _DETAILS)
    told += left_out
    suggested = entry.get("suggested_sku") or ""
    named = AMAZON_SKU.fullmatch(suggested)
    if suggested and named is None:
        raise ValueError(
            languages.told(f"suggested_sku {suggested[:60]!r} is no product of Amazon (AMZN-<marketplace>-<ASIN>)")
        )
    asin = (entry.get("amazon_asin") or (named[2] if named else "")).upper()
    if not is_asin(asin):
        raise ValueError(
            languages.told(f"amazon_asin {asin[:60]!r} is no ASIN")
            if asin
            else languages.told("neither amazon_asin nor suggested_sku")
        )
    countries = {where: _country(where, value) for where, value in _marketplaces_named(raw).items()}
    marketplace = next(iter(countries.values()), file)
    if not marketplace:
        raise ValueError(languages.told("it names no marketplace, and neither does the file, though other entries do"))
    if named is not None and named.groups() != (marketplace, asin):
        raise ValueError(languages.told(f"suggested_sku {suggested} does not belong to {asin} in {marketplace}"))
    others = {"its _raw_summary": countries.get(_SUMMARY, ""), "the file": file}
    differing = [f"{where} names {country}" for where, country in others.items() if country not in ("", marketplace)]
    item = AmazonItem(
        sku=amazon_sku(marketplace, asin),
        asin=asin,
        marketplace=marketplace,
        is_parent=(entry.get("item_classification") or "").upper() == "VARIATION_PARENT",
        parent_asin=(entry.get("amazon_parent_asin") or "").upper(),
        images=(),
    )
    return item, languages.told(f"it is of {marketplace}, though {' and '.join(differing)}") if differing else ""


def _images(raw: Mapping[str, Any], told: list[str]) -> Iterator[tuple[str, ItemImage | str]]:
    """The images of an entry with the shape they came in; a text in place of an image says why it cannot be used.

    `told` gets the details that were left out.
    """
    listed = None if _is_empty(raw.get("amazon_images")) else raw["amazon_images"]
    if isinstance(listed, list):
        for image in listed:
            yield "list", _image(image, told)
    elif listed is not None:
        yield "list", languages.told("amazon_images is not a list")
    exported = raw.get("_raw_images")
    coded = exported if isinstance(exported, dict) else {}
    for variant, image in coded.items():
        if not _is_empty(image):
            named = {**image, "variant": variant} if isinstance(image, dict) else image
            yield "export", _image(named, told)
    for column, variant in _FLAT_COLUMNS.items():
        link = raw.get(column)
        # The same picture with its height is among the coded ones; beside a list the columns are its copy.
        nothing = _is_empty(link) or (isinstance(link, str) and link.strip().lower() in _NOTHING)
        if link and not nothing and not listed and _is_empty(coded.get(variant)):
            yield "flat", _image({"variant": variant, "link": link}, told)


def _image(raw: object, told: list[str]) -> ItemImage | str:
    try:
        image, left_out = read_details(_IMAGE, raw, _DETAILS)
    except Exception as error:  # noqa: BLE001 - as above
        return languages.told(f"an image that cannot be read: {reason_of(error)}")
    told += left_out
    return ItemImage(image.get("variant"), image["link"], image.get("width"), image.get("height"))


def reason_of(error: Exception) -> str:
    """One line for people: the first thing that is wrong."""
    if not isinstance(error, ValidationError):
        return str(error) if isinstance(error, ValueError) else error_reason(error)
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    words = {
        "missing": "missing",
        "dict_type": languages.told("not an object"),
        "string_type": languages.told("not a text"),
    }.get(problem["type"], problem["msg"])
    return f"{field}: {words}" if field else words
