"""How good the pictures of the listings are: size, decodable, white behind MAIN, shown twice, products without MAIN.

Nothing is kept from Plytix because of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

from imagesync_pipelines.connectors.plytix.model import Listing
from imagesync_pipelines.connectors.plytix.rules import MAIN
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.imaging.perceptual_hash import distance, perceptual_hash_of
from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image

# Of 64 bits; the same picture in another size differs in a few, two pictures of one shoe in a dozen.
ALIKE_BITS = 3
# Share of the border: a product may touch it.
WHITE_SHARE = 0.9

Fetch = Callable[[str], bytes]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a picture of a product; key is '' where no picture is meant."""

    sku: str
    key: str
    what: str


@dataclass(frozen=True)
class Quality:
    """What was found, by check. looked_at: pictures that were fetched and decoded; contents: their SHA-256 by key."""

    looked_at: int
    small: tuple[Finding, ...]
    undecodable: tuple[Finding, ...]
    not_white: tuple[Finding, ...]
    twins: tuple[Finding, ...]
    without_main: tuple[Finding, ...]
    contents: Mapping[str, str]


@dataclass(frozen=True)
class _Seen:
    """A picture that was looked at; `fault` says why it could not be, then the rest is empty."""

    fault: str = ""
    longest: int = 0
    white_edge: float = 0.0
    hash: int = 0
    sha256: str = ""


def look_at_pictures(
    listings: Sequence[Listing],
    fetch: Fetch,
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
    return Quality(
        looked_at=len(keys),
        small=tuple(_small(listings, seen, min_longest_side)),
        undecodable=tuple(
            Finding(listing.sku, image.key, seen[image.key].fault)
            for listing in chosen
            for image in listing.images
            if seen[image.key].fault
        ),
        not_white=tuple(_not_white(chosen, seen)),
        twins=tuple(_twins(chosen, seen)),
        without_main=tuple(
            Finding(listing.sku, "", "it has images, but no MAIN")
            for listing in listings
            if listing.images and listing.main is None
        ),
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


def _look(fetch: Fetch, url: str) -> _Seen:
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


def _not_white(listings: Sequence[Listing], seen: Mapping[str, _Seen]) -> Iterator[Finding]:
    for listing in listings:
        for image in listing.images:
            picture = seen[image.key]
            if image.variant == MAIN and not picture.fault and picture.white_edge < WHITE_SHARE:
                yield Finding(
                    listing.sku,
                    image.key,
                    f"the border of MAIN is white by {picture.white_edge:.0%} only, not all round",
                )


def _twins(listings: Sequence[Listing], seen: Mapping[str, _Seen]) -> Iterator[Finding]:
    """Pairs of pictures of one listing that look the same."""
    for listing in listings:
        good = [image for image in listing.images if not seen[image.key].fault]
        for one, other in combinations(good, 2):
            if distance(seen[one.key].hash, seen[other.key].hash) <= ALIKE_BITS:
                yield Finding(listing.sku, other.key, f"{other.variant} looks the same as {one.variant}")


# The longest side of a picture that is shown small, as Amazon scales it.
SMALL_SIDE = 75
LARGEST_BYTES = 30 * 1024 * 1024
SECONDS = 20.0


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
