"""The checks: how good the pictures of the listings are, and whether Plytix has a product for each of them.

Nothing is kept from Plytix because of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

import pandas as pd

from imagesync_pipelines.connectors.plytix.ledger import Run, ledger_of
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, Listing, ProductsRead
from imagesync_pipelines.connectors.plytix.rules import MAIN
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.imaging.perceptual_hash import distance, perceptual_hash_of
from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.sync.steps import CheckResult, Table, Texts
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image

# Name → what it says; the names are the true sentences, the texts explain them in the UI.
PICTURE_CHECKS = {
    "every_image_is_large_enough": "The longest side has PLYTIX_MIN_LONGEST_SIDE pixels, so that Amazon can zoom.",
    "every_image_can_be_decoded": "The address gives a picture that can be read to its last byte.",
    "every_main_image_has_a_white_background": "The border of MAIN is white, as Amazon's own rules want it (sampled).",
    "no_listing_shows_an_image_twice": "No two pictures of a listing look the same, whatever their ids and sizes.",
    "every_product_with_images_has_a_main_image": "A listing without MAIN leaves the thumbnail as it is.",
}
PRODUCT_CHECK = {
    "every_listing_has_a_product": (
        "Plytix has a product for every listing; images of a listing without one wait for it."
    )
}
# Of 64 bits; the same picture in another size differs in a few, two pictures of one shoe in a dozen.
ALIKE_BITS = 3
# Share of the border: a product may touch it.
WHITE_SHARE = 0.9
# The longest side of a picture that is shown small, as Amazon scales it.
SMALL_SIDE = 75
LARGEST_BYTES = 30 * 1024 * 1024
SECONDS = 20.0


class Finding(NamedTuple):
    """One thing that is wrong with a picture of a product; key is '' where no picture is meant."""

    sku: str
    key: str
    what: str


@dataclass(frozen=True)
class Quality:
    """What was found, by check. looked_at: pictures that were fetched and decoded; contents: their SHA-256 by key."""

    looked_at: int
    small: list[Finding]
    undecodable: list[Finding]
    not_white: list[Finding]
    twins: list[Finding]
    without_main: list[Finding]
    contents: Mapping[str, str]


class _Seen(NamedTuple):
    """A picture that was looked at; `fault` says why it could not be, then the rest is empty."""

    fault: str = ""
    longest: int = 0
    white_edge: float = 0.0
    hash: int = 0
    sha256: str = ""


def check_images(context: Run) -> Mapping[str, CheckResult]:
    """One look at a sample of the pictures (PLYTIX_QUALITY_SAMPLE) answers all PICTURE_CHECKS.

    Which ones follows from the run; their contents are noted in the ledger. Raises HandOverMissingError.
    """
    chosen, settings = context.look_at("images", ImagesChosen), context.settings
    quality = look_at_pictures(
        chosen.listings,
        picture_fetcher(context.installation.settings),
        lambda key: picture_url(key, settings),
        sample=settings.quality_sample,
        seed=context.run_id,
        min_longest_side=settings.min_longest_side,
        workers=settings.workers,
    )
    ledger_of(context).note_contents(quality.contents)
    by_check = (quality.small, quality.undecodable, quality.not_white, quality.twins, quality.without_main)
    return {
        name: CheckResult(
            passed=not found,
            description=f"{len(found)} found; {quality.looked_at} pictures were looked at",
            shown={
                "found": Table(pd.DataFrame(found, columns=["product", "picture", "what"])),
                "number": len(found),
                "looked_at": quality.looked_at,
            },
        )
        for name, found in zip(PICTURE_CHECKS, by_check, strict=True)
    }


def check_products(context: Run) -> Mapping[str, CheckResult]:
    """Whether Plytix has a product for every listing, as it was last read. Raises HandOverMissingError."""
    read = context.look_at("products", ProductsRead)
    (name,) = PRODUCT_CHECK
    told = read.stopped or f"{len(read.unknown)} listings without a product in Plytix"
    return {name: CheckResult(not read.unknown and not read.stopped, told, {"products": Texts(read.unknown)})}


def look_at_pictures(
    listings: Sequence[Listing],
    fetch: Callable[[str], bytes],
    url_of: Callable[[str], str],
    *,
    sample: int,
    seed: str,
    min_longest_side: int,
    workers: int = 4,
) -> Quality:
    """Check listings; what needs pixels is checked for whole listings until `sample` pictures are looked at.

    Which ones follows from the seed, so that runs with different seeds see all in time. fetch raises UpstreamError.
    url_of: where the picture of a key is.
    """
    chosen = sampled(listings, sample, seed)
    keys = sorted({image.key for listing in chosen for image in listing.images})
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as pool:
        seen = dict(zip(keys, pool.map(lambda key: _look(fetch, url_of(key)), keys), strict=True))
    shown = [(listing.sku, image, seen[image.key]) for listing in chosen for image in listing.images]
    return Quality(
        looked_at=len(keys),
        small=list(_small(listings, seen, min_longest_side)),
        undecodable=[Finding(sku, image.key, picture.fault) for sku, image, picture in shown if picture.fault],
        not_white=[
            Finding(sku, image.key, f"the border of MAIN is white by {picture.white_edge:.0%} only, not all round")
            for sku, image, picture in shown
            if image.variant == MAIN and not picture.fault and picture.white_edge < WHITE_SHARE
        ],
        twins=list(_twins(chosen, seen)),
        without_main=[
            Finding(listing.sku, "", "it has images, but no MAIN")
            for listing in listings
            if listing.images and listing.main is None
        ],
        contents={key: picture.sha256 for key, picture in seen.items() if picture.sha256},
    )


def sampled(listings: Sequence[Listing], sample: int, seed: str) -> list[Listing]:
    """Whole listings, in an order that follows from the seed, until they have `sample` pictures together or more."""
    found: list[Listing] = []
    keys: set[str] = set()
    for listing in sorted(listings, key=lambda listing: blake2b(f"{seed} {listing.sku}".encode()).digest()):
        if len(keys) >= sample:
            break
        keys |= {image.key for image in listing.images}
        found.append(listing)
    return found


def _look(fetch: Callable[[str], bytes], url: str) -> _Seen:
    try:
        body = fetch(url)
        facts = check_image(body)
        looks = perceptual_hash_of(body)
    except (UpstreamError, BadImageError, OSError) as error:
        return _Seen(fault=str(error))
    return _Seen("", max(facts.width, facts.height), looks.white_edge, looks.hash, facts.sha256)


def _small(listings: Sequence[Listing], seen: Mapping[str, _Seen], least: int) -> Iterator[Finding]:
    """Pictures whose longest side is too short, by what was seen, else by what the source says."""
    for listing in listings:
        for image in listing.images:
            said = max(image.width or 0, image.height or 0)
            longest = seen[image.key].longest if image.key in seen else said
            if 0 < longest < least:
                what = f"{image.variant or 'an image'} has {longest} pixels on its longest side, {least} are wanted"
                yield Finding(listing.sku, image.key, what)


def _twins(listings: Sequence[Listing], seen: Mapping[str, _Seen]) -> Iterator[Finding]:
    """Pairs of pictures of one listing that look the same."""
    for listing in listings:
        good = [image for image in listing.images if not seen[image.key].fault]
        for one, other in combinations(good, 2):
            if distance(seen[one.key].hash, seen[other.key].hash) <= ALIKE_BITS:
                yield Finding(listing.sku, other.key, f"{other.variant} looks the same as {one.variant}")


def picture_url(key: str, settings: PlytixSettings, longest_side: int | None = None) -> str:
    """Where the picture with a canonical key is; scaled down by Amazon to a longest side, or the original."""
    name, _, extension = key.rpartition(".")
    token = f"._SL{longest_side}_" if longest_side is not None else ""
    return f"{settings.images_url.rstrip('/')}/images/I/{name}{token}.{extension}"


def picture_fetcher(shared: Settings) -> Callable[[str], bytes]:
    """A function that fetches one picture under the rules for URLs that are data; it raises an UpstreamError."""
    policy = FetchPolicy(
        allowed_hosts=frozenset(shared.allowed_image_hosts), max_bytes=LARGEST_BYTES, total_deadline=SECONDS
    )
    return lambda url: fetch_image(url, policy).body
