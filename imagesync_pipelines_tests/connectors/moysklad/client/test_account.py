"""The client asks as the contract says, repeats only what is safe, never leaks credentials, and stops before a ban."""

import gzip
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.client.calls import MOST_EQUAL_FAILURES, MOST_REFUSALS
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountRefusedError,
    AccountStoppedError,
    ChangedMeanwhileError,
    EntityGoneError,
    ImagesRefusedError,
    ImageTooLargeError,
    NotAnImageError,
    StorageFullError,
    TooLargeError,
)
from imagesync_pipelines.connectors.moysklad.model import KeptImage, NewImage
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.upstream.errors import AlteredBodyError, BadAnswerError, MalformedJsonError, UnavailableError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.connectors.moysklad.rows import entity_json, error_json, image, image_json, list_json
from imagesync_pipelines_tests.upstream.servers import (
    FakeTime,
    Request,
    Script,
    Served,
    http,
    in_turn,
    json_answer,
    serve,
)

TOKEN = "0123456789abcdef0123456789abcdef01234567"
START = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
ONE_NEW = [NewImage("a.png", b"bytes")]
NO_ANSWER = b""


@contextmanager
def _api(
    script: Script,
    database: sa.Engine,
    fake: FakeTime | None = None,
    *,
    permanent_links: bool = False,
    **settings: object,
) -> Iterator[tuple[MoyskladApi, Served, FakeTime]]:
    fake = fake or FakeTime(START)
    timing = Timing(fake.clock, fake.sleep, lambda: 0.5, fake.clock)
    with serve(script) as served:
        url = f"{served.url}/api/remap/1.2"
        account = MoyskladAccount.model_construct(
            name="main", url=url, token=SecretStr(TOKEN), permanent_links=permanent_links
        )
        chosen = MoyskladSettings(**settings)  # type: ignore[arg-type]
        with closing(
            MoyskladApi(account, chosen, database, allowed_hosts=frozenset({"127.0.0.1"}), timing=timing)
        ) as api:
            yield api, served, fake


def _query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}


def test_the_assortment_is_asked_for_as_the_contract_says(database: sa.Engine) -> None:
    pages = in_turn(
        json_answer(list_json([entity_json("p1", images=[])] * 100, 101)),
        json_answer(list_json([entity_json("p2")], 101)),
    )
    with _api(pages, database, permanent_links=True) as (api, served, _):
        since = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
        found = list(api.assortment(updated_since=since))
    assert [(len(page.entities), page.offset, page.size) for page in found] == [(100, 0, 101), (1, 100, 101)]
    first = served.requests[0]
    assert _query(first) == {
        "filter": "type=product;type=bundle;type=variant;updated>=2026-11-21 00:00:00",
        "expand": "images", "limit": "100", "offset": "0", "fields": "downloadPermanentHref",
    }  # fmt: skip
    assert first.headers["x-lognex-remap-beta-feature"] == "assortmentWithoutStock"
    assert first.headers["accept"] == "application/json;charset=utf-8"
    assert "gzip" in first.headers["accept-encoding"]
    assert "content-type" not in first.headers
    assert first.headers["authorization"] == f"Bearer {TOKEN}"
    assert (api.calls, api.limiter.units, api.limiter.weight()) == (2, 6, 3)


def test_ids_are_asked_for_by_the_hundred(database: sa.Engine) -> None:
    with _api(in_turn(json_answer(list_json([]))), database) as (api, served, _):
        list(api.assortment(ids=[f"id-{number}" for number in range(150)]))
    assert [_query(request)["filter"].count(";id=") for request in served.requests] == [100, 50]


