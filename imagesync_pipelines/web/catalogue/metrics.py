"""What machines that watch us ask: is the process up, can it work, and what are the numbers (Prometheus)."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response

from imagesync_pipelines.storage.database import HEAD, VERSION_TABLE
from imagesync_pipelines.storage.rate_budget import budgets
from imagesync_pipelines.storage.schema import (
    SCHEMA,
    alert,
    intent,
    product,
    product_image,
    quarantine,
    unmatched_article,
)
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.pages.pictures import Derivatives
from imagesync_pipelines.web.catalogue.pages.rendering import Here, freshness
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)

# The runs that are counted: those of the last days, however many connectors there are.
RUNS = 100
TEXT = "text/plain; version=0.0.4; charset=utf-8"
NOT_KEPT = {"Cache-Control": "no-store"}
STATUSES = ("in_progress", "completed", "failed")
# Names, to prometheus_client, the folder where several processes count together; one that is killed leaves its counts.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def counting_together() -> Iterator[None]:
    """Let the processes that are started meanwhile count together."""
    with tempfile.TemporaryDirectory(prefix="imagesync-counts-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


@router.get("/healthz")
def healthz() -> Response:
    """The process answers; nothing else is asked."""
    return JSONResponse({"status": "ok"}, headers=NOT_KEPT)


@router.get("/readyz")
def readyz(opened: Here) -> Response:
    """Whether requests can be answered: the database is as new as the code, and the storage can be reached.

    Dagster's daemon is told of too, but a silent one keeps no page from being answered.
    """
    checks = {"database": _database(opened.engine), "storage": _storage(opened)}
    ready = all(found == "ok" for found in checks.values())
    told = {"status": "ok" if ready else "not ready", **checks, "daemon": _daemon(opened)}
    return JSONResponse(told, 200 if ready else 503, headers=NOT_KEPT)


@router.get("/readyz/daemon")
def ready_daemon(opened: Here) -> Response:
    """Whether Dagster's daemon works, for a monitor outside: it cannot tell itself that it stopped."""
    told = _daemon(opened)
    return JSONResponse({"daemon": told}, 200 if told == "ok" else 503, headers=NOT_KEPT)


@router.get("/metrics")
def metrics(request: Request, opened: Here) -> Response:
    """The numbers, read when they are asked for. What cannot be read is left out and counted as such."""
    numbers = Numbers(opened, request.app.state.derivatives)
    return Response(generate_latest(numbers), headers=NOT_KEPT, media_type=TEXT)


@dataclass(eq=False)
class Numbers(Collector):
    """All numbers of this installation, for one answer."""

    opened: Opened
    derivatives: Derivatives

    def collect(self) -> Iterator[Metric]:
        """Every number; `imagesync_source_up` says which of their sources answered."""
        # Whoever handed in read_runs may raise anything.
        sources: dict[str, tuple[Callable[[], list[Metric]], type[Exception]]] = {
            "database": (lambda: _kept(self.opened), SQLAlchemyError),
            "dagster": (lambda: _runs(self.opened.read_runs(RUNS, None)), Exception),
        }
        up = []
        for source, (read, errors) in sources.items():
            try:
                yield from read()
                up.append((source, 1))
            except errors:
                up.append((source, 0))
        # It has no types.
        together: Any = MultiProcessCollector
        counted: Iterable[Metric] = (
            together(None).collect() if FOLDER in os.environ else self.derivatives.tally.collect()
        )
        for metric in counted:
            metric.samples = [sample for sample in metric.samples if sample.name.endswith("_total")]
            yield metric
        yield _gauge("source_up", "1: what these numbers are read from answers", ["source"], up)
        yield _gauge(
            "daemon_up", "1: Dagster's daemon works, as /readyz/daemon says", [], [(_daemon(self.opened) == "ok",)]
        )


def _database(engine: sa.Engine) -> str:
    try:
        with engine.connect() as connection:
            version = connection.execute(sa.text(f"SELECT version_num FROM {SCHEMA}.{VERSION_TABLE}")).scalar()  # noqa: S608
    except SQLAlchemyError:
        return "does not answer"
    return "ok" if version == HEAD else f"is at version {version}, this program at {HEAD}"


def _storage(opened: Opened) -> str:
    try:
        opened.storage.exists()
    except Exception:  # noqa: BLE001 - every kind of store has errors of its own
        return "does not answer"
    return "ok"


def _daemon(opened: Opened) -> str:
    try:
        return opened.silent_daemon() or "ok"
    except Exception:  # noqa: BLE001 - whoever handed it in may raise anything
        return "cannot be looked at: Dagster's database does not answer"


