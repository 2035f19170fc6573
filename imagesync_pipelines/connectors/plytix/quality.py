"""The checks: how good the pictures of the listings are, and whether Plytix has a product for each of them.

Nothing is kept from Plytix because of it.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.plytix.ledger import Run, ledger_of
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, Listing, ProductsRead
from imagesync_pipelines.connectors.plytix.rules import MAIN
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.imaging.hashes import look_at
from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.sync.apply import item_failure
from imagesync_pipelines.sync.steps import CheckResult, Table, Texts
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image

# Name → what it says; the names are the true sentences, the texts explain them in the UI.
PICTURE_CHECKS = {
    "every_image_is_large_enough": N_("The longest side has PLYTIX_MIN_LONGEST_SIDE pixels, so that Amazon can zoom."),
    "every_image_can_be_decoded": N_("The address gives a picture that can be read to its last byte."),
    "every_main_image_has_a_white_background": N_(
        "The border of MAIN is white, as Amazon's own rules want it (sampled)."
    ),
    "no_listing_shows_an_image_twice": N_("No two pictures of a listing look the same, whatever their ids and sizes."),
    "every_product_with_images_has_a_main_image": N_("A listing without MAIN leaves the thumbnail as it is."),
}
PRODUCT_CHECK = {
    "every_listing_has_a_product": (
        N_("Plytix has a product for every listing; images of a listing without one wait for it.")
    )
}
# Of 64 bits; the same picture in another size differs in a few, two pictures of one shoe in a dozen.
ALIKE_BITS = 3
# Share of the border: a product may touch it.
WHITE_SHARE = 0.9
# The longest side of a picture that is shown small, as Amazon scales it.
SMALL_SIDE = 75


class Finding(NamedTuple):
    """One thing that is wrong with a picture of a product; key is '' where no picture is meant."""

    sku: str
    key: str
    what: str


class Seen(NamedTuple):
    """A picture that was looked at; `fault` says why it could not be, then the rest is empty. longest: side, pixels."""

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
    fetch = picture_fetcher(context.installation.settings)
    sample = sampled(chosen.listings, settings.quality_sample, context.run_id)
    seen = look_at_pictures(sample, lambda key: fetch(picture_url(key, settings)), settings.workers)
    ledger_of(context).note_contents({key: picture.sha256 for key, picture in seen.items() if picture.sha256})
    return {
        name: CheckResult(
            passed=not found,
            description=languages.told(f"{len(found)} found; {len(seen)} pictures were looked at"),
            shown={
                "found": Table(pd.DataFrame(found, columns=["product", "picture", "what"])),
                "number": len(found),
                "looked_at": len(seen),
            },
        )
        for name, found in findings(chosen.listings, seen, settings.min_longest_side).items()
    }


def check_products(context: Run) -> Mapping[str, CheckResult]:
    """Whether Plytix has a product for every listing, as it was last read. Raises HandOverMissingError."""
    read = context.look_at("products", ProductsRead)
    (name,) = PRODUCT_CHECK
    told = read.stopped or languages.told(f"{len(read.unknown)} listings without a product in Plytix")
    return {name: CheckResult(not read.unknown and not read.stopped, told, {"products": Texts(read.unknown)})}


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


def look_at_pictures(listings: Sequence[Listing], fetch: Callable[[str], bytes], workers: int) -> dict[str, Seen]:
    """The pictures of listings by key, each looked at once. fetch: the file of a key; it raises UpstreamError."""

    def look(key: str) -> Seen:
        try:
            body = fetch(key)
            facts, (hashed, white_edge) = check_image(body), look_at(body)
        except Exception as error:  # noqa: BLE001 - whatever one picture does to a library, the others are looked at
            why = item_failure(error)
            return Seen(str(error) if isinstance(error, UpstreamError | BadImageError | OSError) else why)
        return Seen("", max(facts.width, facts.height), white_edge, hashed, facts.sha256)

    keys = sorted({image.key for listing in listings for image in listing.images})
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as pool:
        return dict(zip(keys, pool.map(look, keys), strict=True))


def findings(listings: Sequence[Listing], seen: Mapping[str, Seen], least: int) -> dict[str, list[Finding]]:
    """What each of the PICTURE_CHECKS finds in listings; pixels are judged where the picture was looked at.

    least: pixels of the longest side, by what was seen, else by what the source says.
    """
    found: dict[str, list[Finding]] = {name: [] for name in PICTURE_CHECKS}
    small, undecodable, not_white, twins, without_main = found.values()
    for listing in listings:
        sku = listing.sku
        decoded = []
        for image in listing.images:
            picture = seen.get(image.key)
            longest = max(image.width or 0, image.height or 0) if picture is None else picture.longest
            if 0 < longest < least:
                what = languages.told(
                    f"{image.variant or N_('an image')} has {longest} pixels on its longest side, {least} are wanted"
                )
                small.append(Finding(sku, image.key, what))
            if picture is None:
                continue
            if picture.fault:
                undecodable.append(Finding(sku, image.key, picture.fault))
                continue
            decoded.append((image, picture.hash))
            if image.variant == MAIN and picture.white_edge < WHITE_SHARE:
                what = languages.told(f"the border of MAIN is white by {picture.white_edge:.0%} only, not all round")
                not_white.append(Finding(sku, image.key, what))
        for (one, its_hash), (other, other_hash) in combinations(decoded, 2):
            if (its_hash ^ other_hash).bit_count() <= ALIKE_BITS:
                twins.append(
                    Finding(sku, other.key, languages.told(f"{other.variant} looks the same as {one.variant}"))
                )
        if listing.images and listing.main is None:
            without_main.append(Finding(sku, "", languages.told("it has images, but no MAIN")))
    return found


def picture_url(key: str, settings: PlytixSettings, longest_side: int | None = None) -> str:
    """Where the picture with a canonical key is; scaled down by Amazon to a longest side, or the original."""
    name, _, extension = key.rpartition(".")
    token = f"._SL{longest_side}_" if longest_side is not None else ""
    return f"{settings.images_url.rstrip('/')}/images/I/{name}{token}.{extension}"


def picture_fetcher(shared: Settings) -> Callable[[str], bytes]:
    """A function that fetches one picture under the rules for URLs that are data; it raises an UpstreamError."""
    policy = FetchPolicy(
        allowed_hosts=frozenset(shared.allowed_image_hosts), max_bytes=30 * 1024 * 1024, total_deadline=20.0
    )
    return lambda url: fetch_image(url, policy).body