def test_only_the_very_value_is_a_match(database: sa.Engine) -> None:
    rows = [
        entity_json("p1", externalCode="Ab;c"),
        entity_json("p2", externalCode="ab;c"),
        entity_json("p3", externalCode="Ab;c"),
    ]
    with _api(in_turn(json_answer(list_json(rows))), database) as (api, served, _):
        found = api.find("product", "externalCode", ["Ab;c", "Ab;c"])
    assert [entity.id for entity in found] == ["p1", "p3"]
    assert _query(served.requests[0])["filter"] == r"externalCode=Ab\;c"
    assert urlsplit(served.requests[0].target).path == "/api/remap/1.2/entity/product"


def test_a_list_is_set_in_one_call_that_suppresses_its_own_echo(database: sa.Engine) -> None:
    answer = json_answer([image_json("i1"), image_json("i9", filename="a.png")])
    with _api(in_turn(answer), database, webhook_prefix="https://ours.example/") as (api, served, _):
        written = api.set_images("variant", "v1", [KeptImage("i1"), *ONE_NEW])
    (request,) = served.requests
    assert [row.id for row in written] == ["i1", "i9"]
    assert (request.method, request.target) == ("POST", "/api/remap/1.2/entity/variant/v1/images")
    assert request.headers["x-lognex-webhook-disablebyprefix"] == "https://ours.example/"
    assert request.headers["content-type"] == "application/json"
    assert len(orjson.loads(request.body)) == 2


def test_clearing_goes_through_the_entity_where_an_empty_list_is_documented(database: sa.Engine) -> None:
    with _api(in_turn(json_answer(entity_json("p1", images=[]))), database) as (api, served, _):
        assert api.set_images("product", "p1", []) == ()
    (request,) = served.requests
    assert (request.method, orjson.loads(request.body)) == ("PUT", {"images": []})


@pytest.mark.parametrize(
    ("answer", "kind", "calls"),
    [
        (NO_ANSWER, AnswerLostError, 1),
        (http(502, b"<html>Bad gateway</html>"), AnswerLostError, 1),
        (http(504, b""), AnswerLostError, 1),
        (json_answer(error_json(1083), 500), AnswerLostError, 1),
        (http(200, b""), AnswerLostError, 1),
        (json_answer([{"size": 1}]), AnswerLostError, 1),
        (json_answer([]), AnswerLostError, 1),
        (json_answer({}), AnswerLostError, 1),
        (json_answer(error_json(51002)), AnswerLostError, 1),
        (json_answer(error_json(51007), 503), UnavailableError, 4),
        (json_answer(error_json(51002), 412), NotAnImageError, 1),
        (json_answer(error_json(51004, "больше 3 МБ"), 413), ImageTooLargeError, 1),
        (json_answer([error_json(51002)], 400), NotAnImageError, 1),
        (json_answer(error_json(1065), 412), ChangedMeanwhileError, 1),
        (json_answer(error_json(1021), 404), EntityGoneError, 1),
        (http(413, b"<html>too large</html>"), TooLargeError, 1),
        (http(415, b""), ImagesRefusedError, 1),
    ],
    ids=[
        "dropped", "502 HTML", "504", "server failure", "200 empty", "200 illegible", "200 and no image",
        "200 and nothing", "200 and an error", "file storage away", "no image", "too large",
        "refused as a list", "changed meanwhile", "gone", "413 HTML", "415 empty",
    ],
)  # fmt: skip
def test_a_write_is_repeated_only_when_it_surely_was_not_carried_out(
    database: sa.Engine, answer: bytes, kind: type[Exception], calls: int
) -> None:
    with _api(in_turn(answer), database) as (api, served, _):
        with pytest.raises(kind):
            api.set_images("product", "p1", ONE_NEW)
        assert len(served.requests) == calls


def test_a_read_is_repeated_after_what_is_transient(database: sa.Engine) -> None:
    good = json_answer(list_json([entity_json("p1")]))
    with _api(in_turn(NO_ANSWER, http(502, b"<html>"), good), database) as (api, served, fake):
        assert len(list(api.assortment())) == 1
    assert len(served.requests) == 3
    assert all(pause > 0 for pause in fake.sleeps)


