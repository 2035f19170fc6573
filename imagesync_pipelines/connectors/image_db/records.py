"""Records of the image database: validated at the boundary, made canonical, fingerprinted, their files chosen.

The canonical record is what docs/contracts/image_db.md lists without `stock`: texts trimmed and free of NUL, links
de-duplicated and sorted, exports sorted by id, addresses without signatures. Keys that the contract does not know are
left out (the raw pages keep them), so a counter that the source adds one day cannot rewrite the catalogue every night.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple, NotRequired

import orjson
from pydantic import AllowInfNan, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.image_db.choosing import MIN_HEIGHT, Chosen, choose_files, fingerprint
from imagesync_pipelines.connectors.image_db.errors import BadPageError
from imagesync_pipelines.connectors.image_db.in_order import next_page_of
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import N_
from imagesync_pipelines.upstream.answers import load_json
from imagesync_pipelines.upstream.canonical import is_signed, stable_address
from imagesync_pipelines.upstream.details import read_details

_TRIMMED = ConfigDict(str_strip_whitespace=True)
# JSON is written with numbers of 64 bits.
_Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
_FileId = Annotated[int, Field(strict=True, gt=0, lt=2**63)]
# Longer than our columns is a reject, not a shorter text: half a URL is no URL.
_Url = Annotated[str, StringConstraints(max_length=500, pattern=r"(?i)^(https?://[^/\s].*)?$")]
_Type = Annotated[str, StringConstraints(max_length=50)]
_Word = Annotated[str, StringConstraints(max_length=255)]
_Number = Annotated[str, StringConstraints(max_length=255), Field(coerce_numbers_to_str=True)]
_Pixels = Annotated[int, Field(ge=0, lt=2**31)]

# What is wrong, in words for people; pydantic's own words for the rest.
_PROBLEMS = {
    "missing": N_("missing"),
    "dict_type": N_("not an object"),
    "list_type": N_("not a list"),
    "int_type": N_("not a whole number"),
    "string_type": N_("not a text"),
    "string_too_long": N_("longer than {max_length:d} characters, more than our column holds"),
    "string_pattern_mismatch": N_("not an http or https URL"),
    "tuple_type": N_("not a width and a height"),
}


# Fields by length, then by letters: pydantic gives them in this order, so the JSON is canonical without sorting, and it
# is the order in which PostgreSQL's jsonb keeps keys.
@with_config(_TRIMMED)
class _Original(TypedDict):
    type: NotRequired[_Type | None]
    db_id: NotRequired[_Whole | None]
    format: NotRequired[_Word | None]
    file_id: _FileId
    file_url: NotRequired[_Url | None]
    imported_at: NotRequired[_Word | None]
    is_processed: NotRequired[bool | None]
    uploaded_from: NotRequired[_Word | None]


@with_config(_TRIMMED)
class _Export(TypedDict):
    id: NotRequired[_Whole | None]
    type: NotRequired[_Word | None]
    created: NotRequired[_Word | None]
    filename: NotRequired[_Word | None]
    file_size: NotRequired[Annotated[float, AllowInfNan(False)] | None]
    image_url: NotRequired[_Url | None]
    resolution: NotRequired[tuple[_Pixels, _Pixels] | None]


@with_config(_TRIMMED)
class _Link(TypedDict):
    front: NotRequired[bool | None]
    number: _Number
    variant: NotRequired[_Number | None]


class _Record(TypedDict):
    original_file: _Original
    exported_files: list[_Export]
    articles: list[_Link]


class _Page(TypedDict):
    count: Annotated[int, Field(strict=True, ge=0)]
    next: str | None
    results: list[_Record]


_PAGE = TypeAdapter(_Page)
_RECORD = TypeAdapter(_Record)
# What only describes a file; nothing that is shown depends on it.
_DETAILS = frozenset(
    {"db_id", "imported_at", "is_processed", "uploaded_from", "id", "created", "filename", "file_size", "resolution"}
)


class Link(NamedTuple):
    """One article a record names: the number (a SKU), the variant code beside it, and whether it is a front view."""

    number: str
    variant: str
    front: bool


class Record(NamedTuple):
    """One image at the source.

    `canonical` is JSON; the fingerprint covers it and the rule of choice; `file_url` is the original's, '' without one.
    The addresses of both are without signatures; those of `chosen` are as they came.
    """

    external_id: str
    fingerprint: str
    canonical: bytes
    image_type: str
    file_url: str
    links: tuple[Link, ...]
    chosen: Chosen


class Reject(NamedTuple):
    """A record that cannot be used. `external_id` is None when even that is not legible; `raw` is JSON as received."""

    external_id: str | None
    reason: str
    raw: str


class PageAnswer(NamedTuple):
    """One page read over HTTP: its number and body, the API's count, the next page (None: the last), its file_ids.

    A file_id is None where it is not legible.
    """

    page: int
    body: bytes
    api_count: int
    next_page: int | None
    file_ids: tuple[str | None, ...]

    @property
    def length(self) -> int:
        """How many records it has."""
        return len(self.file_ids)


class PageContent(NamedTuple):
    """One page: the API's count, the number of the next page (None: the last), its records and rejects.

    left_out: details that cannot be read, with the image's external id.
    """

    api_count: int
    next_page: int | None
    records: list[Record]
    rejects: list[Reject]
    left_out: Sequence[tuple[str, str]] = ()

    @property
    def file_ids(self) -> list[str | None]:
        """Of every record, None where it is not legible."""
        return [*(record.external_id for record in self.records), *(reject.external_id for reject in self.rejects)]


def read_page(body: bytes, min_height: int = MIN_HEIGHT) -> PageContent:
    """Records and rejects of one page as received; `min_height` in pixels is what a product page needs.

    The whole page is validated at once; only when that fails each record is looked at alone, so that one bad record
    costs nobody else. Raises BadPageError when the body is no page at all.
    """
    if rb"\u0000" not in body:  # PostgreSQL keeps no NUL; cleaning is for the rare page that has one
        try:
            page = _PAGE.validate_json(body)
            records = [_record(item, min_height) for item in page["results"]]
        except Exception:  # noqa: BLE001, S110 - whatever it is, each record is looked at alone then
            pass
        else:
            return PageContent(page["count"], next_page_of(page["next"]), records, [])
    return _read_one_by_one(body, min_height)


def _record(item: _Record, min_height: int) -> Record:
    """The record made canonical; `item` is validated, is ours alone and is changed."""
    original, exports, articles = item["original_file"], item["exported_files"], item["articles"]
    chosen = choose_files(original, exports, min_height)
    file_url = _without_signatures(original, exports)
    links = [Link(link["number"], link.get("variant") or "", bool(link.get("front"))) for link in articles]
    if len(links) > 1:
        links = sorted(set(links))
    if len(exports) > 1:
        exports.sort(key=_export_order)
    canonical = orjson.dumps(
        {
            "articles": [{"front": link[2], "number": link[0], "variant": link[1]} for link in links],
            "original_file": original,
            "exported_files": exports,
        }
    )
    # An address that stays takes the place of a signed one as soon as there is one.
    marks = [b"signed"] if is_signed(chosen.picture_url) else []
    return Record(
        external_id=str(original["file_id"]),
        fingerprint=fingerprint(canonical, min_height, *marks),
        canonical=canonical,
        image_type=original.get("type") or "",
        file_url=file_url,
        links=tuple(links),
        chosen=chosen,
    )


def _without_signatures(original: _Original, exports: Iterable[_Export]) -> str:
    """Bring the addresses of a record's files into the form in which they are compared; gives the original's."""
    if (url := original.get("file_url")) and "?" in url:
        original["file_url"] = stable_address(url)
    for export in exports:
        if (url := export.get("image_url")) and "?" in url:
            export["image_url"] = stable_address(url)
    return original.get("file_url") or ""


def _export_order(export: _Export) -> tuple[int, str, str]:
    return export.get("id") or 0, export.get("created") or "", export.get("image_url") or ""


def _read_one_by_one(body: bytes, min_height: int) -> PageContent:
    """The slow way for a page with something wrong in it: every record validated alone."""
    api_count, next_page, results = parse_page(body)
    records: list[Record] = []
    rejects: list[Reject] = []
    told: list[tuple[str, str]] = []
    for raw in results:
        found, left_out = read_value(raw, min_height)
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            records.append(found)
            told += left_out
    return PageContent(api_count, next_page, records, rejects, told)


def read_record(raw: bytes, min_height: int) -> Record | None:
    """One record as received, without NUL; None when it cannot be read so, and read_value has to say why not."""
    try:
        return _record(_RECORD.validate_json(raw), min_height)
    except Exception:  # noqa: BLE001 - whatever it is, it is looked at again
        return None


def read_value(raw: Any, min_height: int) -> tuple[Record | Reject, list[tuple[str, str]]]:
    """One record of a page's JSON, with its details that cannot be read, as PageContent has them."""
    try:
        read, left_out = read_details(_RECORD, _without_nul(raw), _DETAILS)
        record = _record(read, min_height)
    except Exception as error:  # noqa: BLE001 - whatever one record does to a library, the others are read
        reason = _reason(error) if isinstance(error, ValidationError) else error_reason(error)
        return Reject(legible_id(raw), reason, json.dumps(raw)), []
    return record, [(languages.told(f"image {record.external_id}"), what) for what in left_out]


