"""The fast lane and the slow lane: the same values, rejects and facts for every page, in order or odd."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.image_db import records
from imagesync_pipelines.connectors.image_db.columns import SCHEMA, Chunk, RawPage, chunk_of, facts_of
from imagesync_pipelines.connectors.image_db.records import MIN_HEIGHT, PageContent, read_page
from imagesync_pipelines_tests.connectors.image_db.made_up import export, full_exports, link, page, placeholder, record
from imagesync_pipelines_tests.connectors.image_db.test_records import JSON, odd_records

MOMENT = datetime(2026, 3, 1, 3, tzinfo=UTC)


def lanes(body: bytes, min_height: int = MIN_HEIGHT) -> Chunk:
    """The page as it is read: what is in order fast, the rest slow."""
    return chunk_of([RawPage(7, MOMENT, body)], min_height)


def check_same(body: bytes, min_height: int = MIN_HEIGHT) -> None:
    """The lanes give what records.py alone gives."""
    alone, chunk = read_page(body, min_height), lanes(body, min_height)
    assert rows_of(chunk) == [row_of(found) for found in alone.records]
    assert [reject[2:] for reject in chunk.rejects] == [tuple(reject) for reject in alone.rejects]
    assert [reject[:2] for reject in chunk.rejects] == [(7, place) for place in range(1, len(alone.rejects) + 1)]
    assert chunk.left_out == tuple(alone.left_out)
    assert chunk.facts == (facts_of(7, alone, MOMENT),)
    assert chunk.origins == ((MOMENT, 7, len(alone.records)),)


def rows_of(chunk: Chunk) -> list[dict[str, Any]]:
    """The chunk's records in the order of the page, without their digests."""
    return chunk.table.drop_columns("bytes_digest").take(chunk.rows).to_pylist()


def row_of(found: Any) -> dict[str, Any]:
    whole = {**found._asdict(), **found.chosen._asdict(), "links": [one._asdict() for one in found.links]}
    return {name: whole[name] for name in SCHEMA.names if name != "bytes_digest"}


