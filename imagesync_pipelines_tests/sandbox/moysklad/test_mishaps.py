"""Proves that faults meet the calls they name, and that answers get lost after their work."""

import pytest
import requests

from imagesync_pipelines.sandbox.faults import Lost, altered, truncated, xml_page
from imagesync_pipelines.sandbox.moysklad.hosts import STORAGE
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox
from imagesync_pipelines_tests.sandbox import mishaps
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller, code_of, image
from imagesync_pipelines_tests.sandbox.moysklad.test_downloads import fetch, location

POST = "main images post"


def test_an_answer_can_be_lost_after_the_write_was_done(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    box.lost.lose(POST, part=product)
    with pytest.raises(requests.ConnectionError):
        caller.post(product, [image("a.jpg")])
    assert [name for name, _, _ in caller.account.images(product)] == ["a.jpg"]
    box.lost.lose(POST, Lost.BAD_GATEWAY)
    answer = caller.post(product, image("b.jpg"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert len(caller.account.images(product)) == 2
    assert box.ledger.count(POST, 200) == 2


def test_a_refusal_is_injected_by_code_for_one_account_and_entity(caller: Caller, box: MoyskladSandbox) -> None:
    first, second = (caller.account.add_product(name) for name in "ab")
    box.faults.add(mishaps.refusal(POST, 51004, second, limit=3), mishaps.file_storage_unavailable(POST).after(1))
    assert caller.post(first, [image("a.jpg")]).status_code == 200
    assert code_of(caller.post(second, [image("a.jpg")])) == 51004
    assert code_of(caller.post(first, [image("b.jpg")])) == 51007
    assert [len(caller.account.images(key)) for key in (first, second)] == [1, 0]


def test_files_can_be_cut_altered_or_another_thing(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    row = caller.sent(product, [image("a.jpg")])[0]
    content, file_id = jpeg("a.jpg"), caller.account.account.entities[product].images[0].file_id
    box.faults.add(xml_page().at(STORAGE, file_id), altered().at(STORAGE), truncated().at(STORAGE))
    url = location(caller, row)
    assert fetch(url).content.startswith(b"<?xml")
    other = fetch(url).content
    assert (len(other), other == content) == (len(content), False)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        fetch(url)
    assert fetch(url).content == content


def test_somebody_can_be_quicker_than_the_call(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    box.moments.before(POST, lambda: caller.account.delete(product))
    assert code_of(caller.post(product, [image("a.jpg")])) == 1021


def test_a_link_can_end_on_the_way(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    row = caller.sent(product, [image("a.jpg")])[0]
    box.moments.before("storage", lambda: box.clock.move(61))
    assert fetch(location(caller, row)).status_code == 403


def test_the_ledger_tells_accounts_and_doors_apart(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    child = Caller(box, "child")
    caller.sent(product, [image("a.jpg")])
    caller.ask("GET", "entity/product")
    child.ask("GET", "entity/product")
    child.ask("GET", "nowhere")
    assert box.calls_by_door("main") == {"images post": 1, "list": 1}
    assert (box.calls(), box.calls("child"), box.calls("child", "list"), box.calls("child", "bulk")) == (4, 2, 1, 0)