def _without_nul(value: Any) -> Any:
    """The same JSON value without NUL characters, which no column of PostgreSQL can keep."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


def _reason(error: ValidationError) -> str:
    """One line for people: the field, what is wrong with it, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    problems.sort(key=lambda problem: "file_id" not in problem["loc"])  # without it nothing else matters
    field = ".".join(str(part) for part in problems[0]["loc"]) or languages.told("the record")
    words = _PROBLEMS.get(problems[0]["type"], problems[0]["msg"]).format_map(problems[0].get("ctx", {}))
    if len(problems) > 1:
        words = languages.told(f"{words} (and {len(problems) - 1} more)")
    return f"{field}: {words}"


def parse_page(body: bytes) -> tuple[int, int | None, list[Any]]:
    """The API's count of records, the next page (None: this is the last), and the records as received.

    Raises BadPageError for what is no JSON and for JSON that is no page.
    """
    try:
        document = load_json(body)
    except ValueError as error:
        raise BadPageError(f"the answer is not JSON, perhaps cut short: {str(error)[:100]}") from None
    return page_parts(document)


def page_parts(document: object) -> tuple[int, int | None, list[Any]]:
    """The parts of a page's JSON, as parse_page gives them. Raises BadPageError for JSON that is no page."""
    if not isinstance(document, dict):
        raise BadPageError("the answer is JSON but no page: an object with count, next and results was expected")
    count, link, results = document.get("count"), document.get("next"), document.get("results")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise BadPageError("the page has no usable count: a whole number was expected")
    if not isinstance(results, list):
        raise BadPageError("the page has no usable results: a list was expected")
    if link is not None and not isinstance(link, str):
        raise BadPageError("the page has no usable next: a URL or null was expected")
    return count, next_page_of(link), results


def legible_id(raw: Any) -> str | None:
    """The file_id of a raw record, valid or not; None when not even that can be read."""
    original = raw.get("original_file") if isinstance(raw, dict) else None
    file_id = original.get("file_id") if isinstance(original, dict) else None
    if isinstance(file_id, str) and file_id.isascii() and file_id.isdigit() and len(file_id) < 20:
        file_id = int(file_id)
    if isinstance(file_id, int) and not isinstance(file_id, bool) and 0 < file_id < 2**63:
        return str(file_id)
    return None