def test_a_bulk_write_tells_per_entity_what_became_of_it_under_any_status(database: sa.Engine) -> None:
    elements = [entity_json("p1", images=[image_json("i1")]), error_json(51002), entity_json("p3", images=[])]
    with _api(in_turn(json_answer(elements, 400)), database) as (api, served, _):
        done = api.set_images_bulk("product", {"p1": ONE_NEW, "p2": ONE_NEW, "p3": []})
    assert [type(result) for result in done.values()] == [tuple, NotAnImageError, tuple]
    assert urlsplit(served.requests[0].target).path == "/api/remap/1.2/entity/product"
    assert _query(served.requests[0])["expand"] == "images"


def test_a_bulk_answer_about_another_entity_is_not_taken_for_this_one(database: sa.Engine) -> None:
    other = entity_json("p2", images=[image_json("i2")])
    listed = list_json([entity_json("p1", images=[image_json("i1")])])
    with _api(in_turn(json_answer([other]), json_answer(listed)), database) as (api, _, _):
        assert [row.id for row in api.set_images_bulk("product", {"p1": ONE_NEW})["p1"]] == ["i1"]  # type: ignore[union-attr]


def test_a_bulk_answer_without_rows_is_read_afterwards_and_never_taken_for_empty(database: sa.Engine) -> None:
    written = entity_json("p1")
    written["images"]["meta"]["size"] = 1
    listed = list_json([entity_json("p1", images=[image_json("i1")])])
    with _api(in_turn(json_answer([written]), json_answer(listed)), database) as (api, _, _):
        assert [row.id for row in api.set_images_bulk("product", {"p1": ONE_NEW})["p1"]] == ["i1"]  # type: ignore[union-attr]


def test_a_body_of_20_mb_is_not_sent(database: sa.Engine) -> None:
    with _api(in_turn(NO_ANSWER), database) as (api, served, _):
        with pytest.raises(TooLargeError):
            api.set_images("product", "p1", [NewImage("a.png", b"x" * 15_000_000)])
        assert served.requests == []


@pytest.mark.parametrize(
    ("stored", "expected", "links"),
    [
        ([http(200, b"pic", {"Content-Type": "image/png"})], b"pic", 1),
        ([http(403, b"<Error/>"), http(200, b"pic")], b"pic", 2),
        ([http(403, b"<Error/>")], BadAnswerError, 2),
        ([http(200, b"<Error>InvalidArgument</Error>")], AlteredBodyError, 1),
        ([http(200, b"pi", {"Content-Length": "3"}), http(200, b"pic")], b"pic", 1),
    ],
    ids=["at once", "an expired link", "links that stay expired", "XML in place of it", "cut, then whole"],
)
def test_bytes_come_from_a_storage_host_that_gets_no_credentials(
    database: sa.Engine, stored: list[bytes], expected: bytes | type[Exception], links: int
) -> None:
    asked: list[Request] = []

    def store(request: Request, number: int) -> list[bytes]:
        asked.append(request)
        return [stored[min(number, len(stored)) - 1]]

    with serve(store) as storage:
        redirect = http(302, b"", {"Location": f"{storage.url}/goodimage/1?temp_url_sig=s"})
        with _api(in_turn(redirect), database) as (api, served, _):
            row = image("i1", size=3)
            if isinstance(expected, bytes):
                assert api.download(row) == expected
            else:
                with pytest.raises(expected):
                    api.download(row)
            assert [request.target for request in served.requests] == ["/api/remap/1.2/download/i1"] * links
    assert all("authorization" not in request.headers for request in asked)


def test_a_permanent_link_costs_no_call_and_one_that_is_dead_is_gone_round(database: sa.Engine) -> None:
    with serve(in_turn(http(200, b"pic"), http(404, b""), http(200, b"pic"))) as cdn:
        redirect = http(302, b"", {"Location": f"{cdn.url}/signed"})
        with _api(in_turn(redirect), database) as (api, served, _):
            row = image("i1", size=3)
            linked = type(row)(**{**row.__dict__, "permanent_href": f"{cdn.url}/account/image/1"})
            assert api.download(linked) == b"pic"
            assert served.requests == []
            assert api.download(linked) == b"pic"
            assert len(served.requests) == 1


