"""Proves how images are written: append, set, keep, delete, identity, and every refusal with its code."""

import json
from typing import Any

import pytest
import requests

from imagesync_pipelines.sandbox.moysklad.making import jpeg, noisy, png
from imagesync_pipelines.sandbox.moysklad.model import ListForm
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller, Json, code_of, encoded, id_of, image, kept

KINDS = ("product", "bundle", "variant")


def names(rows: list[Json]) -> list[str]:
    return [row["filename"] for row in rows]


@pytest.fixture(params=KINDS)
def entity(request: pytest.FixtureRequest, caller: Caller) -> tuple[str, str]:
    """An entity of each kind: kind and id."""
    if request.param == "variant":
        return "variant", caller.account.add_variant(caller.account.add_product("Плед"), "Плед (мох)")
    add = caller.account.add_product if request.param == "product" else caller.account.add_bundle
    return request.param, add("Плед")


def test_the_official_cases_of_images_hold_for_every_kind(caller: Caller, entity: tuple[str, str]) -> None:
    """Contract section 14: inline, many, one, set, delete one, delete many."""
    kind, key = entity
    put = caller.ask("PUT", f"entity/{kind}/{key}", {"images": {"rows": [image("first.jpg")]}})
    assert put.json()["images"]["meta"]["size"] == 1
    assert names(caller.images(key, kind)) == ["first.jpg"]
    assert names(caller.sent(key, [image("b.jpg"), image("a.jpg")], kind)) == ["b.jpg", "a.jpg"]
    shown = caller.rows(f"entity/{kind}", expand="images", limit=100, filter=f"id={key}")
    assert names(shown[0]["images"]["rows"]) == ["b.jpg", "a.jpg"]
    rows = caller.sent(key, image("c.jpg"), kind)
    assert names(rows) == ["b.jpg", "a.jpg", "c.jpg"]
    deleted = caller.ask("DELETE", f"entity/{kind}/{key}/images/{id_of(rows[0])}")
    assert (deleted.status_code, deleted.content) == (200, b"")
    many = caller.ask("POST", f"entity/{kind}/{key}/images/delete", rows[1:])
    assert (many.status_code, many.content) == (200, b"")
    assert caller.images(key, kind) == []


def test_a_row_has_no_id_and_no_type_of_the_picture(caller: Caller, product: str) -> None:
    row = caller.sent(product, [image("подушка.jpg")])[0]
    assert "id" not in row
    assert row["meta"]["mediaType"] == "application/json"
    assert (row["title"], row["size"]) == ("подушка", len(jpeg("подушка.jpg")))
    assert row["updated"] == "2026-10-05 12:02:00.000"[:11] + row["updated"][11:]
    assert row["miniature"]["downloadHref"] is None
    assert "downloadPermanentHref" not in row["meta"]


def test_an_array_keeps_by_meta_in_the_order_written_and_drops_the_rest(caller: Caller, product: str) -> None:
    before = caller.sent(product, [image("a.jpg"), image("b.jpg"), image("c.jpg")])
    after = caller.sent(product, [kept(before[2]), image("new.jpg"), kept(before[0])])
    assert names(after) == ["c.jpg", "new.jpg", "a.jpg"]
    assert [id_of(after[0]), id_of(after[2])] == [id_of(before[2]), id_of(before[0])]


def test_the_same_name_and_bytes_are_one_id_and_may_be_shown_twice(caller: Caller, product: str) -> None:
    rows = caller.sent(product, [image("a.jpg", "x"), image("a.jpg", "x"), image("b.jpg", "x"), image("a.jpg", "y")])
    ids = [id_of(row) for row in rows]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    caller.ask("DELETE", f"entity/product/{product}/images/{ids[0]}")
    assert [id_of(row) for row in caller.images(product)] == ids[1:]
    assert [id_of(row) for row in caller.sent(product, [image("a.jpg", "x"), kept(rows[2])])] == [ids[0], ids[2]]


