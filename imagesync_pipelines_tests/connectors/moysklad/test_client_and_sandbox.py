"""The client against the stand-in: a whole account read, matched, filled; limits kept in every kind of window."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount, MoyskladChild, TokenKind
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.client.calls import session_policy
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountStoppedError,
    EntityGoneError,
    ImageTooLargeError,
    NotAnImageError,
    RowsMissingError,
)
from imagesync_pipelines.connectors.moysklad.mapping import find_counterparts
from imagesync_pipelines.connectors.moysklad.model import EntityType, KeptImage, NewImage
from imagesync_pipelines.connectors.moysklad.reading import entities_of, read_entities, read_main
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg, noisy, png
from imagesync_pipelines.sandbox.moysklad.model import (
    BadElementNamed,
    FreeTariff,
    ListForm,
    MoyskladSwitches,
    UnitsWindow,
)
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines.sandbox.server import KEPT_SECONDS
from imagesync_pipelines.upstream.errors import NotJsonError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.connectors.moysklad.worlds import run_of

NOON = datetime(2026, 10, 5, 9, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)


@contextmanager
def _box(**changes: object) -> Iterator[MoyskladSandbox]:
    accounts = catalogue(products=8, images=2, variants=3, bundles=2, children=1, side=24, permanent_links=True)
    switches = MoyskladSwitches(**changes)  # type: ignore[arg-type]
    with moysklad_sandbox(accounts=accounts, clock=SandboxClock(NOON), switches=switches) as box:
        yield box


@contextmanager
def _api(
    box: MoyskladSandbox, name: str, engine: sa.Engine, *, permanent_links: bool = False, **settings: object
) -> Iterator[MoyskladApi]:
    handle = box.account(name)
    account = MoyskladAccount.model_construct(
        name=name,
        url=box.api_url,
        token=SecretStr(handle.token),
        token_kind=TokenKind(handle.principal.kind.value),
        permanent_links=permanent_links,
    )
    timing = Timing(
        lambda: box.clock.now().timestamp(), box.clock.move, lambda: 0.5, lambda: box.clock.now().timestamp()
    )
    hosts = frozenset({"127.0.0.1"})
    chosen = MoyskladSettings(**settings)  # type: ignore[arg-type]
    with closing(MoyskladApi(account, chosen, engine, allowed_hosts=hosts, timing=timing)) as api:
        yield api


def _files(box: MoyskladSandbox, account: str, entity_id: str) -> list[tuple[str, bytes]]:
    return [(name, content) for name, content, _ in box.account(account).images(entity_id)]


def test_the_stand_in_closes_no_connection_that_the_client_may_still_use() -> None:
    assert session_policy(MoyskladAccount.model_construct(name="main"), MoyskladSettings()).most_idle < KEPT_SECONDS


@pytest.mark.parametrize("permanent", [True, False], ids=["permanent links", "two steps"])
def test_an_account_is_read_matched_and_written_with_the_fewest_calls(database: sa.Engine, permanent: bool) -> None:
    child = MoyskladChild.model_construct(account=MoyskladAccount.model_construct(name="child-1"))
    with (
        _box() as box,
        _api(box, "main", database, permanent_links=permanent) as main,
        _api(box, "child-1", database) as north,
    ):
        reading = read_main(database, main, full=True, overlap=TEN_MINUTES, repeats=2)
        assert (reading.complete, reading.calls, reading.images) == (True, 1, 26)
        keys = [f"{entity.type.value}:{entity.id}" for entity in box.account("main").entities()]
        with database.connect() as connection:
            entities = entities_of(connection, keys)
        assert len(entities) == 13
        mapped = find_counterparts(run_of(database, child), north, entities)
        assert (len(mapped.ids), mapped.unmatched, north.calls) == (13, [], 3)
        for entity in entities:
            parts = [NewImage(row.filename, main.download(row)) for row in entity.images or ()]
            written = north.set_images(entity.type, mapped.ids[entity.key], parts)
            assert [row.filename for row in written] == [part.filename for part in parts]
        assert (main.calls, north.calls) == (1 if permanent else 27, 16)
        for entity in entities:
            assert _files(box, "child-1", mapped.ids[entity.key]) == _files(box, "main", entity.id)
        assert box.storage_ledger.as_json() == {} if permanent else box.cdn_ledger.as_json() == {}
        assert not any("429" in str(statuses) for statuses in box.ledger.as_json().values())


def test_only_what_changed_is_read_again_and_what_was_deleted_is_found(database: sa.Engine) -> None:
    with _box() as box, _api(box, "main", database) as main:
        handle = box.account("main")
        read_main(database, main, full=True, overlap=timedelta(), repeats=2)
        box.clock.move(3600)
        first, second, third, *_ = handle.entities()
        handle.set_images(first.id, [("новое имя.png", png("other", 24))])
        handle.change(second.id, archived=True)
        # Its variant goes with it.
        handle.delete(third.id)
        delta = read_main(database, main, full=False, overlap=TEN_MINUTES, repeats=2)
        assert (delta.changed, delta.deleted, delta.calls) == (1, 0, 1)
        full = read_main(database, main, full=True, overlap=TEN_MINUTES, repeats=2)
        assert full.complete
        assert (full.changed, full.deleted, full.archived, full.calls) == (0, 2, 1, 2)
        again = read_entities(database, main, [f"product:{third.id}", f"product:{first.id}"])
        assert (again.changed, again.deleted, again.calls) == (0, 0, 1)


def test_a_change_of_images_that_touches_no_time_is_found_by_the_full_reading(database: sa.Engine) -> None:
    with _box(image_write_bumps_updated=False) as box, _api(box, "main", database) as main:
        handle = box.account("main")
        box.clock.move(3600)
        handle.change(handle.entities()[1].id, name="Новое имя")
        read_main(database, main, full=True, overlap=TEN_MINUTES, repeats=2)
        handle.set_images(handle.entities()[0].id, [])
        assert read_main(database, main, full=False, overlap=TEN_MINUTES, repeats=2).changed == 0
        assert read_main(database, main, full=True, overlap=TEN_MINUTES, repeats=2).changed == 1


@pytest.mark.parametrize(
    "fault",
    [faults.truncated(), faults.server_error(502), faults.reset(), faults.answer(200, b'{"rows": [{"id')],
    ids=["cut off", "502", "reset", "cut JSON"],
)
def test_a_reading_survives_what_passes(database: sa.Engine, fault: faults.WireFault) -> None:
    with _box() as box, _api(box, "main", database) as main:
        box.faults.add(fault.at("main assortment"))
        reading = read_main(database, main, full=True, overlap=TEN_MINUTES, repeats=0)
        assert (reading.complete, reading.new, reading.calls) == (True, 13, 2)


def test_a_page_of_html_in_place_of_a_list_ends_the_reading_with_nothing_changed(database: sa.Engine) -> None:
    with _box() as box, _api(box, "main", database) as main:
        read_main(database, main, full=True, overlap=TEN_MINUTES, repeats=0)
        box.faults.add(faults.html_page().at("main assortment"))
        with pytest.raises(NotJsonError):
            read_main(database, main, full=True, overlap=TEN_MINUTES, repeats=0)
        with database.connect() as connection:
            keys = [f"{entity.type.value}:{entity.id}" for entity in box.account("main").entities()]
            assert len(entities_of(connection, keys)) == 13


def test_a_list_is_kept_reordered_grown_and_cleared(database: sa.Engine) -> None:
    with _box() as box, _api(box, "main", database) as api:
        product = box.account("main").entities()[0].id
        one, two = (image_id for _, _, image_id in box.account("main").images(product))
        same = NewImage("одно и то же.png", png("same", 24))
        written = api.set_images("product", product, [KeptImage(two), same, KeptImage(one), same])
        assert [row.id for row in written][::2] == [two, one]
        assert written[1].id == written[3].id
        assert [name for name, _ in _files(box, "main", product)] == [row.filename for row in written]
        assert api.set_images("product", product, []) == ()
        assert _files(box, "main", product) == []


@pytest.mark.parametrize("named", get_args(BadElementNamed))
def test_one_bad_image_leaves_the_list_as_it_was_and_is_found_where_the_answer_tells(
    database: sa.Engine, named: BadElementNamed
) -> None:
    with _box(bad_element_named=named) as box, _api(box, "main", database) as api:
        product = box.account("main").entities()[0].id
        before = _files(box, "main", product)
        parts = [NewImage("хорошая.png", png("good", 24)), NewImage("плохая.png", b"<Error/>")]
        with pytest.raises(NotAnImageError) as bad:
            api.set_images("product", product, parts)
        assert bad.value.element == (None if named == "not" else 1)
        with pytest.raises(ImageTooLargeError) as large:
            api.set_images("product", product, [NewImage("большая.png", noisy("x", 3_000_001))])
        assert large.value.limit_bytes == 3_000_000
        assert _files(box, "main", product) == before
        with pytest.raises(EntityGoneError):
            api.set_images("product", box.account("child-1").entities()[0].id, parts[:1])


def test_a_bulk_write_sets_many_lists_and_tells_of_each(database: sa.Engine) -> None:
    with _box() as box, _api(box, "child-1", database) as api:
        products = [entity.id for entity in box.account("child-1").entities() if entity.type == "product"]
        lists = {product: [NewImage("a.jpg", jpeg(product, 24))] for product in products}
        lists[products[1]] = [NewImage("b.jpg", b"no image")]
        done = api.set_images_bulk("product", lists)
        assert isinstance(done[products[1]], NotAnImageError)
        assert [len(rows) for product, rows in done.items() if isinstance(rows, tuple)] == [1] * 7
        assert api.calls == 1


@pytest.mark.parametrize("first", ["array", "batch"])
@pytest.mark.parametrize("taken", ["array", "batch"])
def test_lists_are_sent_in_the_form_that_the_account_knows_after_one_refusal_at_most(
    database: sa.Engine, first: str, taken: ListForm
) -> None:
    with _box(images_form=taken, bulk_form=taken) as box, _api(box, "child-1", database, list_form=first) as api:
        one, other = (entity.id for entity in box.account("child-1").entities()[:2])
        for name in ("a.jpg", "b.jpg"):
            api.set_images("product", one, [NewImage(name, jpeg("a"))])
            api.set_images_bulk("product", {other: [NewImage(name, jpeg("b"))]})
        assert [_files(box, "child-1", entity)[0][0] for entity in (one, other)] == ["b.jpg", "b.jpg"]
        refused = 0 if taken == first else 1
        doors = {"array": "images post", "batch": "images batch"}
        assert [box.calls("child-1", doors[form]) for form in (taken, *(set(doors) - {taken}))] == [2, refused]
        assert box.calls("child-1", "bulk") == 2 + refused


def test_an_answer_that_was_lost_is_told_and_writing_again_gives_the_same_list(database: sa.Engine) -> None:
    with _box() as box, _api(box, "child-1", database) as api:
        product = box.account("child-1").entities()[0].id
        parts = [NewImage("a.jpg", jpeg("a", 24)), NewImage("a.jpg", jpeg("a", 24))]
        box.lost.lose("child-1 images post")
        with pytest.raises(AnswerLostError):
            api.set_images("product", product, parts)
        assert len(_files(box, "child-1", product)) == 2
        api.set_images("product", product, parts)
        assert len(_files(box, "child-1", product)) == 2


@pytest.mark.parametrize("tariff", get_args(FreeTariff))
def test_a_tariff_without_permanent_links_is_understood_or_said(database: sa.Engine, tariff: FreeTariff) -> None:
    with _box(free_tariff=tariff) as box, _api(box, "child-1", database, permanent_links=True) as api:
        if tariff == "absent":
            assert sum(len(page.entities) for page in api.assortment()) == 13
        else:
            with pytest.raises(AccountStoppedError, match="tariff"):
                list(api.assortment())


@pytest.mark.parametrize("window", get_args(UnitsWindow))
@pytest.mark.parametrize("kind", ["user", "solution"])
def test_no_call_is_ever_refused_and_the_limit_is_used(database: sa.Engine, window: UnitsWindow, kind: str) -> None:
    with _box(window=window) as box:
        principal = box.account("main").add_principal(kind, PrincipalKind(kind))
        account = MoyskladAccount.model_construct(
            name="main", url=box.api_url, token=SecretStr(principal.token), token_kind=TokenKind(kind)
        )
        clock = box.clock
        timing = Timing(lambda: clock.now().timestamp(), clock.move, lambda: 0.5, lambda: clock.now().timestamp())
        with closing(MoyskladApi(account, MoyskladSettings(), database, timing=timing)) as api:
            began = clock.now()
            for _ in range(46 if kind == "user" else 136):
                api.find("product", "code", ["1"])
            seconds = (clock.now() - began).total_seconds()
            assert api.calls == (46 if kind == "user" else 136)
        assert seconds <= 9 * 1.1
        assert {status for statuses in box.ledger.as_json().values() for status in statuses} == {"200"}


def test_workers_together_use_the_limit_and_no_more(database: sa.Engine) -> None:
    with _box() as box, _api(box, "main", database) as api:
        (page,) = api.assortment()
        rows = [row for entity in page.entities if entity.type == "product" for row in entity.images or ()] * 4
        began = box.clock.now()
        with ThreadPoolExecutor(5) as pool:
            assert [len(body) for body in pool.map(api.download, rows)] == [row.size for row in rows]
        seconds = (box.clock.now() - began).total_seconds()
        assert len(rows) == 64
        assert seconds <= 64 * 3 / 45 * 3 * 1.1
        assert {status for statuses in box.ledger.as_json().values() for status in statuses} == {"200", "302"}


def test_workers_together_never_never_have_more_in_flight_than_they_may(database: sa.Engine) -> None:
    with _box(seconds_per_call=0.01) as box, _api(box, "main", database) as one, _api(box, "main", database) as other:
        kinds: list[EntityType] = ["product", "bundle"] * 12
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda n: (one, other)[n % 2].find(kinds[n], "code", ["1"]), range(24)))
        assert {status for statuses in box.ledger.as_json().values() for status in statuses} == {"200"}


def test_others_who_use_the_token_are_seen_in_the_headers(database: sa.Engine) -> None:
    with _box() as box, _api(box, "main", database) as api, _api(box, "main", database) as stranger:
        # Another installation: its calls are in another database, so the same budget knows nothing of them.
        for _ in range(13):
            list(stranger.assortment())
        with database.begin() as connection:
            connection.execute(sa.text("DELETE FROM imagesync.rate_budget"))
        for _ in range(10):
            api.find("product", "code", ["1"])
        assert {status for statuses in box.ledger.as_json().values() for status in statuses} == {"200"}


def test_an_expansion_that_is_ignored_is_noticed(database: sa.Engine) -> None:
    with _box() as box, _api(box, "main", database) as api:
        read_main(database, api, full=True, overlap=TEN_MINUTES, repeats=0)
        plain = api.assortment

        class Unexpanded:
            calls = 0

            def assortment(self, **asked: object):  # type: ignore[no-untyped-def]
                for page in plain(**asked):  # type: ignore[arg-type]
                    yield replace(page, entities=tuple(replace(one, images=None) for one in page.entities))

        with pytest.raises(RowsMissingError):
            read_main(database, Unexpanded(), full=True, overlap=TEN_MINUTES, repeats=0)  # type: ignore[arg-type]


def test_a_link_that_expired_is_asked_for_again(database: sa.Engine) -> None:
    with _box() as box, _api(box, "main", database) as api:
        (page,) = api.assortment()
        row = (page.entities[0].images or ())[0]
        box.faults.add(faults.answer(403, b"<Error><Code>AccessDenied</Code></Error>").at("storage"))
        assert len(api.download(row)) == row.size
        assert box.calls("main", "download") == 2
