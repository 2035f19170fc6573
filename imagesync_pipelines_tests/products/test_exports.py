"""Exports: the right rows in every format, from one moment, harmless in a spreadsheet, in bounded memory."""

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.products.export_rows import PLAIN, PRODUCTS_AT_ONCE, ExportRow, read_rows, snapshot
from imagesync_pipelines.products.exports import Format, export, kind_of, safe_cell, write_csv
from imagesync_pipelines.products.merchant import why_unusable, write_merchant
from imagesync_pipelines.quality.scores import judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines_tests.quality.rows import listed_now, measure, show
from imagesync_pipelines_tests.web.catalogue.world import World, open_world

MOMENT = datetime(2026, 11, 21, 12, tzinfo=UTC)
G = "{http://base.google.com/ns/1.0}"


def row(**values: object) -> ExportRow:
    """A row with what matters to a test."""
    plain = ExportRow(
        "803721", "variant", None, "BE", "Engel", 1, 7, "930363", "https://media.example.com/a.jpg", None,
        "Produktfoto", True, True, "Engel - Produktfoto", "jpeg", 1920, 1280, "", MOMENT,
    )  # fmt: skip
    return plain._replace(**values)  # type: ignore[arg-type]


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    """A parent with pictures and a variant without, a family the other way round, one that left, one with nothing."""
    world = open_world(database, tmp_path)
    parent = world.product("P1", "Engel", kind="parent")
    world.product("100", parent=parent)
    world.image(parent, "1", is_primary=False, priority=4)
    world.image(parent, "2", priority=1, thumbnail_url="https://media.example.com/2.png")
    bare = world.product("P2", "Fuchs", kind="parent")
    world.image(world.product("200", "Fuchs", parent=bare, variant_code="BE"), "3", image_format=None, width=None)
    world.product("300", "Nothing")
    world.image(world.product("400", "Gone", left_erp_at=MOMENT), "4")
    return world


def rows_of(world: World, **options: bool) -> list[ExportRow]:
    with snapshot(world.engine) as connection:
        return [one for batch in read_rows(connection, **options) for one in batch]


def test_every_image_that_is_shown_for_a_product_is_a_row_in_its_order(world: World) -> None:
    found = [(one.sku, one.parent_sku, one.position, one.external_id, one.images_from) for one in rows_of(world)]
    assert found == [
        ("100", "P1", 1, "2", "P1"),
        ("100", "P1", 2, "1", "P1"),
        ("200", "P2", 1, "3", ""),
        ("P1", None, 1, "2", ""),
        ("P1", None, 2, "1", ""),
        ("P2", None, 1, "3", "200"),
    ]


def test_conditions_choose_products_and_the_setting_of_the_connector_holds(world: World) -> None:
    with snapshot(world.engine) as connection:
        found = [one for batch in read_rows(connection, [product.c.sku == "100"]) for one in batch]
    assert {one.sku for one in found} == {"100"}
    own = world.product("101", parent=1)
    world.image(own, "9")
    assert [one.external_id for one in rows_of(world, own_images_first=True) if one.sku == "101"] == ["9"]
    assert [one.external_id for one in rows_of(world) if one.sku == "101"] == ["2", "1"]


def test_every_format_says_the_same(world: World) -> None:
    made = {one: b"".join(export(world.engine, one)) for one in Format}
    rows = rows_of(world)
    values = [dict(zip(PLAIN, one, strict=False)) for one in rows]
    assert pq.read_table(io.BytesIO(made[Format.PARQUET])).to_pylist() == values
    lines = [json.loads(line) for line in made[Format.NDJSON].splitlines()]
    assert [{**line, "last_synced": datetime.fromisoformat(line["last_synced"])} for line in lines] == values
    cells = list(csv.DictReader(io.StringIO(made[Format.CSV].decode("utf-8-sig"))))
    assert [(one["sku"], one["image_url"], one["is_primary"], one["width"]) for one in cells] == [
        (one.sku, one.image_url, str(one.is_primary).lower(), str(one.width or "")) for one in rows
    ]
    items = ElementTree.fromstring(made[Format.MERCHANT]).findall("channel/item")
    assert {item.findtext(f"{G}id"): item.findtext(f"{G}image_link") for item in items} == {
        one.sku: one.image_url for one in rows if one.position == 1
    }


@pytest.mark.parametrize("wanted", Format)
def test_an_export_of_nothing_is_whole(database: sa.Engine, wanted: Format) -> None:
    made = b"".join(export(database, wanted))
    if wanted is Format.PARQUET:
        assert pq.read_table(io.BytesIO(made)).num_rows == 0
    elif wanted is Format.MERCHANT:
        assert ElementTree.fromstring(made).findall("channel/item") == []
    else:
        assert len(made.splitlines()) == (wanted is Format.CSV)


