"""The fast lane: pages and records in which nothing is odd, read by msgspec in a tenth of pydantic's time.

records.py is the rule: what a record is, what is wrong with one, in which words. The fast lane answers only where it is
certain to give what records.py gives, byte for byte; for anything odd (a blank around a text, a number as text, a
signed address, a key with NUL …) it gives None, and records.py is asked about that record or that page.
"""

import re
from hashlib import blake2b
from operator import attrgetter
from typing import Annotated, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from imagesync_pipelines.connectors.image_db.errors import BadPageError

_Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_FileId = Annotated[int, Meta(gt=0, le=2**63 - 1)]
_Url = Annotated[str, Meta(max_length=500)]
_Type = Annotated[str, Meta(max_length=50)]
_Word = Annotated[str, Meta(max_length=255)]
_Pixels = Annotated[int, Meta(ge=0, lt=2**31)]
# Beyond it orjson, which writes what pydantic read, writes an exponent otherwise than msgspec.
_Size = Annotated[float, Meta(gt=-1e15, lt=1e15)]


# The fields of records.py in the same order, which is the order of the canonical JSON.
class Original(Struct, gc=False, kw_only=True):
    """The original file; a field is UNSET where the record does not have it."""

    type: _Type | UnsetType | None = UNSET
    db_id: _Whole | UnsetType | None = UNSET
    format: _Word | UnsetType | None = UNSET
    file_id: _FileId
    file_url: _Url | UnsetType | None = UNSET
    imported_at: _Word | UnsetType | None = UNSET
    is_processed: bool | UnsetType | None = UNSET
    uploaded_from: _Word | UnsetType | None = UNSET


class Export(Struct, gc=False):
    """One exported file; a field is UNSET where the record does not have it."""

    id: _Whole | UnsetType | None = UNSET
    type: _Word | UnsetType | None = UNSET
    created: _Word | UnsetType | None = UNSET
    filename: _Word | UnsetType | None = UNSET
    file_size: _Size | UnsetType | None = UNSET
    image_url: _Url | UnsetType | None = UNSET
    resolution: tuple[_Pixels, _Pixels] | UnsetType | None = UNSET


class _Link(Struct, gc=False, kw_only=True):
    number: _Word
    front: bool | UnsetType | None = UNSET
    variant: _Word | UnsetType | None = UNSET


class _CanonicalLink(Struct, gc=False):
    front: bool
    number: str
    variant: str


class _Record(Struct, gc=False):
    articles: list[_Link]
    original_file: Original
    exported_files: list[Export]


class _Canonical(Struct, gc=False):
    articles: list[_CanonicalLink]
    original_file: Original
    exported_files: list[Export]


class _Page(Struct, gc=False):
    count: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    next: str | None
    results: list[Raw]


class PageInOrder(NamedTuple):
    """A page whose envelope is in order: the API's count, the next page (None: the last), each record's own bytes."""

    api_count: int
    next_page: int | None
    results: list[bytes]


class RecordInOrder(NamedTuple):
    """A record that is in order; links are (number, variant, front), exports those of the canonical record."""

    original: Original
    exports: list[Export]
    links: list[tuple[str, str, bool]]
    canonical: bytes


_read_page, _read_record = msgspec.json.Decoder(_Page).decode, msgspec.json.Decoder(_Record).decode
_encode = msgspec.json.Encoder().encode
_ODD = (msgspec.DecodeError, RecursionError)
_export_order = attrgetter("id", "created", "image_url")
_BLANK_AT_AN_EDGE = re.compile(r'"\s|\s"')
_QUOTE = ord('"')
_STOCK = re.compile(rb'"stock": ?(?:null|-?(?:0|[1-9][0-9]{0,17}))(?=[,}\s])')


def page_in_order(body: bytes) -> PageInOrder | None:
    """The parts of a page as received; None when something is odd about it. Raises BadPageError as next_page_of does.

    The bytes of each record are valid JSON in UTF-8, and no text in them has a NUL.
    """
    # What msgspec skips it checks as JSON, but not as UTF-8. NUL is cut out of texts and keys, by records.py.
    if rb"\u0000" in body or not _is_utf8(body):
        return None
    try:
        page = _read_page(body)
    except _ODD:
        return None
    return PageInOrder(page.count, next_page_of(page.next), list(map(bytes, page.results)))


def next_page_of(link: str | None) -> int | None:
    """The page number in a `next` link; None without a link.

    Only the query is read: the link's host and scheme are another machine's, and credentials must not follow it.
    Raises BadPageError for a link without a page number.
    """
    if link is None:
        return None
    try:
        page = int(parse_qs(urlsplit(link).query)["page"][-1])
    except (KeyError, ValueError):
        raise BadPageError("the page's next link names no page number; the scan cannot go on from it") from None
    return page


def record_in_order(raw: bytes) -> RecordInOrder | None:
    """A record of a page in order; None when something is odd about it. Its addresses are not looked at here."""
    try:
        record = _read_record(raw)
    except _ODD:
        return None
    exports, links = (
        record.exported_files,
        [(one.number, one.variant or "", one.front is True) for one in record.articles],
    )
    if len(links) > 1:
        links = sorted(set(links))
    if len(exports) > 1:
        try:
            exports.sort(key=_export_order)
        except TypeError:  # null beside a value
            return None
    articles = [_CanonicalLink(front, number, variant) for number, variant, front in links]
    canonical = _encode(_Canonical(articles, record.original_file, exports))
    if b"\\" in canonical or b"?" in canonical or _has_blank_at_an_edge(canonical):
        return None
    return RecordInOrder(record.original_file, exports, links, canonical)


def bytes_digest(raw: bytes) -> bytes:
    """16 bytes that stand for a record as received, whatever the stock of its articles, which counts for nothing."""
    articles = max(raw.rfind(b'"articles"'), 0)
    digest = blake2b(raw[:articles], digest_size=16)
    digest.update(_STOCK.sub(b'"stock":0', raw[articles:]))
    return digest.digest()


def _has_blank_at_an_edge(canonical: bytes) -> bool:
    """Whether a text begins or ends with a blank, which is to be cut off: canonical JSON has none beside quotes."""
    if not canonical.isascii():
        return _BLANK_AT_AN_EDGE.search(canonical.decode()) is not None
    at = canonical.find(b" ")
    while at >= 0:
        if canonical[at - 1] == _QUOTE or canonical[at + 1] == _QUOTE:
            return True
        at = canonical.find(b" ", at + 1)
    return False


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
