"""Proves single and bulk writes of entities: inline images, aligned answers, partial success, syncId."""

import pytest

from imagesync_pipelines.sandbox.moysklad.model import ListForm
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller, Json, code_of, id_of, image, kept

BAD = {"filename": "bad.jpg", "content": "eA=="}


def meta(caller: Caller, entity_id: str, kind: str = "product") -> Json:
    """What names an entity in a bulk write."""
    return {"href": f"{caller.sandbox.api_url}/entity/{kind}/{entity_id}", "type": kind}


@pytest.fixture
def three(caller: Caller) -> list[str]:
    return [caller.account.add_product(f"Товар {nth}", f"t{nth}") for nth in range(3)]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("path", ["entity/product", "entity/product/batch"])
def test_a_bulk_answer_is_aligned_and_partly_good_under_either_status(
    caller: Caller, three: list[str], path: str, status: int
) -> None:
    caller.sandbox.switches.mixed_bulk_status = status
    pictures = [[image("a.jpg")], [image("a.jpg"), BAD], [image("b.jpg"), image("c.jpg")]]
    body = [{"meta": meta(caller, key), "images": images} for key, images in zip(three, pictures, strict=True)]
    answer = caller.ask("POST", f"{path}?expand=images&limit=100", body)
    assert answer.status_code == status
    results = answer.json()
    assert [row["filename"] for row in results[0]["images"]["rows"]] == ["a.jpg"]
    assert results[1]["errors"][0]["code"] == 51002
    assert results[2]["images"]["meta"]["size"] == 2
    assert [len(caller.images(key)) for key in three] == [1, 0, 2]


def test_a_bulk_of_good_elements_is_200_and_tells_rows_only_when_asked(caller: Caller, three: list[str]) -> None:
    body = [{"meta": meta(caller, key), "images": [image("a.jpg")]} for key in three]
    answer = caller.ask("POST", "entity/product", body)
    assert answer.status_code == 200
    assert all(result["images"]["meta"]["size"] == 1 and "rows" not in result["images"] for result in answer.json())


def test_a_bulk_of_more_than_100_is_answered_without_rows(caller: Caller) -> None:
    keys = [caller.account.add_product(f"Товар {nth}", f"t{nth}") for nth in range(101)]
    body = [{"meta": meta(caller, key), "images": [image("a.jpg")]} for key in keys]
    results = caller.ask("POST", "entity/product?expand=images", body).json()
    assert not any("rows" in result["images"] for result in results)
    results = caller.ask("POST", "entity/product?expand=images", body[:100]).json()
    assert all(len(result["images"]["rows"]) == 1 for result in results)


GLOBAL: dict[str, tuple[object, int]] = {"an empty array": ([], 1027), "a thousand and one": ([{}] * 1001, 2007)}


@pytest.mark.parametrize(("body", "code"), GLOBAL.values(), ids=GLOBAL)
def test_a_bulk_that_fails_as_a_whole_is_answered_with_one_object(caller: Caller, body: object, code: int) -> None:
    assert code_of(caller.ask("POST", "entity/product", body)) == code


def test_a_bulk_may_run_into_its_time_and_has_written_what_came_before(caller: Caller, three: list[str]) -> None:
    caller.sandbox.switches.bulk_most = 2
    body = [{"meta": meta(caller, key), "images": [image("a.jpg")]} for key in three]
    answer = caller.ask("POST", "entity/product", body)
    assert (answer.status_code, code_of(answer)) == (504, 1088)
    assert [len(caller.images(key)) for key in three] == [1, 1, 0]


def test_a_bulk_tells_who_is_gone_and_who_is_of_another_kind(caller: Caller, three: list[str]) -> None:
    bundle = caller.account.add_bundle("Комплект", "b")
    caller.account.delete(three[0])
    named = [meta(caller, three[0]), meta(caller, bundle, "bundle"), meta(caller, three[2])]
    results = caller.ask("POST", "entity/product", [{"meta": one, "images": []} for one in named]).json()
    assert [result.get("errors", [{}])[0].get("code") for result in results] == [1021, 1021, None]


