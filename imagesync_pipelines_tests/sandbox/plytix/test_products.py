"""Proves how products are read, created, changed and deleted, in the words of v1 and v2."""

import pytest

from imagesync_pipelines.sandbox.plytix.server import GALLERY
from imagesync_pipelines_tests.sandbox.plytix.callers import Caller, errors_of

pytestmark = pytest.mark.slow

SKU = "AMZN-US-B01"


@pytest.fixture
def ids(caller: Caller) -> list[str]:
    """Three assets; the first two are in the gallery, the first is the thumbnail."""
    made = [caller.asset(f"{nth}.jpg") for nth in range(3)]
    caller.patch(SKU, thumbnail={"id": made[0]}, attributes={GALLERY: [{"id": made[0]}, {"id": made[1]}]})
    return made


def read(caller: Caller, query: str = "") -> dict[str, object]:
    product: dict[str, object] = caller.ask("GET", f"products/{caller.id_of(SKU)}{query}").json()["data"][0]
    return product


def test_v1_shows_media_as_objects(caller: Caller, ids: list[str]) -> None:
    product = read(caller)
    assert product["thumbnail"]["id"] == ids[0]  # type: ignore[index]
    gallery = product["attributes"][GALLERY]  # type: ignore[index]
    assert [set(one) for one in gallery] == [{"id", "filename", "thumb", "url"}] * 2
    assert [one["id"] for one in gallery] == ids[:2]
    assert [one["filename"] for one in product["assets"]] == ["0.jpg", "1.jpg"]  # type: ignore[attr-defined]


def test_v2_shows_media_as_ids(newer: Caller, ids: list[str]) -> None:
    product = read(newer)
    assert product["thumbnail"] == {"id": ids[0]}
    assert product["attributes"] == {GALLERY: ids[:2]}
    assert product["assets"] == [{"id": asset_id} for asset_id in ids[:2]]
    newer.sandbox.switches.v2_thumbnail = "list"
    assert read(newer)["thumbnail"] == [ids[0]]


def test_a_single_media_attribute_is_an_object_on_v1_and_a_list_on_v2(
    caller: Caller, newer: Caller, ids: list[str]
) -> None:
    caller.patch(SKU, attributes={"swatch_image": {"id": ids[2]}})
    assert read(caller)["attributes"]["swatch_image"]["id"] == ids[2]  # type: ignore[index]
    assert read(newer)["attributes"]["swatch_image"] == [ids[2]]  # type: ignore[index]


def test_the_parent_is_called_differently_on_v2_and_stamps_have_no_zone(caller: Caller, newer: Caller) -> None:
    assert "_parent_id" in read(caller)
    assert "parent_id" in read(newer)
    assert str(read(caller)["created"]).endswith("+00:00")
    assert "+" not in str(read(newer)["created"])


def test_empty_attributes_are_left_out_unless_all_are_asked_for(caller: Caller) -> None:
    assert read(caller)["attributes"] == {}
    everything = dict.fromkeys((GALLERY, "lifestyle_images", "swatch_image", "amazon_title"))
    assert read(caller, "?all_attributes=true")["attributes"] == everything


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("product_id", ["0" * 24, "non-existing-id"])
def test_a_product_that_is_not_there_is_a_404(caller: Caller, method: str, product_id: str) -> None:
    answer = caller.ask(method, f"products/{product_id}", {} if method == "PATCH" else None)
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "msg": f" No results found for {product_id}",
            "errors": [{"field": "id", "msg": "product does not exist"}],
        }
    }


def test_a_patch_replaces_the_gallery_and_leaves_the_rest(caller: Caller, ids: list[str]) -> None:
    caller.patch(SKU, attributes={"amazon_title": "Boot", "lifestyle_images": [{"id": ids[2]}]})
    answer = caller.patch(SKU, attributes={GALLERY: [{"id": ids[2]}, {"id": ids[0]}]})
    assert answer.status_code == 200
    assert caller.sandbox.gallery(SKU) == (ids[2], ids[0])
    assert caller.sandbox.gallery(SKU, "lifestyle_images") == (ids[2],)
    assert caller.sandbox.thumbnail(SKU) == ids[0]
    assert caller.sandbox.product(SKU).texts == {"amazon_title": "Boot"}


def test_null_clears(caller: Caller, ids: list[str]) -> None:
    assert caller.patch(SKU, thumbnail=None, attributes={GALLERY: None}).status_code == 200
    assert (caller.sandbox.gallery(SKU), caller.sandbox.thumbnail(SKU)) == ((), None)


def test_v1_answers_a_patch_with_the_product_and_v2_with_the_audit(caller: Caller, newer: Caller) -> None:
    assert caller.patch(SKU, label="Boot").json()["data"] == [read(caller)]
    [short] = newer.patch(SKU, label="Shoe").json()["data"]
    assert set(short) == {"id", "created", "modified", "created_user_audit", "modified_user_audit"}
    assert newer.sandbox.product(SKU).label == "Shoe"


