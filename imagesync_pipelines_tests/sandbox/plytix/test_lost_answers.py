"""Proves that an answer can be lost after its work was done, once for every kind of write (simulator list, 12)."""

from collections.abc import Callable

import pytest
import requests

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.faults import Lost
from imagesync_pipelines_tests.sandbox.plytix.callers import Caller, Web, errors_of

pytestmark = pytest.mark.slow

SKU = "AMZN-US-B01"
URL = "https://images.example/a.jpg"

Write = Callable[[Caller, str], requests.Response]


def _upload(caller: Caller, asset_id: str) -> requests.Response:
    return caller.upload(URL)


def _link(caller: Caller, asset_id: str) -> requests.Response:
    return caller.link(SKU, asset_id)


def _patch(caller: Caller, asset_id: str) -> requests.Response:
    return caller.patch(SKU, thumbnail={"id": asset_id})


def _unlink(caller: Caller, asset_id: str) -> requests.Response:
    return caller.ask("DELETE", f"products/{caller.id_of('ERP-7')}/assets/{asset_id}")


def _delete(caller: Caller, asset_id: str) -> requests.Response:
    return caller.ask("DELETE", f"assets/{asset_id}")


WRITES = [
    pytest.param("asset create", _upload, 409, id="upload"),
    pytest.param("link", _link, 409, id="link"),
    pytest.param("product patch", _patch, 200, id="patch"),
    pytest.param("unlink", _unlink, 404, id="unlink"),
    pytest.param("asset delete", _delete, 404, id="delete"),
]


@pytest.fixture
def linked(caller: Caller) -> str:
    """An asset that is in the gallery of another product."""
    asset_id = caller.asset("other.jpg")
    caller.link("ERP-7", asset_id)
    return asset_id


@pytest.mark.parametrize("how", list(Lost))
@pytest.mark.parametrize(("endpoint", "write", "again"), WRITES)
def test_the_work_is_done_and_a_replay_finds_it_so(
    caller: Caller, linked: str, how: Lost, endpoint: str, write: Write, again: int
) -> None:
    caller.sandbox.lost.lose(endpoint, how)
    if how is Lost.DROP:
        with pytest.raises(requests.ConnectionError):
            write(caller, linked)
    else:
        assert write(caller, linked).status_code == 502
    assert write(caller, linked).status_code == again
    assert caller.sandbox.ledger.count(endpoint) >= 2


def test_the_replayed_upload_is_told_the_id_of_the_first(caller: Caller) -> None:
    caller.sandbox.lost.lose("asset create")
    with pytest.raises(requests.ConnectionError):
        caller.upload(URL)
    [asset] = caller.sandbox.assets()
    assert errors_of(caller.upload(URL)) == [("asset.id", asset.id)]


def test_an_answer_that_is_an_error_is_not_lost(caller: Caller, linked: str) -> None:
    caller.sandbox.lost.lose("link", Lost.BAD_GATEWAY)
    assert caller.link(SKU, "0" * 24).status_code == 404
    assert caller.link(SKU, linked).status_code == 502


def test_the_answer_of_a_later_call_or_of_one_product_can_be_lost(caller: Caller, linked: str) -> None:
    caller.sandbox.lost.lose("product patch", Lost.BAD_GATEWAY, skip=1, times=2)
    assert [caller.patch(SKU, label=label).status_code for label in "abcd"] == [200, 502, 502, 200]
    caller.sandbox.lost.lose("product patch", Lost.BAD_GATEWAY, part=caller.id_of("ERP-7"))
    assert [caller.patch(sku, label="x").status_code for sku in (SKU, "ERP-7", SKU)] == [200, 502, 200]


def test_faults_of_calls_that_are_not_carried_out_still_work(caller: Caller) -> None:
    caller.sandbox.faults.add(faults.reset().at("asset create"), faults.server_error(502).at("asset create"))
    with pytest.raises(requests.ConnectionError):
        caller.upload(URL)
    assert caller.upload(URL).status_code == 502
    assert caller.sandbox.assets() == ()
    assert caller.upload(URL).status_code == 201


def test_an_answer_that_breaks_off_half_way_was_carried_out(caller: Caller, web: Web) -> None:
    caller.sandbox.faults.add(faults.truncated().at("asset create"))
    with pytest.raises(requests.RequestException):
        caller.upload(URL)
    assert len(caller.sandbox.assets()) == 1
