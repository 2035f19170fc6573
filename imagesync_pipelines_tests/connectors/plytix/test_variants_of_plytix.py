"""Plytix as it may also be: v2, without `in`, with races; and listings with parents and of two marketplaces."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.client.answers import own_galleries
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ListingsRead, PlytixProduct
from imagesync_pipelines.sandbox.amazon.listings import demo_listings, make_listings
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines_tests.connectors.plytix.accounts import assert_converged, open_connector
from imagesync_pipelines_tests.sandbox.amazon.making import in_marketplace

PAIR = demo_listings()[10:12]
# No picture of one is a picture of the other.
UNALIKE = make_listings(7, seed=1, images=3)[:2]


@pytest.mark.parametrize("strategy", ["link", "patch"])
@pytest.mark.parametrize(
    ("switches", "settings"),
    [
        pytest.param({}, {"products_api": "v2"}, id="v2"),
        pytest.param({"v2_thumbnail": "list"}, {"products_api": "v2"}, id="v2, thumbnail as a list"),
        pytest.param({"in_refused": True}, {}, id="in is refused"),
        pytest.param({"lost_update_race": True}, {"workers": 8}, id="links of one product race"),
        pytest.param({"search_delay": 3600.0}, {}, id="new assets are not found by a search yet"),
    ],
)
def test_a_run_converges_and_a_second_one_writes_nothing(
    database: sa.Engine, tmp_path: Path, strategy: str, switches: dict[str, Any], settings: dict[str, Any]
) -> None:
    with open_connector(database, tmp_path, listings=PAIR, strategy=strategy, **settings) as connector:
        for name, value in switches.items():
            setattr(connector.plytix.switches, name, value)
        first = connector.sync()
        assert first.report["errors"] == []
        assert first.report["links_created"] == 12
        assert_converged(connector)
        written = connector.plytix.ledger.count() - connector.plytix.ledger.count("product search")
        assert connector.sync().summary.products_affected == 0
        assert connector.plytix.ledger.count() - connector.plytix.ledger.count("product search") == written


@pytest.mark.parametrize("shape", ["list", "sizes", "export"])
def test_parents_get_their_images_and_are_counted(database: sa.Engine, tmp_path: Path, shape: str) -> None:
    listings = make_listings(14, seed=3)
    with open_connector(database, tmp_path, listings=listings, strategy="patch") as connector:
        connector.write(shape=shape)
        report = connector.sync().report
        parents = [listing for listing in listings if listing.is_parent and listing.images]
        assert report["parent_main_image_links"] == sum(
            any(image.variant == "MAIN" for image in listing.images) for listing in parents
        )
        assert report["parent_links_created"] == sum(
            len(connector.plytix.gallery(listing.suggested_sku)) for listing in parents
        )
        assert report["parent_links_created"] > 0
        assert connector.sync().summary.api_calls == 1


@pytest.mark.parametrize("strategy", ["link", "patch"])
def test_where_images_are_inherited_a_variant_shows_its_own_and_its_parent_keeps_its(
    database: sa.Engine, tmp_path: Path, strategy: str
) -> None:
    parent, variant = (listing.suggested_sku for listing in UNALIKE)
    family = [NewProduct(parent), NewProduct(variant, parent=parent)]
    with open_connector(
        database, tmp_path, listings=UNALIKE, missing=(parent, variant), more_products=family, strategy=strategy
    ) as connector:
        connector.plytix.switches.inheritance = True
        connector.write(shape="list")
        done = connector.sync()
        assert done.report["errors"] == []
        assert any("variants in Plytix" in text for text in done.summary.warnings)
        assert_converged(connector)
        assert len(connector.plytix.gallery(variant)) == 3
        assert connector.sync().summary.api_calls == 1


@pytest.mark.parametrize("strategy", ["link", "patch"])
@pytest.mark.parametrize("parent_listed", [True, False], ids=["parent is listed", "parent is not listed"])
def test_what_a_variant_inherits_from_a_parent_of_an_earlier_run_does_not_become_its_own(
    database: sa.Engine, tmp_path: Path, strategy: str, parent_listed: bool
) -> None:
    # The variant shares one picture with its parent; the other ones of the parent are not to be in its gallery.
    first, second = UNALIKE
    second = replace(second, images=(*second.images, replace(first.images[1], variant="PT07")))
    parent, variant = first.suggested_sku, second.suggested_sku
    family = [NewProduct(parent), NewProduct(variant, parent=parent)]
    with open_connector(
        database,
        tmp_path,
        listings=[first, second],
        missing=(parent, variant),
        more_products=family,
        strategy=strategy,
        inherited_galleries=True,
    ) as connector:
        connector.plytix.switches.inheritance = True
        connector.write([first], shape="list")
        connector.sync()
        assert connector.plytix.gallery(variant) == connector.plytix.gallery(parent) != ()
        connector.write([first, second] if parent_listed else [second], shape="list")
        done = connector.sync()
        assert done.report["errors"] == []
        assert done.report["links_created"] == len(second.images)
        assert_converged(connector)
        assert len(connector.plytix.gallery(variant)) == len(second.images)
        assert len(connector.plytix.gallery(parent)) == len(first.images)
        assert connector.sync().summary.api_calls == (1 if parent_listed else 2), (
            "one more to learn whether the gallery is its own"
        )


@pytest.mark.parametrize(
    ("details", "own"),
    [
        pytest.param({"overwritten_attributes": ["amazon_images"]}, True, id="its own"),
        pytest.param({"overwritten_attributes": ["attributes.amazon_images"]}, True, id="its own, with the prefix"),
        pytest.param({"overwritten_attributes": ["thumbnail"]}, False, id="another one is its own"),
        pytest.param({"overwritten_attributes": []}, False, id="inherited"),
        pytest.param({}, True, id="gone, or Plytix does not say"),
    ],
)
def test_only_what_plytix_calls_overwritten_is_a_variants_own(details: dict[str, Any], own: bool) -> None:
    variant = PlytixProduct("2", "V", None, ("a", "b"), parent_id="1")
    found = own_galleries({"V": variant}, "amazon_images", lambda product_id: details)
    assert found == {"V": variant if own else variant._replace(gallery=())}


def test_nobody_is_asked_about_a_gallery_that_is_not_the_parents() -> None:
    products = {
        "P": PlytixProduct("1", "P", None, ("a", "b")),
        "V": PlytixProduct("2", "V", None, ("b", "a"), parent_id="1"),
        "W": PlytixProduct("3", "W", None, (), parent_id="1"),
    }
    assert own_galleries(products, "amazon_images", lambda product_id: pytest.fail(product_id)) == products


def test_two_marketplaces_share_pictures_and_not_the_order(database: sa.Engine, tmp_path: Path) -> None:
    listings = [*PAIR, *in_marketplace(PAIR, "CA")]
    with open_connector(database, tmp_path, listings=listings, strategy="patch") as connector:
        connector.write(PAIR)
        assert connector.sync().report["images_uploaded"] == 12
        connector.write(in_marketplace(PAIR, "CA"))
        done = connector.sync()
        assert (done.report["images_uploaded"], done.report["images_skipped"]) == (0, 12)
        assert_converged(connector)


def test_a_marketplace_is_named_by_its_country_its_shop_or_amazons_id(database: sa.Engine, tmp_path: Path) -> None:
    with open_connector(database, tmp_path, listings=[*PAIR, *in_marketplace(PAIR, "CA")]) as connector:
        for name in ("CA", "ca", "Canada", "amazon.ca", "A2EUQ1WTGCTBG2"):
            connector.choose("run", marketplace=name)
            assert connector.at("run").need("listings", ListingsRead).marketplace == "CA"
            chosen = connector.at("run").need("images", ImagesChosen)
            assert {listing.marketplace for listing in chosen.listings} == {"CA"}
        with pytest.raises(SettingsError, match="no marketplace 'Atlantis'"):
            connector.choose("run", marketplace="Atlantis")
