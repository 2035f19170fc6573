"""A photo as the head office lists it: validated at the boundary, made canonical, fingerprinted."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from imagesync_pipelines.connectors.edge.errors import BadPhotoError

# The connector's name, also in cursors, mirror, outbox and plans.
EDGE = "edge"
_MD5 = r"^([0-9a-fA-F]{32})?$"
_Whole = Annotated[int, Field(strict=True, ge=-(2**31), lt=2**31)]
_Size = Annotated[int, Field(strict=True, ge=0, lt=2**31)]

# What is wrong, in words for people; pydantic's own words for the rest.
_PROBLEMS = {
    "missing": "missing",
    "model_type": "not an object",
    "int_type": "not a whole number",
    "bool_type": "neither true nor false",
    "string_type": "not a text",
    "string_too_long": "longer than {max_length} characters, more than the column at the edge holds",
    "string_pattern_mismatch": "not an MD5 checksum (32 hexadecimal digits)",
}


class Photo(NamedTuple):
    """One photo of a product, as the head office (HO) lists it.

    photo_id and product_id: UUIDs as lower-case text. size: bytes. checksum: MD5 of the bytes, lower case, '' when HO
    has none. updated_at: HO's own time, in UTC. product_sku, product_name and image_url are '' when HO does not say;
    image_url changes with every call and may be unreachable: it is for people, never for bytes.
    """

    photo_id: str
    product_id: str
    product_sku: str
    product_name: str
    object_key: str
    filename: str
    size: int
    content_type: str
    checksum: str
    version: int
    is_primary: bool
    sort_order: int
    updated_at: datetime
    image_url: str

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """The photo whose fields were written as a JSON object, for the mirror or a plan."""
        return cls(**{**payload, "updated_at": datetime.fromisoformat(payload["updated_at"])})

    @property
    def has_image(self) -> bool:
        """Whether HO holds bytes for it; rows of an Excel import or of the admin pages have none."""
        return bool(self.checksum) and self.size > 0


class _Listed(BaseModel):
    """A row of a listing, without those of its values that are null."""

    model_config = ConfigDict(str_strip_whitespace=True)

    id: UUID
    product_id: UUID
    product_sku: str = ""
    product_name: str = ""
    object_key: Annotated[str, StringConstraints(max_length=500)] = ""
    filename: Annotated[str, StringConstraints(max_length=255)] = ""
    size: _Size = 0
    content_type: Annotated[str, StringConstraints(max_length=100)] = ""
    checksum: Annotated[str, StringConstraints(to_lower=True, pattern=_MD5)] = ""
    version: _Whole = 1
    is_primary: Annotated[bool, Field(strict=True)] = False
    sort_order: _Whole = 0
    updated_at: Annotated[str, StringConstraints(min_length=1)]
    image_url: str = ""


_REQUIRED = frozenset(name for name, field in _Listed.model_fields.items() if field.is_required())


def photo_from_json(raw: object, zone: tzinfo = UTC) -> Photo:
    """One row of a listing as a Photo; `zone` is that of a time without one (docs/contracts/edge.md: HO's own).

    Raises BadPhotoError with one line for people.
    """
    try:
        row = _Listed.model_validate(_cleaned(raw))
        moment = parse_moment(row.updated_at, zone)
    except ValidationError as error:
        raise BadPhotoError(_reason(error), _legible_id(raw)) from None
    except ValueError:
        raise BadPhotoError("updated_at: not a time in ISO 8601", _legible_id(raw)) from None
    values = vars(row) | {"product_id": str(row.product_id), "updated_at": moment}
    return Photo(photo_id=str(values.pop("id")), **values)


def fingerprint(photo: Photo) -> str:
    """A digest of all that the edge keeps of a photo; SKU, name and image_url are not among it."""
    kept = (
        photo.photo_id,
        photo.product_id,
        photo.object_key,
        photo.filename,
        photo.size,
        photo.content_type,
        photo.checksum,
        photo.version,
        photo.is_primary,
        photo.sort_order,
        photo.updated_at.astimezone(UTC).isoformat(timespec="microseconds"),
    )
    return blake2b(orjson.dumps(kept), digest_size=16).hexdigest()


def parse_moment(text: str, zone: tzinfo = UTC) -> datetime:
    """A time of HO in UTC: with Z, with an offset, with or without a fraction. Raises ValueError for what is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range") from None


def _cleaned(raw: object) -> object:
    """The row without null where it may be, and with texts that PostgreSQL can keep: no NUL, no lone surrogates."""
    if not isinstance(raw, dict):
        return raw
    return {
        name: value.encode("utf-8", "replace").decode().replace("\0", "") if isinstance(value, str) else value
        for name, value in raw.items()
        if value is not None or name in _REQUIRED
    }


def _legible_id(raw: object) -> str | None:
    """The id of a row that does not validate, so that what the edge already has of it can be protected."""
    try:
        return str(UUID(raw["id"])) if isinstance(raw, dict) else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _reason(error: ValidationError) -> str:
    """One line for people: the field, what is wrong with it, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    field = ".".join(str(part) for part in problems[0]["loc"]) or "the photo"
    words = _PROBLEMS.get(problems[0]["type"], problems[0]["msg"]).format_map(problems[0].get("ctx", {}))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{field}: {words}{more}"
