"""The step content: images of the main account to kept content, each once for all child accounts; forgetting it."""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.child import ChildRun, child_of, look_at, main_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountForbiddenError,
    AccountRefusedError,
    AccountStoppedError,
)
from imagesync_pipelines.connectors.moysklad.model import NAME, ChildRecord, ContentFetched, ImageRow, Wanted
from imagesync_pipelines.connectors.moysklad.planning import needed_of, tasks_of
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.rules import MB, image_of
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.imaging.derivatives import CannotShrinkError, shrink
from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.storage.contents import Content, Contents
from imagesync_pipelines.sync.applied import ApplyOptions
from imagesync_pipelines.sync.apply import error_reason
from imagesync_pipelines.sync.steps import CheckResult, Pictures, RunContext, StepResult, Texts
from imagesync_pipelines.upstream.errors import DeadlineExceededError, UpstreamError

CONTENT = "content"
# How long content that a run needs is kept for it, whatever a clean-up is told; a run that takes longer downloads anew.
HOLD = timedelta(hours=12)
TIMED_OUT = "Download timeout: "
# Requests that are done are kept for people to look at; all others stay for good.
QUEUE_KEPT = timedelta(days=30)
_SHOWN = 20
_PICTURES_SHOWN = 12
_KB = 1000


def content(context: RunContext[MoyskladSettings], options: ApplyOptions) -> StepResult:
    """The pictures that the plan needs, each downloaded once for all child accounts."""
    child = child_of(context)
    with main_api(context) as main:
        found = fetch_content(child, main, plan_id=options.plan_id)
    return StepResult(
        rows=found.disk_count,
        size=found.disk_bytes,
        numbers={
            "images/downloaded": len(found.downloaded),
            "images/content_kept": found.kept,
            "images/content_failed": len(found.failed),
            "images/reencoded": found.reencoded,
            "bytes/downloaded": found.bytes,
            "disk/images": found.disk_count,
            "disk/bytes": found.disk_bytes,
            "api/calls": found.calls,
        },
        shown={
            "failed": Texts([f"{key}: {why}" for key, why in sorted(found.failed.items())]),
            "pictures": pictures_of_plan(child, found.plan_id, _PICTURES_SHOWN),
            "stopped": found.stopped or "-",
        },
        lines=content_lines(child, found),
        warnings=[found.stopped] if found.stopped else (),
    )


def fetch_content(child: ChildRun, main: MoyskladApi, *, plan_id: int | None = None) -> ContentFetched:
    """Have the content of the images that a stored plan needs; each is downloaded once for all child accounts.

    An image that cannot be had stops no other; when the main account stops, the rest is left. Raises SkippedOffError,
    PlanMissingError, NoPlanOfThisRunError, AccountRefusedError, AccountForbiddenError.
    """
    child.refuse_off()
    context, calls = child.context, main.calls
    header = context.plan_to_apply(plan_id)
    tasks = tasks_of(context.plans.need_payload(header.id))
    records = child.state.records(tasks)
    needed = {
        image.source: image
        for group, task in tasks.items()
        for image in needed_of(task, records.get(group, ChildRecord()))
    }
    kept = kept_of(child.contents, needed)
    done = _Downloads(main, child.contents, lambda number: context.progress("images downloaded", number, len(needed)))
    with ThreadPoolExecutor(context.settings.workers, thread_name_prefix="download") as pool:
        for _ in pool.map(done.fetch, [image for source, image in sorted(needed.items()) if source not in kept]):
            pass
    count, size = child.contents.used()
    found = ContentFetched(
        run_id=context.run_id,
        plan_id=header.id,
        needed=len(needed),
        kept=len(needed) - len(done.downloaded) - len(done.failed) - done.left,
        downloaded=tuple(done.downloaded),
        reencoded=done.reencoded,
        failed=done.failed,
        left=done.left,
        stopped=done.stopped,
        calls=main.calls - calls,
        disk_count=count,
        disk_bytes=size,
    )
    context.keep(CONTENT, found)
    return found


def pictures_of_plan(child: ChildRun, plan_id: int, number: int) -> Pictures:
    """The first images of a stored plan whose content is kept, each once, for people to see what changes."""
    payload = child.context.plans.load_payload(plan_id)
    tasks = tasks_of(payload) if payload is not None else {}
    names = {source_of(image.source): image.filename for task in tasks.values() for image in task.images}
    kept = child.contents.find(names)
    shown = [(name, source) for source, name in names.items() if source in kept][:number]
    return Pictures(shown, lambda source: child.contents.read(kept[source]))


