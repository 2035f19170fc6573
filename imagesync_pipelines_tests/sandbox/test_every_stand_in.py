"""Proves what every stand-in has from the framework: switches over HTTP, lost answers, moments, operators by name."""

from dataclasses import dataclass

import pytest
import requests

from imagesync_pipelines.sandbox.control import ROOT
from imagesync_pipelines.sandbox.faults import Lost, Moments
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.image_db.server import image_db_sandbox
from imagesync_pipelines.sandbox.moysklad.server import moysklad_sandbox
from imagesync_pipelines.sandbox.mutation import MutationError, check, make, operators
from imagesync_pipelines.sandbox.plytix.server import plytix_sandbox

SECONDS = 10


def steer(url: str, values: object) -> requests.Response:
    return requests.post(f"{url}{ROOT}switches", json=values, timeout=SECONDS)


def test_switches_of_any_kind_are_set_over_http() -> None:
    with plytix_sandbox() as sandbox:
        answer = steer(sandbox.url, {"wait_named": "ttl", "in_most": 5, "groups_most": 3, "delete_delay": 2})
        assert (answer.status_code, answer.json()["wait_named"], answer.json()["groups_most"]) == (200, "ttl", 3)
        assert sandbox.switches.wait_named == "ttl"
        assert (sandbox.switches.in_most, sandbox.switches.delete_delay) == (5, 2.0)
    with moysklad_sandbox() as other:
        assert steer(other.url, {"images_form": "batch"}).status_code == 200
        assert other.switches.images_form == "batch"


@pytest.mark.parametrize(
    "values", [{"wait_named": "sometimes"}, {"in_most": "5"}, {"in_refused": 1}, {"lock": None}, {"inheritance": None}]
)
def test_a_wrong_switch_is_refused_and_none_is_set(values: dict[str, object]) -> None:
    with plytix_sandbox() as sandbox:
        answer = steer(sandbox.url, {"in_most": 7, **values})
        assert answer.status_code == 400
        assert next(iter(values)) in answer.json()["error"]
        assert sandbox.switches.in_most == 100


def test_any_stand_in_can_lose_an_answer_after_its_work_was_done() -> None:
    with image_db_sandbox(records=20) as sandbox:
        sandbox.lost.lose(ENDPOINT, Lost.DROP, skip=1)
        sandbox.lost.lose(ENDPOINT, Lost.BAD_GATEWAY, skip=1)

        def page() -> int:
            url = f"{sandbox.url}{ENDPOINT}/"
            return requests.get(url, auth=(sandbox.username, sandbox.password), timeout=SECONDS).status_code

        assert page() == 200
        with pytest.raises(requests.ConnectionError):
            page()
        assert page() == 502
        assert page() == 200
        assert sandbox.ledger.count(ENDPOINT, 200) == 4


def test_a_moment_comes_once_and_its_error_may_be_kept_for_later() -> None:
    moments, done = Moments(), []

    def fail() -> None:
        raise ValueError("not now")

    moments.before("page", lambda: done.append("second"), skip=1)
    moments.before("page", fail)
    with pytest.raises(ValueError, match="not now"):
        moments.come("page")
    assert (done, moments.failed) == ([], [])
    moments.before("page", fail)
    moments.come("page", keep_errors=True)
    moments.come("page")
    assert done == ["second"]
    assert [str(error) for error in moments.failed] == ["not now"]


@dataclass
class Shelf:
    things: int = 0


def _put(shelf: Shelf, number: int = 1) -> int:
    shelf.things += number
    return shelf.things


def test_an_operator_is_found_by_its_name_and_checked_before_it_works() -> None:
    known, shelf = operators(_put), Shelf()
    assert make(known, "put", shelf, number=2) == 2
    with pytest.raises(MutationError, match="no operator is called take; there are put"):
        check(known, "take", shelf)
    with pytest.raises(MutationError, match=r"put: .*name"):
        make(known, "put", shelf, name="x")
    assert shelf.things == 2