def test_an_export_is_of_one_moment_whatever_is_written_meanwhile(database: sa.Engine, tmp_path: Path) -> None:
    world = open_world(database, tmp_path)
    for at in range(PRODUCTS_AT_ONCE + 3):
        world.product(f"{at:06}")
    last = world.product("999999")
    world.image(last, "1")
    with snapshot(database) as connection:
        batches = read_rows(connection)
        assert next(batches) == []
        world.image(last, "2", is_primary=False)
        assert [one.external_id for batch in batches for one in batch] == ["1"]


def test_exports_have_the_quality_of_main_pictures_once_it_was_measured(world: World) -> None:
    def made(wanted: Format) -> bytes:
        return b"".join(export(world.engine, wanted))

    before = {wanted: made(wanted) for wanted in Format}
    plain = list(csv.DictReader(io.StringIO(before[Format.CSV].decode("utf-8-sig"))))
    assert "quality_score" not in plain[0]
    (shown,) = {one["id"] for one in plain if one["sku"] == "P1" and one["is_primary"] == "true"}
    with world.engine.begin() as connection:
        owner, key = connection.execute(
            sa.select(product_image.c.product_id, product_image.c.external_id).where(product_image.c.id == int(shown))
        ).one()
    # What nobody judged changes no file.
    show(world.engine, "P1", "small", connector="image_db", account="", key=key, product_id=owner)
    listed_now(world.engine)
    assert {wanted: made(wanted) for wanted in Format} == before
    measure(world.engine, "small", width=400, height=400)
    judge_due(world.engine, QualitySettings(channels="image_db=google,own"), MOMENT)
    rows = list(csv.DictReader(io.StringIO(made(Format.CSV).decode("utf-8-sig"))))
    judged = {(one["sku"], one["id"]): (one.pop("quality_score"), one.pop("quality_findings")) for one in rows}
    assert rows == plain
    # The variant shows its parent's pictures, the main one among them.
    told = ("42", "google: size, large; own: size, large")
    assert {at: found for at, found in judged.items() if found != ("", "")} == {
        ("P1", shown): told,
        ("100", shown): told,
    }
    line = next(json.loads(one) for one in made(Format.NDJSON).splitlines() if str(json.loads(one)["id"]) == shown)
    assert (line["quality_score"], line["quality_findings"]) == (42, told[1])
    table = pq.read_table(io.BytesIO(made(Format.PARQUET)))
    assert table.column_names[-2:] == ["quality_score", "quality_findings"]
    assert made(Format.MERCHANT) == before[Format.MERCHANT]
    # Another picture took its place, of which nothing is known yet.
    with world.engine.begin() as connection:
        connection.execute(product_image.update().values(newest_export=MOMENT))
    assert b"size, large" not in made(Format.CSV)


def test_a_reader_that_goes_away_leaves_no_connection_open(world: World) -> None:
    stream = export(world.engine, Format.NDJSON)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert world.engine.pool.status().count("Current Checked out connections: 0") == 1


def peak_bytes(wanted: Format, batches: int) -> int:
    """The most that was in memory while so many batches of 500 rows were written, the bytes given on at once."""
    rows = ([row(sku=f"{at:06}", id=n) for n in range(500)] for at in range(batches))
    tracemalloc.start()
    arrow = max(pa.total_allocated_bytes() for _ in kind_of(wanted).write(rows, PLAIN))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak + arrow


@pytest.mark.parametrize("wanted", Format)
def test_many_rows_need_no_more_memory_than_few(wanted: Format) -> None:
    assert peak_bytes(wanted, 60) < 1.6 * peak_bytes(wanted, 15)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("  =1", "'  =1"),
        ("\t=1", "'\t'=1"), ("＝1", "'＝1"), ("a;=1", "a;'=1"), ("a\n@x", "a\n'@x"),
        ('"=1', "'\"=1"), ('a;"=1', "a;'\"=1"),
        ("Engel - Produktfoto", "Engel - Produktfoto"), ("a=b", "a=b"), ("", ""),
        ("https://x.example/?a=-1", "https://x.example/?a=-1"),
    ],
)  # fmt: skip
def test_a_cell_is_shown_and_never_calculated(text: str, cell: str) -> None:
    assert safe_cell(text) == cell


@given(st.lists(st.text(alphabet='=+-@;,"\t\r\n \x00aé'), min_size=3, max_size=3), st.sampled_from([",", ";", "\t"]))
def test_no_cell_begins_with_a_formula_whatever_separates_cells(texts: list[str], separator: str) -> None:
    rows = [row(name=texts[0], alt_text=texts[1], image_type=texts[2])]
    text = b"".join(write_csv(iter([rows]))).decode("utf-8-sig")
    lines = list(csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=separator))
    assert len(lines) >= 2, "the names of the columns, and the row"
    for line in lines:
        assert not [cell for cell in line if cell.strip(' \t\r\n"').startswith(("=", "+", "-", "@"))]