def test_a_thumbnail_that_is_a_text_is_refused_with_an_object(caller: Caller, ids: list[str]) -> None:
    answer = caller.patch(SKU, thumbnail=ids[1])
    assert answer.status_code == 422
    assert errors_of(answer) == [("thumbnail", {"_schema": ["Invalid input type."]})]
    assert caller.sandbox.thumbnail(SKU) == ids[0]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"thumbnail": {"id": {"id": "x"}}}, "thumbnail"),
        ({"thumbnail": {"id": "0" * 24}}, "thumbnail"),
        ({"thumbnail": []}, "thumbnail"),
        ({"attributes": {GALLERY: ["0" * 24]}}, GALLERY),
        ({"attributes": {GALLERY: {"id": "0" * 24}}}, GALLERY),
        ({"attributes": {GALLERY: [{"id": "0" * 24}]}}, GALLERY),
        ({"attributes": {"swatch_image": [{"id": "0" * 24}]}}, "swatch_image"),
        ({"attributes": {"no_such_label": "x"}}, "no_such_label"),
        ({"attributes": {"amazon_title": 7}}, "amazon_title"),
        ({"attributes": ["x"]}, "attributes"),
        ({"status": "Gone"}, "status"),
        ({"label": 7}, "label"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_patch_with_one_wrong_value_changes_nothing(
    caller: Caller, ids: list[str], values: dict[str, object], field: str
) -> None:
    before = caller.sandbox.product(SKU)
    answer = caller.patch(SKU, gtin="0401", **values)
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, field)
    assert caller.sandbox.product(SKU) == before


def test_a_patch_that_is_no_object_is_a_400(caller: Caller) -> None:
    assert caller.ask("PATCH", f"products/{caller.id_of(SKU)}", ["x"]).status_code == 400


def test_unknown_keys_and_the_family_are_ignored(caller: Caller) -> None:
    before = read(caller)
    answer = caller.patch(SKU, product_family="8 - Amazon", amazon_images=[], id="x", created="2020-01-01")
    assert answer.status_code == 200
    assert answer.json()["data"][0] == before


def test_a_gallery_of_more_than_300_assets_is_refused(caller: Caller) -> None:
    made = [caller.sandbox.mutate("upload", filename=f"{nth}.jpg") for nth in range(301)]
    gallery = [{"id": asset_id} for asset_id in made]
    assert caller.patch(SKU, attributes={GALLERY: gallery}).status_code == 422
    assert caller.patch(SKU, attributes={GALLERY: gallery[:300]}).status_code == 200
    assert caller.patch(SKU, thumbnail={"id": made[300]}).status_code == 422


def test_a_product_needs_only_its_sku(caller: Caller) -> None:
    answer = caller.ask("POST", "products", {"sku": "NEW-1", "unheard_of": 1})
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith(caller.id_of("NEW-1"))
    again = caller.ask("POST", "products", {"sku": "NEW-1"})
    assert again.status_code == 409
    assert errors_of(again) == [("sku", "A product with the same SKU already exists")]
    assert caller.ask("POST", "products", {"label": "no sku"}).status_code == 422


def test_a_sku_can_be_changed_to_one_that_is_free(caller: Caller) -> None:
    product_id = caller.id_of(SKU)
    assert caller.patch(SKU, sku="ERP-7").status_code == 409
    assert caller.patch(SKU, sku="NEW-2").status_code == 200
    assert caller.id_of("NEW-2") == product_id
    assert SKU not in {product.sku for product in caller.sandbox.products()}


def test_deleting_a_product_deletes_its_variants_and_no_asset(caller: Caller, ids: list[str]) -> None:
    product_id = caller.id_of(SKU)
    caller.ask("POST", f"products/{product_id}/variants", {"variant": {"sku": "V-1"}})
    assert caller.ask("DELETE", f"products/{product_id}").status_code == 204
    assert {product.sku for product in caller.sandbox.products()} == {"AMZN-US-B02", "ERP-7"}
    assert len(caller.sandbox.assets()) == 3


def test_variants_are_created_in_the_shape_of_their_version(caller: Caller, newer: Caller) -> None:
    path = f"products/{caller.id_of(SKU)}/variants"
    assert caller.ask("POST", path, {"variant": {"sku": "V-1"}}).status_code == 201
    assert newer.ask("POST", path, {"sku": "V-2"}).status_code == 201
    assert caller.ask("POST", path, {"sku": "V-3"}).status_code == 422
    rows = caller.ask("GET", path).json()["data"]
    assert [(row["sku"], row["product_type"], row["_parent_id"]) for row in rows] == [
        (sku, "VARIANT", caller.id_of(SKU)) for sku in ("V-1", "V-2")
    ]
    assert (read(caller)["product_type"], read(caller)["num_variations"]) == ("PARENT", 2)