def _kept(opened: Opened) -> list[Metric]:
    """Images, products, what waits for somebody, how old it all is, and what is left of the accounts' budgets."""
    now = opened.clock()
    primary = sa.cast(product_image.c.is_primary, sa.Text)
    has_image = sa.cast(sa.exists().where(product_image.c.product_id == product.c.id), sa.Text)
    there, waits = product.c.left_erp_at.is_(None), (quarantine.c.connector, quarantine.c.stage)
    ages = freshness(opened.engine).items()
    read = [(name, (now - one.read_at).total_seconds()) for name, one in ages if one.read_at]
    applied = [(name, (now - one.applied_at).total_seconds()) for name, one in ages if one.applied_at]
    # The principals are names of accounts, never secrets; what our callers may is counted there too.
    windows = [
        (account, one.window.seconds, one)
        for account, of_account in budgets(opened.engine, now.timestamp()).items()
        if not account.startswith("catalogue:")
        for one in of_account
    ]
    connector, window, count = ["connector"], ["account", "window_seconds"], sa.func.count()
    by_primary = sa.select(primary, count).group_by(sa.text("1"))
    by_picture = sa.select(has_image, count).where(there).group_by(sa.text("1"))
    by_stage = sa.select(*waits, count).group_by(*waits)
    by_intent = sa.select(intent.c.connector, count).group_by(intent.c.connector)
    articles = sa.select(count).select_from(unmatched_article)
    untold = sa.select(count).select_from(alert).where(alert.c.due_at.is_not(None))
    with opened.engine.connect() as connection:
        ask = connection.execute
        return [
            _gauge("images", "product images", ["primary"], ask(by_primary)),
            _gauge("products", "products that the ERP has", ["with_image"], ask(by_picture)),
            _gauge("quarantined", "items that failed and wait in quarantine", [*connector, "stage"], ask(by_stage)),
            _gauge("open_intents", "groups whose last write has no known outcome", connector, ask(by_intent)),
            _gauge("unmatched_articles", "article numbers of images that no product has", [], ask(articles)),
            _gauge("alerts_waiting", "alerts that reached none of their targets and are sent again", [], ask(untold)),
            _gauge("read_age_seconds", "since a connector's source was last read whole", connector, read),
            _gauge("applied_age_seconds", "since a plan of a connector was last applied", connector, applied),
            _gauge("calls_allowed", "calls that an account may make in a window", window,
                   [(*names, one.window.calls) for *names, one in windows]),
            _gauge("calls_left", "calls left to an account in the window that ends now", window,
                   [(*names, one.left) for *names, one in windows]),
            _gauge("calls_blocked_seconds", "how long an account was told to wait", window,
                   [(*names, one.blocked_seconds) for *names, one in windows]),
        ]  # fmt: skip


def _runs(newest_first: Sequence[PastRun]) -> list[Metric]:
    """Of the last hundred runs: how many ended how, and what the newest of each connector did."""
    counts = Counter((run.connector or "", run.status) for run in newest_first)
    names = sorted({connector for connector, _ in counts})
    newest = {run.connector or "": run for run in reversed(newest_first) if run.completed is not None}
    numbers = [(name, status, counts[name, status]) for name in names for status in STATUSES]
    ends = [(name, run.completed.timestamp()) for name, run in newest.items() if run.completed]
    took = [
        (name, (run.completed - run.started).total_seconds())
        for name, run in newest.items()
        if run.completed and run.started
    ]
    changes = [
        (name, change, images)
        for name, run in newest.items()
        for change, images in (("added", run.added), ("updated", run.updated), ("deleted", run.deleted))
        if images is not None
    ]
    failed = [(name, run.status == "failed") for name, run in newest.items()]
    connector = ["connector"]
    return [
        _gauge("runs", f"runs among the last {RUNS}, by how they ended", [*connector, "status"], numbers),
        _gauge("last_run_ended_timestamp_seconds", "when the newest run of a connector ended", connector, ends),
        _gauge("last_run_seconds", "how long the newest run of a connector took", connector, took),
        _gauge("last_run_failed", "1: the newest run of a connector failed", connector, failed),
        _gauge("last_run_images", "images that the newest run of a connector changed", [*connector, "change"], changes),
    ]


def _gauge(name: str, text: str, labels: list[str], samples: Iterable[Sequence[Any]]) -> GaugeMetricFamily:
    """A number with its samples: the values of the labels, and last the value."""
    gauge = GaugeMetricFamily(f"imagesync_{name}", text, labels=labels)
    for *names, value in samples:
        gauge.add_metric([str(one) for one in names], value)
    return gauge
