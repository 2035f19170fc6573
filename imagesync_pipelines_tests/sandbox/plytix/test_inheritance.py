"""Proves that thumbnail and galleries of a parent flow to its variants only with the switch."""

import pytest

from imagesync_pipelines.sandbox.plytix.server import GALLERY, PlytixSandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import Caller

pytestmark = pytest.mark.slow

PARENT, VARIANT = "AMZN-US-B01", "AMZN-US-B01-7"


@pytest.fixture
def family(sandbox: PlytixSandbox) -> Caller:
    """A parent with a gallery and a thumbnail, and a variant that has neither."""
    sandbox.mutate("add_product", sku=VARIANT, parent=PARENT)
    main = sandbox.mutate("add_image", sku=PARENT, filename="parent.jpg")
    sandbox.mutate("set_thumbnail", sku=PARENT, asset_id=main)
    return Caller(sandbox)


def read(caller: Caller, sku: str = VARIANT) -> dict[str, object]:
    product: dict[str, object] = caller.ask("GET", f"products/{caller.id_of(sku)}").json()["data"][0]
    return product


def test_nothing_flows_without_the_switch(family: Caller) -> None:
    product = read(family)
    assert (product["thumbnail"], product["attributes"], product["assets"]) == (None, {}, [])
    assert product["overwritten_attributes"] == []


def test_a_variant_without_values_shows_its_parents(family: Caller) -> None:
    family.sandbox.switches.inheritance = True
    main = family.sandbox.gallery(PARENT)
    assert family.sandbox.gallery(VARIANT) == main
    assert family.sandbox.thumbnail(VARIANT) == main[0]
    assert read(family)["thumbnail"]["id"] == main[0]  # type: ignore[index]
    assert read(family)["overwritten_attributes"] == []


def test_a_variants_own_value_hides_its_parents_and_is_listed(family: Caller) -> None:
    family.sandbox.switches.inheritance = True
    own = family.asset("own.jpg")
    assert family.link(VARIANT, own).status_code == 201
    assert family.sandbox.gallery(VARIANT) == (own,)
    assert family.sandbox.thumbnail(VARIANT) == family.sandbox.thumbnail(PARENT)
    assert read(family)["overwritten_attributes"] == [GALLERY]
    family.link(VARIANT, own, "thumbnail")
    assert read(family)["overwritten_attributes"] == ["thumbnail", GALLERY]
    assert read(family, PARENT)["overwritten_attributes"] == []


def test_a_cleared_value_inherits_again(family: Caller) -> None:
    family.sandbox.switches.inheritance = True
    family.link(VARIANT, family.asset("own.jpg"))
    family.patch(VARIANT, attributes={GALLERY: None})
    assert family.sandbox.gallery(VARIANT) == family.sandbox.gallery(PARENT)


def test_an_inherited_asset_counts_the_variant_among_its_products(family: Caller) -> None:
    path = f"assets/{family.sandbox.gallery(PARENT)[0]}"
    assert family.ask("GET", path).json()["data"][0]["n_products"] == 1
    family.sandbox.switches.inheritance = True
    assert family.ask("GET", path).json()["data"][0]["n_products"] == 2
