"""A photo is what HO lists, made canonical; its fingerprint is what the edge keeps of it."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.edge import model
from imagesync_pipelines.connectors.edge.model import IllegibleRow, Photo, fingerprint, photo_from_json
from imagesync_pipelines_tests.connectors.edge.head_office import row, uid

JAKARTA = ZoneInfo("Asia/Jakarta")
EXCEL = {"object_key": None, "checksum": "", "size": 0, "image_url": "/media/products/x.jpg"}


def photo_of(raw: object, zone: tzinfo = UTC) -> Photo:
    """The photo of a row that is one."""
    found = photo_from_json(raw, zone)
    assert isinstance(found, Photo), found
    return found


def test_a_listed_row_becomes_a_photo() -> None:
    photo = photo_of(row(5018970))
    assert (photo.photo_id, photo.product_sku) == (uid(5018970), "05018970")
    assert photo.product_name == 'Kopi "5018970" 咖啡'
    assert photo.has_image


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-03T10:00:00Z", datetime(2026, 2, 3, 10, tzinfo=UTC)),
        ("2026-02-03T04:14:24.796133+00:00", datetime(2026, 2, 3, 4, 14, 24, 796133, tzinfo=UTC)),
        ("2026-02-03T04:14:24+00:00", datetime(2026, 2, 3, 4, 14, 24, tzinfo=UTC)),
        ("2026-02-03T17:00:00+07:00", datetime(2026, 2, 3, 10, tzinfo=UTC)),
        ("2026-02-03T17:00:00", datetime(2026, 2, 3, 10, tzinfo=UTC)),
        (" 2026-02-03T10:00:00Z ", datetime(2026, 2, 3, 10, tzinfo=UTC)),
    ],
    ids=["Z", "an offset and a fraction", "no fraction", "another offset", "none at all: HO's zone", "blanks around"],
)
def test_every_form_of_a_time_is_read_in_utc(text: str, moment: datetime) -> None:
    photo = photo_of(row(1, updated_at=text), JAKARTA)
    assert photo.updated_at == moment
    assert photo.updated_at.tzinfo is UTC


@pytest.mark.parametrize(
    "changes",
    [EXCEL, {"checksum": None, "size": None}, {"size": 0}, {"checksum": " "}],
    ids=["a row of the Excel import", "nulls", "size 0 alone", "a blank checksum"],
)
def test_a_row_without_an_image_upstream_is_a_photo_that_says_so(changes: dict[str, Any]) -> None:
    photo = photo_of(row(1, **changes))
    assert not photo.has_image


def test_what_the_original_leaves_out_is_made_up_for() -> None:
    bare = {name: row(1)[name] for name in ("id", "product_id", "updated_at", "checksum", "size")}
    photo = photo_of(bare)
    assert (photo.product_sku, photo.version, photo.is_primary, photo.sort_order) == ("", 1, False, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "12"}, "id: "),
        ({"product_id": None}, "product_id: "),
        ({"updated_at": "yesterday"}, "updated_at: not a time"),
        ({"updated_at": "0001-01-01T00:00:00+14:00"}, "updated_at: not a time"),
        ({"updated_at": None}, "updated_at: not a text"),
        ({"checksum": "abc"}, "checksum: not an MD5 checksum"),
        ({"size": -1}, "size: "),
        ({"size": "12"}, "size: not a whole number"),
        ({"sort_order": 2**31}, "sort_order: "),
        ({"object_key": "k" * 501}, "object_key: longer than 500 characters"),
        ({"is_primary": "yes"}, "is_primary: neither true nor false"),
        ({"size": "x", "version": "y"}, r"\(and 1 more\)"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(f"{k}={str(v)[:9]}" for k, v in value.items()),
)
def test_a_row_that_cannot_be_used_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    refused = photo_from_json(row(1, **changes))
    assert isinstance(refused, IllegibleRow)
    assert re.search(reason, refused.reason)
    assert refused.photo_id == (None if "id" in changes else uid(1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filename", "f" * 256),
        ("filename", 7),
        ("content_type", ["image/jpeg"]),
        ("product_name", 5.5),
        ("product_name", "n" * 501),
        ("product_sku", "s" * 9000),
        ("image_url", {}),
        ("image_url", "https://ho.example/" + "x" * 4000),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_detail_that_cannot_be_read_costs_no_photo_and_is_told(field: str, value: object) -> None:
    told: list[tuple[str, str]] = []
    photo = photo_from_json(row(1, **{field: value}), told=lambda photo, what: told.append((photo, what)))
    assert photo == photo_of(row(1))._replace(**{field: ""})
    assert [(photo, what.split()[0]) for photo, what in told] == [(f"photo {uid(1)}", field)]


def test_a_row_over_which_a_library_stumbles_is_refused_with_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "read_details", Mock(side_effect=KeyError("gave up")))
    assert photo_from_json(row(1)) == IllegibleRow(uid(1), "KeyError: 'gave up'")


def test_an_object_key_is_taken_as_it_is_blanks_included() -> None:
    photo = photo_from_json(row(1, object_key=" a/b.jpg ", filename=" b.jpg "))
    assert isinstance(photo, Photo)
    assert (photo.object_key, photo.filename) == (" a/b.jpg ", "b.jpg")


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"id": 5}], ids=repr)
def test_a_row_that_is_no_object_is_refused(raw: object) -> None:
    refused = photo_from_json(raw)
    assert isinstance(refused, IllegibleRow)
    assert refused.photo_id is None


def test_ids_and_checksums_are_canonical() -> None:
    plain = row(0xABCDEF)
    shouting = plain | {name: plain[name].upper() for name in ("id", "product_id", "checksum")}
    assert photo_of(shouting) == photo_of(plain)


def test_texts_are_what_postgresql_can_keep() -> None:
    photo = photo_of(row(1, product_name="a\0b\ud800", filename=" x.jpg "))
    assert (photo.product_name, photo.filename) == ("ab?", "x.jpg")


KEPT = {
    "product_id": uid(9),
    "object_key": "products/other.webp",
    "filename": "other.jpg",
    "size": 99,
    "content_type": "image/webp",
    "checksum": "0" * 32,
    "version": 2,
    "is_primary": False,
    "sort_order": 1,
    "updated_at": "2026-02-04T10:00:00Z",
}


@pytest.mark.parametrize("field", KEPT)
def test_the_fingerprint_follows_what_the_edge_keeps(field: str) -> None:
    assert fingerprint(photo_of(row(1, **{field: KEPT[field]}))) != fingerprint(photo_of(row(1)))


@pytest.mark.parametrize("field", ["product_sku", "product_name", "image_url"])
def test_the_fingerprint_does_not_follow_what_is_for_people(field: str) -> None:
    assert fingerprint(photo_of(row(1, **{field: "another"}))) == fingerprint(photo_of(row(1)))


def test_the_same_moment_in_another_zone_has_the_same_fingerprint() -> None:
    photo = photo_of(row(1))
    elsewhere = photo._replace(updated_at=photo.updated_at.astimezone(timezone(timedelta(hours=7))))
    assert fingerprint(elsewhere) == fingerprint(photo)


@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    moment=st.datetimes(datetime(1970, 1, 2), timezones=st.just(UTC)),
    size=st.integers(0, 2**31 - 1),
)
def test_a_photo_survives_the_mirror(name: str, moment: datetime, size: int) -> None:
    photo = photo_of(row(1, product_name=name, updated_at=moment.isoformat(), size=size))
    back = Photo.from_payload(orjson.loads(orjson.dumps(photo._asdict())))
    assert back == photo
    assert fingerprint(back) == fingerprint(photo)