def every_picture_could_be_had(context: RunContext[MoyskladSettings]) -> Mapping[str, CheckResult]:
    """Which pictures of the plan could not be downloaded, or not decoded."""
    found = look_at(context, CONTENT, ContentFetched)
    problems = [f"{key}: {why}" for key, why in sorted(found.failed.items())]
    result = CheckResult(
        not problems and not found.left,
        f"{len(problems)} pictures could not be had, {found.left} wait for the next run",
        {"pictures": Texts(problems), "number": len(problems)},
    )
    return {"every_picture_could_be_had": result}


def forget_content(context: RunContext[MoyskladSettings], options: BaseModel) -> StepResult:
    """Remove image content that no run used for a while, and requests done long ago."""
    place, hours = context.installation, context.settings.content_hours
    gone = Contents(place.engine, place.storage).forget_older(hours)
    requests = Queue(place.engine).forget_done(datetime.now(UTC) - QUEUE_KEPT)
    line = (
        f"{gone.count} pictures with {gone.bytes:,} bytes were not used for {hours:g} hours and are removed, "
        f"{gone.in_use} are in use; {requests} requests done long ago are forgotten."
    )
    return StepResult(lines=[line])


def content_lines(child: ChildRun, found: ContentFetched) -> list[str]:
    """What became of the content, for the log: the first images by name, the rest in numbers."""
    lines = [
        f"{child.alias}: {len(found.downloaded)} images downloaded ({found.bytes / MB:.1f} MB), {found.kept} were kept,"
        f" {len(found.failed)} failed, {found.left} wait for the next run; {found.disk_bytes / MB:.1f} MB on disk."
    ]
    lines += [f"Image downloaded: {name} ({size / _KB:.1f} KB)" for name, size in found.downloaded[:_SHOWN]]
    lines += list(found.failed.values())[:_SHOWN]
    return lines


def source_of(source: str) -> str:
    """The name under which the content of an image of the main account is kept."""
    return f"{NAME}:{MAIN}:{source}"


def kept_of(contents: Contents, sources: Iterable[str]) -> dict[str, Content]:
    """What is kept of these images, by identity, and held for this run."""
    names = {source_of(source): source for source in sources}
    return {names[name]: content for name, content in contents.hold(names, HOLD).items()}


class _Downloads:
    """Images of the main account that are not kept, downloaded by several threads; see ContentFetched."""

    def __init__(self, main: MoyskladApi, contents: Contents, on_progress: Callable[[int], None]) -> None:
        self._main, self._contents, self._on_progress = main, contents, on_progress
        self._lock = threading.Lock()
        self._finished = 0
        self.failed: dict[str, str] = {}
        self.downloaded: list[tuple[str, int]] = []
        self.reencoded = 0
        self.left = 0
        self.stopped = ""

    def fetch(self, image: Wanted) -> None:
        """Have the content of one image. Raises AccountRefusedError and AccountForbiddenError."""
        size, why, stopped = 0, "", self.stopped
        try:
            if not stopped:
                size = _fetched(self._main, self._contents, image)
        except (AccountRefusedError, AccountForbiddenError):
            raise
        except AccountStoppedError as error:
            stopped = error_reason(error)
        except DeadlineExceededError as error:
            why = TIMED_OUT + str(error)
        except (UpstreamError, BadImageError, CannotShrinkError) as error:
            why = error_reason(error)
        with self._lock:
            if stopped:
                self.stopped, self.left = self.stopped or stopped, self.left + 1
                return
            self._finished += 1
            self._on_progress(self._finished)
            if why:
                self.failed[image.source] = why
                return
            self.reencoded += bool(image.limit)
            if size:
                self.downloaded.append((image.filename or image_of(image.source), size))


def _fetched(api: MoyskladApi, contents: Contents, image: Wanted) -> int:
    """Have the content of an image, downloading it unless somebody else does: how many bytes were downloaded."""
    source = image_of(image.source)
    with contents.fetching(source_of(source)) as found:
        size = 0
        if found is None:
            hrefs = (image.download_href, image.permanent_href)
            body = api.download(ImageRow(source, image.filename, image.size, "", datetime.now(UTC), *hrefs))
            size = len(body)
            found = contents.put(source_of(source), body, check_image(body), HOLD)
        if not image.limit:
            return size
        smaller = shrink(contents.read(found), image.limit)
    contents.put(source_of(image.source), smaller, check_image(smaller), HOLD)
    return size