REFUSED: dict[str, tuple[object, int]] = {
    "no content": ([{"filename": "a.jpg"}], 51001),
    "no name": ([{"content": encoded(jpeg("a"))}], 51005),
    "an empty name": ([{"filename": "", "content": encoded(jpeg("a"))}], 51005),
    "not base64": ([{"filename": "a.jpg", "content": "***"}], 51002),
    "not a picture": ([{"filename": "a.jpg", "content": encoded(b"<Error/>")}], 51002),
    "half a picture": ([{"filename": "a.jpg", "content": encoded(jpeg("a")[:300])}], 51002),
    "a GIF": ([{"filename": "a.gif", "content": encoded(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")}], 51002),
    "more than 3 MB": ([{"filename": "a.png", "content": encoded(noisy("big", 3_000_001))}], 51004),
    "eleven": ([image(f"{nth}.jpg") for nth in range(11)], 51006),
    "an empty array": ([], 1027),
    "an image that is nowhere": ([{"meta": {"href": "http://x/entity/product/y/images/z"}}], 2013),
    "a meta without address": ([{"meta": {}}], 2013),
    "no object": (["a.jpg"], 2000),
}


@pytest.mark.parametrize(("body", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_leaves_the_list(caller: Caller, product: str, body: object, code: int) -> None:
    caller.sent(product, [image("stays.jpg")])
    answer = caller.post(product, body)
    assert (code_of(answer), answer.status_code) == (code, 412 if code > 2000 and code != 2000 else 400)
    assert names(caller.images(product)) == ["stays.jpg"]


def test_a_name_of_255_cyrillic_letters_is_taken_and_one_more_is_not(caller: Caller, product: str) -> None:
    longest = "ж" * 251 + ".jpg"
    assert names(caller.sent(product, [image(longest), image("../../etc/a.jpg")])) == [longest, "../../etc/a.jpg"]
    assert caller.post(product, [image("ж" + longest)]).status_code == 412


def test_an_eleventh_by_single_post_is_refused(caller: Caller, product: str) -> None:
    caller.sent(product, [image(f"{nth}.jpg") for nth in range(10)])
    assert code_of(caller.post(product, image("11.jpg"))) == 51006
    assert len(caller.images(product)) == 10


def test_too_large_names_the_limit_in_its_text(caller: Caller, product: str) -> None:
    caller.sandbox.switches.image_megabytes = 0.5
    answer = caller.post(product, [{"filename": "a.png", "content": encoded(noisy("big", 600_000))}])
    assert "0.5" in answer.json()["errors"][0]["error"]


def test_a_full_storage_refuses_images_and_takes_removals(caller: Caller, product: str) -> None:
    rows = caller.sent(product, [image("a.jpg"), image("b.jpg")])
    caller.account.account.quota = caller.account.account.used + 10
    assert code_of(caller.post(product, image("c.jpg"))) == 51003
    caller.account.account.quota = 1
    assert names(caller.sent(product, [kept(rows[1])])) == ["b.jpg"]


def test_metas_of_others_are_refused(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    other = caller.account.add_product("Другое")
    own = caller.sent(other, [image("a.jpg")])[0]
    assert code_of(caller.post(product, [kept(own)])) == 3033
    box.switches.foreign_meta_adds = True
    assert names(caller.sent(product, [kept(own)])) == ["a.jpg"]
    child = Caller(box, "child")
    there = child.account.add_product("Подушка", "p-1")
    assert code_of(child.post(there, [kept(own)])) == 2013


def test_a_deleted_entity_is_not_found(caller: Caller, product: str) -> None:
    caller.account.delete(product)
    answer = caller.post(product, [image("a.jpg")])
    assert (answer.status_code, code_of(answer)) == (404, 1021)


@pytest.mark.parametrize("path", ["entity/service/1/images", "entity/contract", "nothing"])
def test_what_is_no_path_is_1002(caller: Caller, path: str) -> None:
    assert code_of(caller.ask("GET", path)) == 1002


def test_a_bad_element_may_be_left_out_or_named(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    body = [image("a.jpg"), {"filename": "bad.jpg", "content": "eA=="}, image("c.jpg")]
    assert "parameter" not in caller.post(product, body).json()["errors"][0]
    box.switches.bad_element_named = "parameter"
    assert caller.post(product, body).json()["errors"][0]["parameter"] == "[1].content"
    box.switches.bad_element_named = "column"
    text = json.dumps(body)
    answer = caller.ask(
        "POST", f"entity/product/{product}/images", data=text, headers={"Content-Type": "application/json"}
    )
    assert answer.json()["errors"][0]["column"] == text.index('{"filename": "bad.jpg"') + 1
    box.switches.bad_element = "rest"
    assert names(caller.sent(product, body)) == ["a.jpg", "c.jpg"]


def again(caller: Caller, product: str) -> tuple[str, str]:
    """The ids of an image that was removed and added again."""
    first = caller.sent(product, [image("a.jpg"), image("b.jpg")])
    caller.sent(product, [kept(first[1])])
    return id_of(first[0]), id_of(caller.sent(product, [kept(first[1]), image("a.jpg")])[1])


def twice(caller: Caller, product: str) -> requests.Response:
    """One image, kept twice."""
    row = caller.sent(product, [image("a.jpg")])[0]
    return caller.post(product, [kept(row), kept(row)])


def test_an_id_is_kept_after_a_removal_only_when_the_switch_says_so(caller: Caller, product: str) -> None:
    before, after = again(caller, product)
    assert before != after
    caller.sandbox.switches.id_kept_after_delete = True
    before, after = again(caller, product)
    assert before == after


def test_ids_may_be_those_of_the_account(caller: Caller, product: str) -> None:
    other = caller.account.add_product("Другое")
    shown = caller.sent(product, [image("a.jpg")]) + caller.sent(other, [image("a.jpg")])
    assert id_of(shown[0]) != id_of(shown[1])
    caller.sandbox.switches.id_scope = "account"
    shown = caller.sent(product, [image("b.jpg")]) + caller.sent(other, [image("b.jpg")])
    assert id_of(shown[0]) == id_of(shown[1])


SWITCHED: dict[str, tuple[dict[str, Any], int | str]] = {
    "twice": ({}, "2 images"),
    "once": ({"same_meta": "once"}, "1 images"),
    "refused": ({"same_meta": "refused"}, 3013),
}


@pytest.mark.parametrize(("switches", "expected"), SWITCHED.values(), ids=SWITCHED)
def test_the_same_meta_twice(caller: Caller, product: str, switches: dict[str, Any], expected: int | str) -> None:
    vars(caller.sandbox.switches).update(switches)
    answer = twice(caller, product)
    assert (code_of(answer) if answer.status_code != 200 else f"{len(answer.json())} images") == expected


def test_other_switches_of_images(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    box.switches.empty_array = "clears"
    caller.sent(product, [image("a.jpg")])
    assert caller.sent(product, []) == []
    box.switches.other_formats = True
    gif = "R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="
    assert names(caller.sent(product, [{"filename": "a.gif", "content": gif}])) == ["a.gif"]
    box.switches.image_error_status = 400
    assert caller.post(product, [{"filename": "a.jpg"}]).status_code == 400
    before = caller.account.by_code("p-1").updated
    box.switches.image_write_bumps_updated = False
    box.clock.move(5)
    caller.sent(product, [{"filename": "b.png", "content": encoded(png("b"))}])
    assert caller.account.by_code("p-1").updated == before


def test_a_variant_may_show_its_product_s_images(caller: Caller, product: str) -> None:
    variant = caller.account.add_variant(product, "Подушка (мох)")
    caller.sent(product, [image("a.jpg")])
    assert caller.images(variant, "variant") == []
    caller.sandbox.switches.variant_shows_parent = True
    assert names(caller.images(variant, "variant")) == ["a.jpg"]


def test_the_batch_form_sets_the_list_as_the_array_form_does(caller: Caller, entity: tuple[str, str]) -> None:
    kind, key = entity
    before = caller.sent(key, [image("a.jpg"), image("b.jpg")], kind)
    answer = caller.ask("POST", f"entity/{kind}/{key}/images/batch", [kept(before[1]), image("c.jpg")])
    assert answer.status_code == 200
    assert names(answer.json()) == names(caller.images(key, kind)) == ["b.jpg", "c.jpg"]
    assert id_of(answer.json()[0]) == id_of(before[1])
    refusal = caller.ask("POST", f"entity/{kind}/{key}/images/batch", image("d.jpg"))
    assert (refusal.status_code, code_of(refusal)) == (400, 2000)
    refusal = caller.ask("POST", f"entity/{kind}/{key}/images/batch", [image(f"{nth}.jpg") for nth in range(11)])
    assert (refusal.status_code, code_of(refusal)) == (412, 51006)


@pytest.mark.parametrize(("form", "good", "unknown"), [("array", "", "/batch"), ("batch", "/batch", "")])
def test_a_list_of_images_may_be_taken_in_one_form_only(
    caller: Caller, product: str, form: ListForm, good: str, unknown: str
) -> None:
    caller.sandbox.switches.images_form = form
    path = f"entity/product/{product}/images"
    refusal = caller.ask("POST", path + unknown, [image("a.jpg")])
    assert (refusal.status_code, code_of(refusal)) == (404, 1002)
    assert caller.images(product) == []
    assert names(caller.ask("POST", path + good, [image("a.jpg")]).json()) == ["a.jpg"]
    assert names(caller.sent(product, image("one.jpg"))) == ["a.jpg", "one.jpg"]


def test_a_list_of_images_has_a_context(caller: Caller, product: str) -> None:
    answer = caller.ask("GET", f"entity/product/{product}/images").json()
    assert set(answer) == {"context", "meta", "rows"}
    assert answer["context"]["employee"]["meta"]["type"] == "employee"