SIGNED = "https://h/a.png?X-Amz-Signature=1"
IN_ORDER: dict[str, dict[str, Any]] = {
    "as the contract has it": record(),
    "no exports": record(exports=[], format="jpeg"),
    "no articles": record(links=[]),
    "only nulls in an export": record(exports=[dict.fromkeys(export()), export()][:1]),
    "an export without a key": record(exports=[{}]),
    "the same link twice": record(links=[link(), link(), link("1", None, None)]),
    "exports in another order": record(exports=full_exports()[::-1]),
    "a placeholder": record(exports=[placeholder()]),
    "umlauts and emoji": record(type="Fußnote 📷 Ä", uploaded_from="Übergröße"),
    "a blank inside": record(uploaded_from="Web server (upload)"),
    "a key nobody knows": {**record(), "views": [1, {"a": None}], "note": " x "},
    "no original address": record(file_url=None),
    "an empty original address": record(file_url=""),
    "a size that is whole": record(exports=[export(file_size=60)]),
    "a size of zero": record(exports=[export(file_size=-0.0)]),
    "the smallest size": record(exports=[export(file_size=5e-324)]),
    "no moment": record(exports=[export(created="yesterday"), export(number=2, created="")]),
    "a moment of another zone": record(exports=[export(created="2024-02-01T12:30:00.5+02:00")]),
    "a moment without a zone": record(exports=[export(created="2024-02-01T12:30:00")]),
    "a moment before the year 1": record(exports=[export(created="0001-01-01T00:00:00+14:00")]),
    "the last moment": record(exports=[export(created="9999-12-31T23:59:59.999999")]),
    "no width": record(exports=[export(resolution=[0, 900])]),
    "files that are alike but one is newer": record(
        exports=[export(number=1), export(number=2, created="2025-01-01T00:00:00Z"), export(number=3)]
    ),
}
ODD: dict[str, dict[str, Any]] = {
    "a blank before": record(type=" Produktfoto"),
    "a blank behind": record(uploaded_from="Desktop "),
    "a blank that is no ASCII": record(uploaded_from="Desktop\u3000"),
    "a tab": record(uploaded_from="a\tb"),
    "a quotation mark": record(uploaded_from='a "b"'),
    "the number as an integer": record(links=[link(803721)]),
    "front as a number": record(links=[link(front=1)]),
    "a signed address": record(exports=[export(image_url=SIGNED)]),
    "an address in capitals": record(file_url="HTTPS://h/a.psd"),
    "a host in Cyrillic": record(file_url="https://пример/a.psd"),
    "an export without a type": record(exports=[export(type=None)]),
    "an id beside none": record(exports=[export(), export(id=None)]),
    "a size beyond all sizes": record(exports=[export(file_size=1e300)]),
    "a side beyond all sides": record(exports=[export(resolution=[2**20, 2**31 - 1])]),
    "a moment in the year 1": record(exports=[export(created="0001-01-01T00:00:00")]),
    "exports of one id": record(exports=[export(image_url="https://h/2"), export(image_url="https://h/1")]),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The records that the rule was asked about."""
    seen: list[bytes] = []
    read = records.read_record

    def noting(raw: bytes, min_height: int) -> records.Record | None:
        seen.append(raw)
        return read(raw, min_height)

    monkeypatch.setattr(records, "read_record", noting)
    return seen


@pytest.mark.parametrize("raw", IN_ORDER.values(), ids=IN_ORDER.keys())
def test_a_record_in_order_is_read_fast_and_in_the_same_way(raw: dict[str, Any], asked: list[bytes]) -> None:
    check_same(page(record(1), raw, record(2)))
    assert asked == []


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD.keys())
def test_an_odd_record_is_read_by_the_rule_and_it_alone(raw: dict[str, Any], asked: list[bytes]) -> None:
    check_same(page(record(1), raw, record(2)))
    assert [json.loads(one) for one in asked] == [raw]


WHOLE = {
    "NUL": page(record(1), record(2, type="a\0b")),
    "NUL in a key": page(record(1), {**record(2), "articles\0": []}),
    "a lone surrogate": page(record(1), record(2, type="\ud800")),
    "a key twice": page(record(1)).replace(b'"type": "Produktfoto"', b'"type": 5, "type": "Szene"'),
    "results twice": page(record(1))[:-1] + b', "results": []}',
    "an escaped key": page(record(1)).replace(b'"number"', rb'"n\u0075mber"'),
    "a number of 5,000 digits": page(record(1)).replace(b'"stock": 4', b'"stock": ' + b"4" * 5000),
    "a count of 30 digits": page(record(1)).replace(b'"count": 1', b'"count": ' + b"1" * 15),
    "no numbers": page(record(1)).replace(b'"stock": 4', b'"stock": NaN'),
}


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE.keys())
def test_an_odd_page_is_read_as_ever(body: bytes) -> None:
    check_same(body)


@pytest.mark.parametrize(
    "body", [b'{"count": 1, "next": null, "results": ["\xff"]}', b"[]", b"", b'{"count": 1, "results": []}']
)
def test_what_is_no_page_is_refused_with_the_same_words(body: bytes) -> None:
    with_words = []
    for way in (read_page, lanes):
        try:
            way(body)
            with_words.append("")
        except Exception as error:
            with_words.append(f"{type(error)}: {error}")
    assert with_words[0] == with_words[1]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", " a", "b\u00a0", "c?d", "e\\"]
)
ADDRESSES = st.sampled_from(
    [
        None,
        "",
        SIGNED,
        "https://h/a.png",
        "http://h/b",
        "https:///c",
        "https://[d",
        "HTTP://h/e",
        "ftp://f",
        "https://h/ g",
    ]
)
MOMENTS = st.sampled_from(
    [None, "", "x", "2024-02-01", "2024-02-01T10:00:00.123456+00:00", "2025-01-01T00:00:00Z", "0001-01-01T00:00:00"]
) | st.datetimes().map(datetime.isoformat)
SIDES = st.integers(0, 1300) | st.sampled_from([0, 200, 600, 2**20, 2**31 - 1, 2**31, -1])
EXPORTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.none() | st.integers(0, 4) | st.sampled_from([-(2**63), 2**63, 1.0, "1"]),
        "type": st.sampled_from([None, "", "png", "jpg_k", "jpg_g", "JPG_G", "tiff", "gif", "webp", "odd"]),
        "created": MOMENTS,
        "filename": st.none() | TEXTS,
        "file_size": st.none() | st.floats() | st.integers(),
        "image_url": ADDRESSES,
        "resolution": st.none() | st.tuples(SIDES, SIDES).map(list),
        "stock": JSON,
    },
)
LINKS = st.fixed_dictionaries(
    {"number": st.sampled_from(["1", "2", " 3"]) | TEXTS},
    optional={"variant": st.none() | TEXTS, "front": st.sampled_from([None, True, False, 1, "yes"]), "stock": JSON},
)
RECORDS = st.fixed_dictionaries(
    {
        "original_file": st.fixed_dictionaries(
            {"file_id": st.integers(1, 9) | st.sampled_from([0, 2**63 - 1, 2**63, "7"])},
            optional={
                "type": st.none() | TEXTS,
                "db_id": st.none() | st.integers(),
                "format": st.sampled_from([None, "", "png", " PNG ", "psd", "jpg"]),
                "file_url": ADDRESSES,
                "imported_at": MOMENTS,
                "is_processed": st.sampled_from([None, True, False, 0, "no"]),
            },
        ),
        "exported_files": st.lists(EXPORTS, max_size=5),
        "articles": st.lists(LINKS, max_size=3),
    }
)


def alone(raw: Any, min_height: int) -> PageContent:
    return read_page(page(raw), min_height)


def check_each(raws: list[Any], min_height: int) -> None:
    """On a page of many every record is what it is alone on one, so that no neighbour decides about a lane."""
    chunk = lanes(page(*raws), min_height)
    each = [alone(raw, min_height) for raw in raws]
    assert rows_of(chunk) == [row_of(found) for content in each for found in content.records]
    assert [reject[2:] for reject in chunk.rejects] == [tuple(one) for content in each for one in content.rejects]
    assert chunk.left_out == tuple(told for content in each for told in content.left_out)


@settings(max_examples=150, deadline=None)
@given(st.lists(RECORDS | odd_records() | JSON, max_size=6), st.sampled_from([1, 200, 600]))
def test_whatever_comes_the_lanes_give_what_the_rule_alone_gives(raws: list[Any], min_height: int) -> None:
    if b"\\u0000" not in page(*raws) and "\\ud" not in json.dumps(raws):
        check_each(raws, min_height)
    else:
        check_same(page(*raws), min_height)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(RECORDS | odd_records() | JSON, max_size=6), st.sampled_from([1, 200, 600]))
def test_whatever_comes_the_lanes_give_what_the_rule_alone_gives_many_times(raws: list[Any], min_height: int) -> None:
    if b"\\u0000" not in page(*raws) and "\\ud" not in json.dumps(raws):
        check_each(raws, min_height)
    else:
        check_same(page(*raws), min_height)
