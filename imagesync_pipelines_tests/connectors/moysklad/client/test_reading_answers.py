"""Answers become the connector's words: ids out of addresses, Moscow's time, rows that did not come, errors by code."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount, TokenKind
from imagesync_pipelines.connectors.moysklad.client import answers
from imagesync_pipelines.connectors.moysklad.client.answers import RowError, entity_of, moscow_time, page_of, refusal
from imagesync_pipelines.connectors.moysklad.client.calls import MoyskladDialect, units_left, weight_of
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountForbiddenError,
    AccountRefusedError,
    ChangedMeanwhileError,
    EntityGoneError,
    ImagesRefusedError,
    ImageTooLargeError,
    NotAnImageError,
    StorageFullError,
    TooLargeError,
)
from imagesync_pipelines.connectors.moysklad.model import ENTITY_JSON, UNKNOWN_SIZE, key_parts
from imagesync_pipelines.upstream.answers import Answer, Place
from imagesync_pipelines.upstream.errors import RateLimitedError, UnavailableError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest
from imagesync_pipelines_tests.connectors.moysklad.rows import entity_json, error_json, image_json

PLACE = Place("api.moysklad.ru", "/entity/product/p1/images")


def test_an_entity_is_read_with_the_ids_of_its_images_out_of_their_addresses() -> None:
    found = entity_of(entity_json("v1", kind="variant", images=[image_json("i1"), image_json("i1"), image_json("i2")]))
    assert (found.key, found.product_id, found.image_count) == ("variant:v1", "p1", 3)
    assert found.barcodes == ("4600000000017", "X1")
    assert [row.id for row in found.images or ()] == ["i1", "i1", "i2"]
    assert found.updated == datetime(2026, 11, 20, 13, 55, 24, 567000, UTC)
    assert ENTITY_JSON.validate_json(ENTITY_JSON.dump_json(found)) == found


def test_rows_that_did_not_come_are_not_an_empty_list() -> None:
    row = entity_json("p1")
    row["images"]["meta"]["size"] = 7
    found = entity_of(row)
    assert (found.image_count, found.images) == (7, None)
    del row["images"]
    assert (entity_of(row).image_count, entity_of(row).images) == (-1, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": ""}, "id is missing"),
        ({"meta": {"type": "service"}}, "neither product, bundle nor variant"),
        ({"images": {"meta": {"size": 1}, "rows": [{"size": 1}]}}, "meta is missing"),
    ],
    ids=["no id", "a service", "an image without address"],
)
def test_a_row_that_lacks_something_is_refused_with_the_fields_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        entity_of(entity_json("p1") | change)


@pytest.mark.parametrize("time", ["yesterday", None, 20261120, "2026-02-30 16:55:24"])
@pytest.mark.parametrize("size", ["big", None, True, -1, 1.5])
def test_a_time_or_a_size_that_cannot_be_read_is_told_and_costs_no_image(time: object, size: object) -> None:
    rows = [image_json("i1") | {"size": size}, image_json("i2")]
    page = page_of([entity_json("p1", images=rows, updated=time)], 0, 1)
    assert [[row.id for row in entity.images or ()] for entity in page.entities] == [["i1", "i2"]]
    assert [row.size for row in page.entities[0].images or ()] == [UNKNOWN_SIZE, 14052]
    assert page.entities[0].updated is None
    assert page.left_out == [("product:p1", f"updated {time!r}"), ("image птица.png", f"size {size!r}")]
    assert page.illegible == {}


def test_an_image_with_a_name_that_is_too_long_keeps_its_picture_and_its_extension() -> None:
    page = page_of([entity_json("p1", images=[image_json("i1") | {"filename": "n" * 300 + ".png"}])], 0, 1)
    assert [row.filename for row in page.entities[0].images or ()] == ["n" * 251 + ".png"]
    assert (page.left_out, page.illegible) == ([("image i1", "filename of 304 characters")], {})


def test_a_row_that_cannot_be_read_does_not_spoil_its_page() -> None:
    rows = [
        entity_json("p1"),
        entity_json("p2", images=[{"size": 1}]),
        {"meta": {"type": "product"}},
        entity_json("s", kind="service"),
    ]
    page = page_of(rows, 100, 300)
    assert [entity.key for entity in page.entities] == ["product:p1"]
    assert page.illegible == {"product:p2": "meta is missing or no object", "row 102": "id is missing or no text"}


def test_a_row_over_which_a_library_stumbles_is_told_and_the_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    real = answers.keepable

    def stumbling(text: str) -> str:
        if text == "stumble":
            raise KeyError("gave up")
        return real(text)

    monkeypatch.setattr(answers, "keepable", stumbling)
    page = page_of([entity_json("p1") | {"code": "stumble"}, entity_json("p2")], 0, 2)
    assert [entity.key for entity in page.entities] == ["product:p2"]
    assert page.illegible == {"product:p1": "KeyError: 'gave up'"}


@pytest.mark.parametrize("name", ["externalCode", "code", "article"])
def test_a_text_that_no_index_takes_sets_its_row_aside(name: str) -> None:
    page = page_of([entity_json("p1") | {name: "x" * 9000}, entity_json("p2")], 0, 2)
    assert [entity.key for entity in page.entities] == ["product:p2"]
    assert page.illegible == {"product:p1": f"{name} has 9000 characters; 255 fit"}


def test_texts_are_read_as_a_database_can_keep_them() -> None:
    row = entity_json("p1") | {"name": "n" * 9000, "code": "a\0\ud800b", "barcodes": [{"ean13": "1"}, {"x": "9" * 300}]}
    (entity,) = page_of([row], 0, 1).entities
    assert (entity.name, entity.code, entity.barcodes) == ("n" * 255, "a?b", ("1",))


def test_times_in_filters_are_moscows() -> None:
    assert moscow_time(datetime(2026, 11, 20, 23, 30, tzinfo=UTC)) == "2026-11-21 02:30:00"


@pytest.mark.parametrize("key", ["product", "product:", "service:1", ""])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is no entity"):
        key_parts(key)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (412, 51001, NotAnImageError),
        (412, 51005, NotAnImageError),
        (400, 51002, NotAnImageError),
        (412, 51003, StorageFullError),
        (413, 51004, ImageTooLargeError),
        (412, 51006, ImagesRefusedError),
        (503, 51007, UnavailableError),
        (413, 1044, TooLargeError),
        (413, None, TooLargeError),
        (504, 1088, TooLargeError),
        (429, 1049, RateLimitedError),
        (401, 1056, AccountRefusedError),
        (403, 1061, AccountRefusedError),
        (429, 1048, AccountRefusedError),
        (401, None, AccountRefusedError),
        (403, 1016, AccountForbiddenError),
        (403, None, AccountForbiddenError),
        (404, 1021, EntityGoneError),
        (404, None, UnavailableError),
        (410, None, UnavailableError),
        (412, 1065, ChangedMeanwhileError),
        (502, None, UnavailableError),
        (503, 1074, UnavailableError),
        (412, 3013, ImagesRefusedError),
        (415, None, ImagesRefusedError),
    ],
)
def test_a_refusal_is_named_by_its_code_and_without_one_by_its_status(
    status: int, code: int | None, kind: type[UpstreamError]
) -> None:
    data = None if code is None else error_json(code)
    assert type(refusal(PLACE, status, data, write=True)) is kind


def test_a_refused_question_is_not_a_refused_write() -> None:
    assert type(refusal(PLACE, 412, error_json(1035), write=False)) is UpstreamError


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Размер изображения больше 3 МБ", 3_000_000),
        ("Image is larger than 10 MB", 10_000_000),
        ("больше 2,5 Мб", 2_500_000),
        ("слишком большое", None),
    ],
)
def test_the_limit_that_the_server_names_is_read(text: str, limit: int | None) -> None:
    error = refusal(PLACE, 413, error_json(51004, text, parameter="[3].content", line=1, column=40), write=True)
    assert isinstance(error, ImageTooLargeError)
    assert (error.limit_bytes, error.element, error.column, error.code) == (limit, 3, 40, 51004)


@pytest.mark.parametrize(
    ("kind", "day", "weight"),
    [
        (TokenKind.SOLUTION, "2027-01-01", 1),
        (TokenKind.DRAFT_SOLUTION, "2026-04-12", 1),
        (TokenKind.DRAFT_SOLUTION, "2026-04-13", 4),
        (TokenKind.USER, "2026-05-11", 1),
        (TokenKind.USER, "2026-05-12", 2),
        (TokenKind.USER, "2026-08-31", 2),
        (TokenKind.USER, "2026-09-01", 3),
        (TokenKind.USER, "2026-12-01", 4),
    ],
)
def test_a_call_weighs_by_token_and_date_in_moscow(kind: TokenKind, day: str, weight: int) -> None:
    begin = datetime.fromisoformat(f"{day}T00:00:00+03:00")
    assert weight_of(kind, begin.timestamp()) == weight
    assert weight_of(kind, (begin + timedelta(hours=23, minutes=59)).timestamp()) == weight


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"x-ratelimit-remaining": "30", "X-RateLimit-Limit": "45"}, 30),
        ({"X-RateLimit-Remaining": "10", "X-RateLimit-Limit": "15"}, 30),
        ({"X-RateLimit-Remaining": "10"}, 10),
        ({"X-RateLimit-Remaining": "-1"}, None),
        ({"X-RateLimit-Remaining": "many"}, None),
        ({}, None),
    ],
    ids=["units", "calls", "no limit named", "negative", "no number", "nothing said"],
)
def test_what_is_left_is_read_in_units(headers: dict[str, str], left: int | None) -> None:
    assert units_left(headers, weight=3) == left


@pytest.mark.parametrize(("header", "pause"), [("x-lognex-retry-after", 1.5), ("X-Lognex-Reset", None)])
def test_a_pause_is_in_milliseconds_and_may_not_be_named(header: str, pause: float | None) -> None:
    refused = Answer(429, "https://api.moysklad.ru/entity/product", {header: "1500"}, b"")
    error = MoyskladDialect(MoyskladAccount.model_construct(name="main"), Timing()).judge(
        ApiRequest("GET", "entity/product"), refused
    )
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == pause
