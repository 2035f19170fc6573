"""Images of the main account to kept content: each once, for all child accounts.

What belongs here: downloading, decoding whole, making smaller where an account wants it. What does not: the download's
own steps (api/account.py), keeping (storage/contents.py), which images are needed (apply_stages.py).
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from imagesync_pipelines.accounts.moysklad import MAIN
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import AccountRefusedError, AccountStoppedError, NotAllowedError
from imagesync_pipelines.connectors.moysklad.model import NAME, ImageRow, Wanted
from imagesync_pipelines.connectors.moysklad.rules import image_of
from imagesync_pipelines.imaging.shrinking import CannotShrinkError, shrink
from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.storage.contents import Content, Contents
from imagesync_pipelines.sync.apply import error_reason
from imagesync_pipelines.upstream.errors import DeadlineExceededError, UpstreamError

# How long content that a run needs is kept for it, whatever a clean-up is told; a run that takes longer downloads anew.
HOLD = timedelta(hours=12)
TIMED_OUT = "Download timeout: "


@dataclass
class Downloads:
    """What became of the images that were needed.

    kept: by identity. failed: identity to reason. downloaded: names and bytes of those that came now. stopped: why the
    rest was left, '' when nothing was.
    """

    kept: dict[str, Content] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    downloaded: list[tuple[str, int]] = field(default_factory=list)
    reencoded: int = 0
    left: int = 0
    stopped: str = ""


def source_of(source: str) -> str:
    """The name under which the content of an image of the main account is kept."""
    return f"{NAME}:{MAIN}:{source}"


def kept_of(contents: Contents, sources: Iterable[str]) -> dict[str, Content]:
    """What is kept of these images, by identity, and held for this run."""
    names = {source_of(source): source for source in sources}
    return {names[name]: content for name, content in contents.hold(names, HOLD).items()}


def download_all(
    api: MoyskladApi,
    contents: Contents,
    images: Mapping[str, Wanted],
    *,
    workers: int,
    on_progress: Callable[[int], None],
) -> Downloads:
    """Have the content of these images (by identity), downloading what is not kept; one that fails stops no other.

    When the main account stops, the rest is left. Raises AccountRefusedError and NotAllowedError.
    """
    done = Downloads(kept=kept_of(contents, images))
    missing = [image for source, image in sorted(images.items()) if source not in done.kept]
    lock = threading.Lock()
    finished = 0

    def fetch(image: Wanted) -> None:
        nonlocal finished
        with lock:
            if done.stopped:
                done.left += 1
                return
        content, why, stopped, size = None, "", "", 0
        try:
            content, size = _fetched(api, contents, image)
        except (AccountRefusedError, NotAllowedError):
            raise
        except AccountStoppedError as error:
            stopped = error_reason(error)
        except DeadlineExceededError as error:
            why = TIMED_OUT + str(error)
        except (UpstreamError, BadImageError, CannotShrinkError) as error:
            why = error_reason(error)
        with lock:
            finished += 1
            on_progress(finished)
            done.stopped = done.stopped or stopped
            done.left += bool(stopped)
            done.reencoded += content is not None and bool(image.limit)
            if size:
                done.downloaded.append((image.filename or image_of(image.source), size))
            if content is not None:
                done.kept[image.source] = content
            elif why:
                done.failed[image.source] = why

    with ThreadPoolExecutor(workers, thread_name_prefix="download") as pool:
        for _ in pool.map(fetch, missing):
            pass
    return done


def _fetched(api: MoyskladApi, contents: Contents, image: Wanted) -> tuple[Content, int]:
    """The content of an image and how many bytes were downloaded for it; nobody else downloads it meanwhile."""
    source = image_of(image.source)
    with contents.fetching(source_of(source)) as found:
        size = 0
        if found is None:
            body = api.download(_row(image, source))
            size = len(body)
            found = contents.put(source_of(source), body, check_image(body), HOLD)
        if not image.limit:
            return found, size
        smaller = shrink(contents.read(found), image.limit)
    return contents.put(source_of(image.source), smaller, check_image(smaller), HOLD), size


def _row(image: Wanted, image_id: str) -> ImageRow:
    """The image as its account lists it, as far as a download asks for it."""
    now = datetime.now(UTC)
    return ImageRow(image_id, image.filename, image.size, "", now, image.download_href, image.permanent_href)
