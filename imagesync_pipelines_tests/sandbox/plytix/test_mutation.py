"""Proves what other people can do in the account, and that it happens when a test wants it."""

import pytest

from imagesync_pipelines.sandbox.mutation import MutationError
from imagesync_pipelines.sandbox.plytix.server import GALLERY, PlytixSandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import Caller

pytestmark = pytest.mark.slow

SKU = "AMZN-US-B01"


@pytest.fixture
def filled(sandbox: PlytixSandbox) -> PlytixSandbox:
    """The first product shows a, b and c."""
    for name in "abc":
        sandbox.mutate("add_image", sku=SKU, filename=f"{name}.jpg")
    return sandbox


def test_an_image_is_added_at_the_end_or_before_a_position(filled: PlytixSandbox) -> None:
    filled.mutate("add_image", sku=SKU, filename="first.jpg", position=0)
    assert filled.filenames(SKU) == ("first.jpg", "a.jpg", "b.jpg", "c.jpg")


def test_an_image_is_removed_and_its_asset_stays(filled: PlytixSandbox) -> None:
    removed = filled.mutate("remove_image", sku=SKU, position=1)
    assert filled.filenames(SKU) == ("a.jpg", "c.jpg")
    assert removed in {asset.id for asset in filled.assets()}


def test_a_gallery_is_turned_round_or_put_into_an_order(filled: PlytixSandbox) -> None:
    filled.mutate("reorder", sku=SKU)
    assert filled.filenames(SKU) == ("c.jpg", "b.jpg", "a.jpg")
    filled.mutate("reorder", sku=SKU, order=(1, 0, 2))
    assert filled.filenames(SKU) == ("b.jpg", "c.jpg", "a.jpg")


def test_a_thumbnail_is_set_and_removed(filled: PlytixSandbox) -> None:
    filled.mutate("set_thumbnail", sku=SKU, asset_id=filled.gallery(SKU)[2])
    assert filled.thumbnail(SKU) == filled.gallery(SKU)[2]
    filled.mutate("set_thumbnail", sku=SKU)
    assert filled.thumbnail(SKU) is None


def test_an_asset_is_renamed_and_deleted(filled: PlytixSandbox) -> None:
    first, second, _ = filled.gallery(SKU)
    filled.mutate("rename_asset", asset_id=first, filename="renamed.jpg")
    filled.mutate("delete_asset", asset_id=second)
    assert filled.filenames(SKU) == ("renamed.jpg", "c.jpg")
    assert [asset.filename for asset in filled.assets()] == ["renamed.jpg", "c.jpg"]


def test_products_come_and_go(filled: PlytixSandbox) -> None:
    filled.mutate("delete_product", sku=SKU)
    filled.mutate("add_product", sku="NEW", label="New")
    assert [product.sku for product in filled.products()] == ["AMZN-US-B02", "ERP-7", "NEW"]
    with pytest.raises(KeyError):
        filled.gallery(SKU)


def test_what_people_do_is_no_call_and_spends_nothing(filled: PlytixSandbox) -> None:
    assert (filled.ledger.count(), filled.windows.used()) == (0, (0, 0))


@pytest.mark.parametrize(
    ("operator", "arguments", "said"),
    [
        ("no_such", {}, "no operator is called no_such; there are add_image, add_product"),
        ("add_image", {}, "missing a required argument: 'sku'"),
        ("add_image", {"sku": "none"}, "there is no product none"),
        ("remove_image", {"sku": SKU, "position": 3}, "AMZN-US-B01 shows 3 images in amazon_images"),
        ("delete_asset", {"asset_id": "0" * 24}, "there is no asset 000"),
        ("rename_asset", {"asset_id": "first", "filename": "a.png"}, "Extension changes are not allowed"),
    ],
    ids=["operator", "argument", "product", "position", "asset", "name"],
)
def test_a_change_that_cannot_be_made_says_why(
    filled: PlytixSandbox, operator: str, arguments: dict[str, object], said: str
) -> None:
    if arguments.get("asset_id") == "first":
        arguments = {**arguments, "asset_id": filled.gallery(SKU)[0]}
    with pytest.raises(MutationError, match=said):
        filled.mutate(operator, **arguments)


def test_what_was_read_from_the_sandbox_does_not_change_with_it(filled: PlytixSandbox) -> None:
    products, assets = filled.products(), filled.assets()
    filled.mutate("remove_image", sku=SKU)
    filled.mutate("rename_asset", asset_id=assets[1].id, filename="x.jpg")
    assert [len(product.media.get(GALLERY, [])) for product in products] == [3, 0, 0]
    assert assets[1].filename == "b.jpg"


def test_somebody_can_be_at_work_between_two_calls(filled: PlytixSandbox) -> None:
    caller = Caller(filled)
    filled.moments.before("product patch", lambda: filled.mutate("add_image", sku=SKU, filename="d.jpg"), skip=1)
    seen = []
    for label in "xyz":
        caller.patch(SKU, label=label)
        seen.append(len(filled.gallery(SKU)))
    assert seen == [3, 4, 4]


def test_an_image_that_is_added_between_read_and_patch_is_wiped_as_in_plytix(filled: PlytixSandbox) -> None:
    caller = Caller(filled)
    gallery = [{"id": asset_id} for asset_id in filled.gallery(SKU)]
    filled.moments.before("product patch", lambda: filled.mutate("add_image", sku=SKU, filename="d.jpg"))
    caller.patch(SKU, attributes={GALLERY: gallery})
    assert filled.filenames(SKU) == ("a.jpg", "b.jpg", "c.jpg")
