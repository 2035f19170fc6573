"""The image checks find what is poor in listings that were made so on purpose, and nothing in good ones."""

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from imagesync_pipelines.connectors.plytix.mapping import read_mapping
from imagesync_pipelines.connectors.plytix.model import Listing
from imagesync_pipelines.connectors.plytix.quality import Finding, Seen, findings, look_at_pictures, sampled
from imagesync_pipelines.connectors.plytix.rules import choose_listings
from imagesync_pipelines.sandbox.amazon.mapping import mapping_file
from imagesync_pipelines.sandbox.amazon.server import amazon_sandbox
from imagesync_pipelines.upstream.errors import UnavailableError
from imagesync_pipelines_tests.connectors.plytix.worlds import listing, url_of
from imagesync_pipelines_tests.sandbox.amazon.making import poor_listings


class Quality(NamedTuple):
    """What the checks say of listings, by check, and the pictures that they looked at."""

    seen: dict[str, Seen]
    small: list[Finding]
    undecodable: list[Finding]
    not_white: list[Finding]
    twins: list[Finding]
    without_main: list[Finding]


def looked(fetch: Callable[[str], bytes], listings: list[Listing], sample: int = 100, least: int = 1000) -> Quality:
    """fetch: the file of an address."""
    seen = look_at_pictures(sampled(listings, sample, "run"), lambda key: fetch(url_of(key)), workers=4)
    return Quality(seen, *findings(listings, seen, least).values())


@pytest.fixture(scope="module")
def poor() -> tuple[dict[str, str], Quality]:
    """The SKU of every poor listing by what is poor about it, and what the checks say of all of them."""
    made = poor_listings()
    with amazon_sandbox(list(made.values())) as amazon:
        body = json.dumps(mapping_file(amazon.listings, "list")).encode()
        listings = list(choose_listings(read_mapping(body, "poor.json").items)[0])
        quality = looked(lambda url: amazon.fetch(url).body, listings)
    return {name: one.suggested_sku for name, one in made.items()}, quality


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ("small", "small_main"),
        ("not_white", "grey_main"),
        ("without_main", "no_main"),
        ("undecodable", "undecodable"),
        ("twins", "twins"),
    ],
)
def test_each_check_finds_the_listing_that_is_poor_in_it(
    poor: tuple[dict[str, str], Quality], check: str, name: str
) -> None:
    skus, quality = poor
    found = {finding.sku for finding in getattr(quality, check)}
    assert skus[name] in found
    assert skus["good"] not in found


def test_two_views_of_one_product_are_no_twins(poor: tuple[dict[str, str], Quality]) -> None:
    skus, quality = poor
    assert {finding.sku for finding in quality.twins} == {skus["twins"]}


def test_every_picture_that_was_decoded_has_its_content_noted(poor: tuple[dict[str, str], Quality]) -> None:
    quality = poor[1]
    bad = {finding.key for finding in quality.undecodable}
    contents = {key for key, picture in quality.seen.items() if picture.sha256}
    assert bad
    assert contents == quality.seen.keys() - bad


@pytest.mark.parametrize("kind", [UnavailableError, KeyError], ids=["named", "that nobody named"])
def test_a_picture_that_cannot_be_fetched_is_told_and_stops_nothing(kind: type[Exception]) -> None:
    def fetch(url: str) -> bytes:
        raise kind(f"{url}: HTTP 503")

    quality = looked(fetch, [listing("S", "A.jpg", "B.jpg")])
    assert [finding.key for finding in quality.undecodable] == ["A.jpg", "B.jpg"]
    assert "503" in quality.undecodable[0].what
    assert quality.twins == quality.not_white == []


def test_a_sample_is_whole_listings_and_another_seed_gives_others() -> None:
    listings = [listing(f"S{number}", f"A{number}.jpg", f"B{number}.jpg") for number in range(50)]
    once = sampled(listings, 10, "monday")
    assert len(once) == 5
    assert once == sampled(listings[::-1], 10, "monday")
    assert once != sampled(listings, 10, "tuesday")
    assert sampled(listings, 0, "monday") == []


def test_without_a_sample_the_sizes_that_the_source_says_are_judged() -> None:
    quality = looked(lambda url: b"", [listing("S", "A.jpg")], sample=0, least=2000)
    assert quality.seen == {}
    assert "1500 pixels" in quality.small[0].what
