"""A photo as the head office lists it: validated at the boundary, made canonical, fingerprinted."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

import orjson
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, ValidationInfo
from pydantic.functional_validators import AfterValidator, PlainValidator

from imagesync_pipelines import languages
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import N_
from imagesync_pipelines.upstream.details import ADDRESS_CHARACTERS, KEY_CHARACTERS, keepable, read_details

# The connector's name, also in cursors, mirror, outbox and plans; and those of its steps that leave a hand-over.
EDGE = "edge"
LISTING, BINARIES = "photo_listing", "photo_binaries"

Body = bytes | memoryview
"""The bytes of a photo; those that another library holds are looked at where they are, since copying costs as much as
hashing."""

# What is wrong, in words for people; pydantic's own words for the rest.
_PROBLEMS = {
    "missing": "missing",
    "value_error": "{error}",
    "int_type": N_("not a whole number"),
    "bool_type": N_("neither true nor false"),
    "string_type": N_("not a text"),
    "string_too_long": N_("longer than {max_length:d} characters, more than the column at the edge holds"),
    "string_pattern_mismatch": N_("not an MD5 checksum (32 hexadecimal digits)"),
}


def parse_moment(value: object, zone: tzinfo = UTC) -> datetime:
    """A time of HO in UTC: with Z, with an offset, with or without a fraction. Raises ValueError for what is none."""
    if not isinstance(value, str):
        raise ValueError(languages.told("not a text"))
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(languages.told("not a time in ISO 8601")) from None


def _moment(value: object, info: ValidationInfo) -> datetime:
    return parse_moment(value.strip() if isinstance(value, str) else value, info.context or UTC)


def legible_id(value: Any) -> str | None:
    """A UUID as lower-case text; None for what is none, which is nobody's id."""
    try:
        return str(UUID(value))
    except (ValueError, TypeError, AttributeError):
        return None


def _canonical(text: str) -> str:
    if (found := legible_id(text)) is None:
        raise ValueError("not a UUID")
    return found


_Id = Annotated[str, AfterValidator(_canonical)]
_Whole = Annotated[int, Field(strict=True, ge=-(2**31), lt=2**31)]


class IllegibleRow(NamedTuple):
    """A row of a listing that cannot be used, with one line for people; photo_id: None when even that is not legible.

    With its id, what the edge already has of it can be protected.
    """

    photo_id: str | None
    reason: str


class Photo(NamedTuple):
    """One photo of a product, as the head office (HO) lists it.

    photo_id and product_id: UUIDs as lower-case text. size: bytes. checksum: MD5 of the bytes, lower case, '' when HO
    has none. updated_at: HO's own time, in UTC. product_sku, product_name and image_url are '' when HO does not say;
    image_url changes with every call and may be unreachable: it is for people, never for bytes.
    """

    photo_id: _Id
    product_id: _Id
    updated_at: Annotated[datetime, PlainValidator(_moment)]
    product_sku: Annotated[str, StringConstraints(max_length=KEY_CHARACTERS)] = ""
    product_name: Annotated[str, StringConstraints(max_length=500)] = ""
    # An S3 key may begin and end with blanks.
    object_key: Annotated[str, StringConstraints(max_length=500, strip_whitespace=False)] = ""
    filename: Annotated[str, StringConstraints(max_length=255)] = ""
    size: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    content_type: Annotated[str, StringConstraints(max_length=100)] = ""
    checksum: Annotated[str, StringConstraints(to_lower=True, pattern=r"^([0-9a-fA-F]{32})?$")] = ""
    version: _Whole = 1
    is_primary: Annotated[bool, Field(strict=True)] = False
    sort_order: _Whole = 0
    image_url: Annotated[str, StringConstraints(max_length=ADDRESS_CHARACTERS)] = ""

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """The photo whose fields were written as a JSON object, for the mirror or a plan."""
        return cls(**{**payload, "updated_at": datetime.fromisoformat(payload["updated_at"])})

    @property
    def has_image(self) -> bool:
        """Whether HO holds bytes for it; rows of an Excel import or of the admin pages have none."""
        return bool(self.checksum) and self.size > 0


# What the edge keeps of a photo beside its id; the fingerprint has the values in this order.
KEPT = (
    "product_id", "object_key", "filename", "size", "content_type", "checksum", "version", "is_primary", "sort_order",
    "updated_at",
)  # fmt: skip
kept_of = attrgetter("photo_id", *KEPT)
_LISTED = TypeAdapter(Photo, config=ConfigDict(str_strip_whitespace=True))
# What only describes a photo.
_DETAILS = frozenset({"product_sku", "product_name", "filename", "content_type", "image_url"})


def photo_from_json(
    raw: object, zone: tzinfo = UTC, told: Callable[[str, str], object] = lambda photo, what: None
) -> Photo | IllegibleRow:
    """One row of a listing as a Photo; `zone` is that of a time without one (docs/contracts/edge.md: HO's own).

    What is null counts as left out where it may be. told: hears of details that are left out since they cannot be read.
    """
    if not isinstance(raw, dict):
        return IllegibleRow(None, languages.told("the photo: not an object"))
    values = {
        name: keepable(value) if isinstance(value, str) else value
        for name, value in (raw | {"photo_id": raw.get("id")}).items()
        if name in Photo._fields and (value is not None or name not in Photo._field_defaults)
    }
    try:
        photo, left_out = read_details(_LISTED, values, _DETAILS, context=zone)
    except Exception as error:  # noqa: BLE001 - whatever one row does to a library, the others are read
        reason = _reason(error) if isinstance(error, ValidationError) else error_reason(error)
        return IllegibleRow(legible_id(raw.get("id")), reason)
    for what in left_out:
        told(f"photo {photo.photo_id}", what)
    return photo


def fingerprint(photo: Photo) -> str:
    """A digest of all that the edge keeps of a photo; SKU, name and image_url are not among it."""
    *kept, updated_at = kept_of(photo)
    moment = updated_at.astimezone(UTC).isoformat(timespec="microseconds")
    return blake2b(orjson.dumps((*kept, moment)), digest_size=16).hexdigest()


def _reason(error: ValidationError) -> str:
    """One line for people: the field, what is wrong with it, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    words = _PROBLEMS.get(problems[0]["type"], problems[0]["msg"]).format_map(problems[0].get("ctx", {}))
    if len(problems) > 1:
        words = languages.told(f"{words} (and {len(problems) - 1} more)")
    return f"{str(problems[0]['loc'][0]).removeprefix('photo_')}: {words}"