def test_inline_images_set_clear_and_are_left_alone_when_not_named(caller: Caller, product: str) -> None:
    path = f"entity/product/{product}"
    caller.ask("PUT", path, {"images": [image("a.jpg"), image("b.jpg")]})
    rows = caller.images(product)
    assert caller.ask("PUT", path, {"name": "Новое имя", "images": {"meta": {}}}).json()["images"]["meta"]["size"] == 2
    answer = caller.ask("PUT", f"{path}?expand=images", {"images": [kept(rows[1]), image("c.jpg")]})
    assert [row["filename"] for row in answer.json()["images"]["rows"]] == ["b.jpg", "c.jpg"]
    assert caller.ask("PUT", path, {"images": []}).json()["images"]["meta"]["size"] == 0


def test_switches_of_inline_images(caller: Caller, box: MoyskladSandbox, product: str) -> None:
    row = caller.sent(product, [image("a.jpg")])[0]
    box.switches.inline_keep_by_meta = False
    body = {"meta": meta(caller, product), "images": [kept(row)]}
    assert code_of(caller.ask("PUT", f"entity/product/{product}", body)) == 2013
    box.switches.bulk_inline_images = False
    assert caller.ask("POST", "entity/product", [{**body, "images": []}]).status_code == 200
    assert [id_of(one) for one in caller.images(product)] == [id_of(row)]


def test_creating_again_with_a_sync_id_gives_the_one_that_is_there(caller: Caller) -> None:
    body = {"name": "Скатерть", "syncId": "5b0c1e0a-8d35-4b61-9c55-0d9a1f6f8f10", "images": [image("a.jpg")]}
    ids = {caller.ask("POST", "entity/product", body).json()["id"] for _ in range(2)}
    assert len(ids) == 1
    changed = caller.ask("PUT", f"entity/product/{ids.pop()}", {"syncId": "other"})
    assert code_of(changed) == 1047


def test_a_refused_creation_leaves_nothing(caller: Caller) -> None:
    assert code_of(caller.ask("POST", "entity/bundle", {"name": "Комплект", "images": [BAD]})) == 51002
    assert code_of(caller.ask("POST", "entity/bundle", {})) is None
    assert caller.rows("entity/bundle") == []


def test_variants_are_created_in_their_product_and_go_with_it(caller: Caller, product: str) -> None:
    body = {"product": {"meta": meta(caller, product)}, "images": [image("a.jpg")]}
    variant = caller.ask("POST", "entity/variant", body).json()
    assert variant["externalCode"]
    assert variant["images"]["meta"]["size"] == 1
    deleted = caller.ask("POST", "entity/product/delete", [{"meta": meta(caller, product)}])
    assert "info" in deleted.json()[0]
    assert caller.ask("GET", f"entity/variant/{variant['id']}").status_code == 404
    assert caller.account.account.used == 0


@pytest.mark.parametrize(
    ("form", "good", "unknown"),
    [("array", "entity/product", "entity/product/batch"), ("batch", "entity/product/batch", "entity/product")],
)
def test_many_entities_may_be_taken_in_one_form_only(
    caller: Caller, three: list[str], form: ListForm, good: str, unknown: str
) -> None:
    caller.sandbox.switches.bulk_form = form
    body = [{"meta": meta(caller, three[0]), "name": "Плед"}]
    refusal = caller.ask("POST", unknown, body)
    assert (refusal.status_code, code_of(refusal)) == (404, 1002)
    assert caller.account.entities()[0].name == "Товар 0"
    assert caller.ask("POST", good, body).json()[0]["name"] == "Плед"
    assert caller.ask("POST", "entity/product", {"name": "Один"}).status_code == 200


@pytest.mark.parametrize(("is_named", "status", "code"), [(True, 400, 1052), (False, 404, 1021)])
def test_a_malformed_id_is_named_or_is_as_one_that_is_not_there(
    caller: Caller, product: str, is_named: bool, status: int, code: int
) -> None:
    caller.sandbox.switches.malformed_id_named = is_named
    for path in ("entity/product/17", "entity/product/17/images", "download/17"):
        answer = caller.ask("GET", path)
        assert (answer.status_code, code_of(answer)) == (status, code)
    answer = caller.ask("DELETE", f"entity/product/{product}/images/17")
    assert (answer.status_code, code_of(answer)) == (status, code)
