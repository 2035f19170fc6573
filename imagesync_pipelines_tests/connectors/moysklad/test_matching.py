"""An entity has one counterpart or is told; variants only within their product; two never share one."""

from typing import Any

import pytest

from imagesync_pipelines.connectors.moysklad.accounts import MatchField
from imagesync_pipelines.connectors.moysklad.mapping import Counterpart, match_entities
from imagesync_pipelines.connectors.moysklad.model import Entity
from imagesync_pipelines_tests.connectors.moysklad.rows import entity

P1 = entity("p1", external_code="A", code="1", article="art", barcodes=("46", "47"))
V1 = entity("v1", "variant", external_code="V", product_id="p1")


@pytest.mark.parametrize(
    ("field", "child"),
    [
        ("externalCode", {"external_code": "A"}),
        ("code", {"code": "1"}),
        ("article", {"article": "art"}),
        ("barcode", {"barcodes": ("00", "47")}),
    ],
)
def test_the_field_of_the_account_decides(field: MatchField, child: dict[str, Any]) -> None:
    here = entity("c1", **({"external_code": "", "code": "", "article": ""} | child))
    elsewhere = entity("c2", external_code="a", code="01", article="ART", barcodes=("48",))
    matches, unmatched = match_entities([P1], [elsewhere, here], field, products={}, taken={}, shared=())
    assert [match.child_id for match in matches] == ["c1"]
    assert unmatched == []


@pytest.mark.parametrize(
    ("wanted", "candidates", "said"),
    [
        (P1, [], "has no product with externalCode A"),
        (P1, [entity("b1", "bundle", external_code="A")], "has no product with externalCode A"),
        (P1, [entity("c1", external_code="A"), entity("c2", external_code="A")], "has 2 of the type product"),
        (entity("p1", external_code=""), [entity("c1", external_code="")], "it has no externalCode"),
        (P1, [entity("taken", external_code="A")], "already that of product:p9"),
        (
            entity("p8", external_code="Z"),
            [entity("c1", external_code="Z")],
            "the main account has several of the type",
        ),
        (V1, [entity("w1", "variant", external_code="V", product_id="another")], "has no variant with externalCode V"),
        (
            entity("v2", "variant", external_code="V", product_id="unknown"),
            [entity("w1", "variant", external_code="V", product_id="c1")],
            "its product has no counterpart",
        ),
    ],
    ids=[
        "none",
        "another type",
        "several",
        "no value",
        "taken",
        "several in main",
        "another product",
        "a product without counterpart",
    ],
)
def test_what_has_not_exactly_one_counterpart_is_told(wanted: Entity, candidates: list[Entity], said: str) -> None:
    matches, unmatched = match_entities(
        [wanted],
        candidates,
        "externalCode",
        products={"p1": "c1"},
        taken={"taken": "product:p9"},
        shared={("product", "", "Z")},
    )
    assert matches == []
    assert [(found.key, said in found.reason) for found in unmatched] == [(wanted.key, True)]


def test_equal_variants_of_different_products_are_told_apart_by_their_product() -> None:
    candidates = [
        entity("w1", "variant", external_code="V", product_id="c1"),
        entity("w2", "variant", external_code="V", product_id="c2"),
    ]
    matches, _ = match_entities([V1], candidates, "externalCode", products={"p1": "c2"}, taken={}, shared=())
    assert matches == [Counterpart("variant:v1", "w2", "V")]


def test_two_entities_never_share_a_counterpart() -> None:
    wanted = [P1, entity("p2", external_code="A"), entity("p3", external_code="B")]
    candidates = [entity("c1", external_code="A"), entity("c3", external_code="B")]
    matches, unmatched = match_entities(wanted, candidates, "externalCode", products={}, taken={}, shared=())
    assert [match.key for match in matches] == ["product:p3"]
    assert [found.key for found in unmatched] == ["product:p1", "product:p2"]
    assert "product:p1, product:p2 have the same value A" in unmatched[0].reason