FEED = {
    "a primary and others": ([row(), row(position=2, image_url="https://x.example/2.jpg")], ["803721"]),
    "no address of the web": ([row(image_url="ftp://x.example/1.jpg")], []),
    "no address at all": ([row(image_url="http://[")], []),
    "no format that Google takes": ([row(format="psd")], []),
    "too small": ([row(height=90)], []),
    "a size that nobody knows": ([row(height=None, width=None, format=None)], ["803721"]),
    "a variant and a parent of one SKU": ([row(), row(kind="parent", image_url="https://x.example/p.jpg")], ["803721"]),
    "left out, with hyphens that no comment may hold": ([row(sku="A---B--", format="psd")], []),
    "signs that XML cannot write": ([row(sku="<a>\x0b&\ufffe")], ["<a>&"]),
}


ADDRESSES = {
    " https://media.example.com/a b,c.jpg": "https://media.example.com/a%20b%2Cc.jpg",
    "https://media.example.com/Кот.jpg": "https://media.example.com/%D0%9A%D0%BE%D1%82.jpg",
    "https://bücher.example/a.jpg": "https://xn--bcher-kva.example/a.jpg",
    "https://media.example.com/100%zz.jpg?a=1&b=2": "https://media.example.com/100%25zz.jpg?a=1&b=2",
    "https://catalogue.example/images/content/" + "a" * 64: "https://catalogue.example/images/content/" + "a" * 64,
}


@pytest.mark.parametrize(("written", "given_on"), ADDRESSES.items(), ids=ADDRESSES)
def test_the_feed_writes_addresses_as_google_takes_them(written: str, given_on: str) -> None:
    (item,) = ElementTree.fromstring(b"".join(write_merchant(iter([[row(image_url=written)]])))).findall("channel/item")
    assert item.findtext(f"{G}image_link") == given_on
    for wanted in (Format.CSV, Format.NDJSON):
        made = b"".join(kind_of(wanted).write(iter([[row(image_url=written)]]), PLAIN)).decode()
        assert given_on.replace("%2C", ",") in made


@pytest.mark.parametrize("wanted", Format)
def test_no_export_holds_a_password(wanted: Format) -> None:
    rows = [row(image_url="https://anna:secret@x.example/1.jpg", thumbnail_url="https://anna:secret@x.example/2.jpg")]
    made = b"".join(kind_of(wanted).write(iter([rows]), PLAIN))
    text = str(pq.read_table(io.BytesIO(made)).to_pylist()) if wanted is Format.PARQUET else made.decode()
    assert "secret" not in text
    assert "anna" not in text


def test_what_google_refuses_is_left_out_and_told_and_a_copy_of_ours_stands_for_what_is_too_large() -> None:
    own = "https://catalogue.example/images/content/" + "a" * 64
    rows = [
        row(image_url="https://anna:secret@x.example/1.jpg"),
        row(position=2, image_url=own, width=9000, height=8000, id=12),
        row(position=3, width=8000, height=8001),
        row(position=4, image_url="https://x.example/4.jpg?X-Amz-Signature=0"),
        row(position=5, image_url="https://x.example/5.jpg", width=8000, height=8000),
        row(position=6, image_url=own, width=10_000, height=10_001),
    ]
    made = b"".join(write_merchant(iter([rows]))).decode()
    (item,) = ElementTree.fromstring(made).findall("channel/item")
    assert [one.text for one in item][1:] == ["https://catalogue.example/media/12/web", "https://x.example/5.jpg"]
    assert [why_unusable(one) for one in rows] == [
        "an address that needs a password", "", "larger than 64 megapixels", "an address that expires", "",
        "larger than 64 megapixels",
    ]  # fmt: skip
    assert "<!-- left out: larger than 64 megapixels: 2 (SKU 803721) -->" in made
    assert "secret" not in made


@pytest.mark.parametrize(("rows", "skus"), FEED.values(), ids=FEED)
def test_the_feed_has_what_google_takes(rows: list[ExportRow], skus: list[str]) -> None:
    items = ElementTree.fromstring(b"".join(write_merchant(iter([rows])))).findall("channel/item")
    assert [item.findtext(f"{G}id") for item in items] == skus
    assert [item.findtext(f"{G}image_link") for item in items] == [rows[0].image_url for _ in skus]


def test_the_feed_names_at_most_ten_other_images_each_once() -> None:
    rows = [row(position=at, image_url=f"https://x.example/{at // 2}.jpg") for at in range(40)]
    (item,) = ElementTree.fromstring(b"".join(write_merchant(iter([rows])))).findall("channel/item")
    others = [link.text for link in item.findall(f"{G}additional_image_link")]
    assert others == [f"https://x.example/{at}.jpg" for at in range(1, 11)]