def test_full_storage_stops_the_writes_and_nothing_else(database: sa.Engine) -> None:
    answers = in_turn(json_answer(error_json(51003), 412), json_answer(list_json([])))
    with _api(answers, database) as (api, served, _):
        for _ in range(3):
            with pytest.raises(StorageFullError):
                api.set_images("product", "p1", ONE_NEW)
        assert len(served.requests) == 1
        assert len(list(api.assortment())) == 1


def test_too_many_failed_logins_are_no_matter_of_pace(database: sa.Engine) -> None:
    blocked = in_turn(json_answer(error_json(1048), 429))
    with _api(blocked, database) as (api, served, _), pytest.raises(AccountRefusedError):
        list(api.assortment())
    assert len(served.requests) == 1


def test_refused_credentials_are_tried_once_and_never_shown(database: sa.Engine) -> None:
    with _api(in_turn(json_answer(error_json(1056, f"bad {TOKEN}"), 401)), database) as (api, served, _):
        for _ in range(3):
            with pytest.raises(AccountRefusedError, match="check the token") as refused:
                list(api.assortment())
            assert TOKEN not in str(refused.value)
    assert len(served.requests) == 1


def test_a_pause_that_was_asked_for_is_kept_by_everybody(database: sa.Engine) -> None:
    refused = json_answer(error_json(1049), 429).replace(b"Connection", b"X-Lognex-Retry-After: 1500\r\nConnection")
    with _api(in_turn(refused, json_answer(list_json([]))), database) as (api, _, fake):
        list(api.assortment())
        assert 1.5 <= sum(fake.sleeps) < 1.6
        assert [state.left for state in api.limiter.left()] == [45 - 2 * 3]


def test_too_many_in_flight_names_no_pause_and_is_backed_off_from(database: sa.Engine) -> None:
    refused = json_answer(error_json(1073), 429)
    with _api(in_turn(refused, refused, json_answer(list_json([]))), database) as (api, _, fake):
        list(api.assortment())
    assert len(fake.sleeps) == 2
    assert fake.sleeps[1] > fake.sleeps[0] > 0


def test_the_account_is_stopped_long_before_a_ban(database: sa.Engine) -> None:
    refused = json_answer(error_json(1049), 429).replace(b"Connection", b"X-Lognex-Retry-After: 10\r\nConnection")
    with _api(in_turn(refused), database) as (api, served, _):
        for _ in range(2):
            with pytest.raises(AccountStoppedError, match="before МойСклад bans it"):
                list(api.assortment())
    assert len(served.requests) == MOST_REFUSALS


def test_the_same_failure_again_and_again_stops_the_account(database: sa.Engine) -> None:
    with _api(in_turn(json_answer(error_json(1021), 404)), database) as (api, served, _):
        for _ in range(MOST_EQUAL_FAILURES - 1):
            with pytest.raises(EntityGoneError):
                api.set_images("product", "p1", ONE_NEW)
        with pytest.raises(AccountStoppedError, match="the same request failed"):
            api.set_images("product", "p1", ONE_NEW)
        assert len(served.requests) == MOST_EQUAL_FAILURES


def test_a_body_may_be_compressed_and_a_cut_one_is_no_list(database: sa.Engine) -> None:
    packed = gzip.compress(orjson.dumps(list_json([entity_json("p1")])))
    with _api(in_turn(http(200, packed, {"Content-Encoding": "gzip"})), database) as (api, _, _):
        assert [page.size for page in api.assortment()] == [1]
    with (
        _api(in_turn(http(200, b'{"rows": [')), database) as (api, _, _),
        pytest.raises((BadAnswerError, MalformedJsonError)),
    ):
        list(api.assortment())
