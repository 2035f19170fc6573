"""The items of a run: one file, a folder of files in which the newest counts, or Amazon's catalogue as it is now."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from imagesync_pipelines.connectors.plytix.client.amazon import Catalogue
from imagesync_pipelines.connectors.plytix.errors import MappingError
from imagesync_pipelines.connectors.plytix.model import AmazonItem, ItemImage, SetAside
from imagesync_pipelines.connectors.plytix.sources import as_amazon_has_them, named_products, only, read_sources
from imagesync_pipelines.settings import Settings, SettingsError

FIRST, SECOND = "B000000001", "B000000002"


def entry(asin: str, image: str, marketplace: str = "US") -> dict[str, str]:
    url = f"https://m.media-amazon.com/images/I/{image}.jpg"
    return {"amazon_asin": asin, "marketplace": marketplace, "amazon_image_main": url}


def write(folder: Path, name: str, minute: int, *entries: dict[str, str]) -> Path:
    path = folder / name
    path.write_text(json.dumps({"matched": entries}))
    os.utime(path, (60 * minute, 60 * minute))
    return path


def images_of(items: Sequence[AmazonItem]) -> dict[str, list[str]]:
    return {item.sku: [image.link.rpartition("/")[2] for image in item.images] for item in items}


class Amazon:
    """A catalogue that has one product, and remembers what it was asked for."""

    def __init__(self, *unread: SetAside) -> None:
        self.asked: list[tuple[tuple[str, ...], str]] = []
        self.unread = unread

    def items(self, asins: Sequence[str], marketplace: str) -> Catalogue:
        """The first product with a new image; the others are missing."""
        self.asked.append((tuple(asins), marketplace))
        image = ItemImage("MAIN", "https://m.media-amazon.com/images/I/91newNew11L.jpg", 1000, 1000)
        sku = f"AMZN-{marketplace}-{FIRST}"
        had = (AmazonItem(sku, FIRST, marketplace, False, "", (image,)),) if FIRST in asins else ()
        return Catalogue(had, tuple(asin for asin in asins if asin != FIRST), self.unread)


def test_a_file_is_read_by_its_name_for_people(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", 1, entry(FIRST, "71aaaaaaaaL"))
    read = read_sources(str(path), "", Settings())
    assert (read.source, read.shape, read.entries) == ("a.json", "flat", 1)
    assert images_of(read.items) == {f"AMZN-US-{FIRST}": ["71aaaaaaaaL.jpg"]}


def test_named_products_are_read_alone_and_an_unknown_one_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", 1, entry(FIRST, "71aaaaaaaaL"), entry(SECOND, "71bbbbbbbbL"))
    read = read_sources(str(path), "", Settings())
    assert [item.asin for item in only(read, [f"AMZN-US-{SECOND}"]).items] == [SECOND]
    with pytest.raises(SettingsError, match=r"a\.json has no product AMZN-DE-B000000001"):
        only(read, [f"AMZN-US-{SECOND}", f"AMZN-DE-{FIRST}"])


def test_a_sku_says_which_product_of_which_marketplace_it_is() -> None:
    read = named_products([f"AMZN-DE-{FIRST}", f"AMZN-US-{SECOND}", f"AMZN-DE-{FIRST}"])
    assert [(item.marketplace, item.asin, item.images) for item in read.items] == [
        ("DE", FIRST, ()),
        ("US", SECOND, ()),
    ]
    for wrong in (FIRST, "AMZN-US-1", "amzn-US-B000000001", ""):
        with pytest.raises(SettingsError, match="is no SKU of an Amazon product"):
            named_products([wrong])


def test_of_several_files_the_newest_says_what_a_product_shows(tmp_path: Path) -> None:
    write(tmp_path, "b.json", 1, entry(FIRST, "71aaaaaaaaL"), entry(SECOND, "71bbbbbbbbL"))
    write(tmp_path, "a.json", 2, entry(FIRST, "71ccccccccL"))
    read = read_sources("", str(tmp_path), Settings())
    assert images_of(read.items) == {f"AMZN-US-{FIRST}": ["71ccccccccL.jpg"], f"AMZN-US-{SECOND}": ["71bbbbbbbbL.jpg"]}
    assert read.source == "b.json, a.json"


def test_two_entries_of_a_product_in_one_file_are_both_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", 1, entry(FIRST, "71aaaaaaaaL"), entry(FIRST, "71bbbbbbbbL"))
    assert len(read_sources(str(path), "", Settings()).items) == 2


def test_without_file_and_folder_or_with_an_empty_folder_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PLYTIX_MAPPING_FOLDER is not set"):
        read_sources("", "", Settings())
    with pytest.raises(SettingsError, match="there is no mapping file"):
        read_sources("", str(tmp_path), Settings())


def test_a_file_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"nothing\.json: the mapping file cannot be read \(No such file"):
        read_sources(str(tmp_path / "nothing.json"), "", Settings())


def test_live_images_are_amazons_and_what_amazon_lacks_is_told(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.json",
        1,
        entry(FIRST, "71aaaaaaaaL"),
        entry(SECOND, "71bbbbbbbbL"),
        entry(FIRST, "71aaaaaaaaL", "CA"),
    )
    amazon = Amazon()
    live = as_amazon_has_them(read_sources(str(path), "", Settings()), amazon.items, "")
    assert amazon.asked == [((FIRST, SECOND), "US"), ((FIRST,), "CA")]
    assert live.shape == "catalogue"
    assert live.missing == (f"AMZN-US-{SECOND}",)
    assert images_of(live.items) == {
        f"AMZN-US-{FIRST}": ["91newNew11L.jpg"],
        f"AMZN-US-{SECOND}": [],
        f"AMZN-CA-{FIRST}": ["91newNew11L.jpg"],
    }


def test_only_the_marketplace_asked_for_is_asked_at_amazon(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", 1, entry(FIRST, "71aaaaaaaaL"), entry(FIRST, "71aaaaaaaaL", "CA"))
    amazon = Amazon()
    as_amazon_has_them(read_sources(str(path), "", Settings()), amazon.items, "CA")
    assert amazon.asked == [((FIRST,), "CA")]


def test_an_item_that_cannot_be_read_is_told_by_its_product(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", 1, entry(FIRST, "71aaaaaaaaL", "CA"))
    amazon = Amazon(SetAside(FIRST, "images: no list"))
    live = as_amazon_has_them(read_sources(str(path), "", Settings()), amazon.items, "")
    assert live.set_aside == (SetAside(f"AMZN-CA-{FIRST}", "images: no list"),)
