"""Events of webhooks become requests for every child that is on; what asks for nothing is counted with the reason."""

import json
from dataclasses import replace
from typing import Any

import pytest

from imagesync_pipelines.connectors.moysklad.incoming import read_events
from imagesync_pipelines.errors import BadBodyError
from imagesync_pipelines_tests.connectors.moysklad.names import ENTITY, MAIN_ID, NAMES, NORTH_ID

OTHER = "8b382799-f7d2-11e5-8a84-bae5000003a5"


def event(
    kind: str = "product", entity: str = ENTITY, action: str = "UPDATE", account: str = MAIN_ID
) -> dict[str, Any]:
    return {
        "meta": {"type": kind, "href": f"https://api.example/api/remap/1.2/entity/{kind}/{entity}"},
        "action": action,
        "accountId": account,
    }


def body(*events: dict[str, Any]) -> bytes:
    context = {"meta": {"type": "audit"}, "moment": "2026-11-21 12:00:00.000", "uid": "admin@main"}
    return json.dumps({"auditContext": context, "events": events}).encode()


def test_an_event_asks_for_its_entity_in_every_child_that_is_on() -> None:
    read = read_events(body(event(), event("variant", OTHER, "CREATE")), "call-1", NAMES)
    assert [(request.child, request.entity_type, request.entity_id) for request in read.requests] == [
        ("north", "product", ENTITY),
        ("south", "product", ENTITY),
        ("north", "variant", OTHER),
        ("south", "variant", OTHER),
    ]
    assert len({request.once for request in read.requests}) == 4
    assert read.ignored == {}


def test_the_same_call_asks_for_the_same_and_another_call_for_something_new() -> None:
    first, again, other = (read_events(body(event()), call, NAMES).requests for call in ("call-1", "call-1", "call-2"))
    assert first == again
    assert {request.once for request in first}.isdisjoint(request.once for request in other)
    for nobodys in ("", "x" * 9000):
        assert [request.once for request in read_events(body(event()), nobodys, NAMES).requests] == ["", ""]


def test_a_link_with_a_query_is_the_same_link() -> None:
    longer = event()
    longer["meta"]["href"] += "?expand=images&limit=100"
    read = read_events(body(event(), longer), "call-1", NAMES)
    assert [request.entity_id for request in read.requests] == [ENTITY, ENTITY], "one for each child that is on"
    assert read.ignored == {}


def test_an_entity_is_asked_for_once_per_call() -> None:
    assert len(read_events(body(event(action="CREATE"), event(), event()), "call-1", NAMES).requests) == 2


@pytest.mark.parametrize(
    ("ignored", "why"),
    [
        pytest.param(event(account=NORTH_ID), "another account's", id="a child's event"),
        pytest.param(event("service"), "a type of entity", id="a service has no images"),
        pytest.param(event("customerorder"), "a type of entity", id="no entity of ours"),
        pytest.param(
            event(action="DELETE"), "neither CREATE nor UPDATE", id="a deletion is found by the daily reading"
        ),
        pytest.param(event(entity="export"), "a link without an id", id="no id"),
        pytest.param(
            {"meta": {"type": "async", "href": "https://x/async/1"}, "action": "PROCESSED", "accountId": None},
            "another shape (accountId: Input should be a valid string)",
            id="an account that is null",
        ),
        pytest.param({"action": "UPDATE", "accountId": MAIN_ID}, "another shape (meta is missing)", id="no entity"),
        pytest.param(
            event() | {"meta": {"type": 1, "href": "x"}},
            "another shape (meta.type: Input should",
            id="a type that is none",
        ),
        pytest.param(
            event() | {"meta": {"type": "x" * 9000, "href": "x"}},
            "another shape (meta.type: String should have at most",
            id="a type that no table takes",
        ),
        pytest.param("event", "another shape (it is no object with fields)", id="a text"),
    ],
)
def test_an_event_that_asks_for_nothing_is_counted_and_the_others_go_on(ignored: dict[str, Any], why: str) -> None:
    read = read_events(body(ignored, event(entity=OTHER), ignored), "call-1", NAMES)
    assert {request.entity_id for request in read.requests} == {OTHER}
    ((reason, number),) = read.ignored.items()
    assert reason.startswith(why)
    assert number == 2


def test_with_every_child_off_nothing_is_asked_for() -> None:
    read = read_events(body(event()), "call-1", replace(NAMES, active=()))
    assert read.requests == ()
    assert read.ignored == {"no child account whose image sync is on": 1}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "no call of a"),
        (b"hello", "no call of a"),
        (b"[]", "body: Input should be"),
        (b"{}", "events: Field required"),
        (b'{"events":7}', "events: Input should be a valid array"),
    ],
    ids=["nothing", "no JSON", "a list", "no events", "no list"],
)
def test_what_is_no_call_is_refused_with_the_place(sent: bytes, said: str) -> None:
    with pytest.raises(BadBodyError, match=said):
        read_events(sent, "call-1", NAMES)
