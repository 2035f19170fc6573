"""Amazon's pictures as we fetch them ourselves, for people and for the image checks; Plytix fetches its own.

What belongs here: their addresses in any size, one careful fetch. What does not: what is made of a picture (quality.py,
operations/thumbnails.py), keys and file names (rules.py).
"""

from collections.abc import Callable

from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image

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
