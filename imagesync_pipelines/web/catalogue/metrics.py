"""What machines that watch us ask: is the process up, can it work, and what are the numbers (Prometheus)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

import sqlalchemy as sa
from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response

from imagesync_pipelines.storage.database import HEAD, VERSION_TABLE
from imagesync_pipelines.storage.rate_budget import budgets
from imagesync_pipelines.storage.schema import SCHEMA, intent, product, product_image, quarantine, unmatched_article
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.derivatives import Derivatives
from imagesync_pipelines.web.catalogue.pages.rendering import Here, freshness
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)

# The runs that are counted: those of the last days, however many connectors there are.
RUNS = 100
TEXT = "text/plain; version=0.0.4; charset=utf-8"
NOT_KEPT = {"Cache-Control": "no-store"}
CALLERS = "catalogue:"
STATUSES = ("in_progress", "completed", "failed")


@router.get("/healthz")
def healthz() -> Response:
    """The process answers; nothing else is asked."""
    return JSONResponse({"status": "ok"}, headers=NOT_KEPT)


@router.get("/readyz")
def readyz(opened: Here) -> Response:
    """Whether requests can be answered: the database is as new as the code, and the storage can be reached."""
    checks = {"database": _database(opened.engine), "storage": _storage(opened)}
    ready = all(found == "ok" for found in checks.values())
    told = {"status": "ok" if ready else "not ready", **checks}
    return JSONResponse(told, 200 if ready else 503, headers=NOT_KEPT)


@router.get("/metrics")
def metrics(request: Request, opened: Here) -> Response:
    """The numbers, read when they are asked for. What cannot be read is left out and counted as such."""
    derivatives: Derivatives = request.app.state.derivatives
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers(opened, derivatives))
    return Response(generate_latest(registry), headers=NOT_KEPT, media_type=TEXT)


class Numbers(Collector):
    """All numbers of this installation, for one answer."""

    def __init__(self, opened: Opened, derivatives: Derivatives) -> None:
        self._opened = opened
        self._derivatives = derivatives

    def collect(self) -> Iterator[Metric]:
        """Every number; `imagesync_source_up` says which of their sources answered."""
        up = _gauge("source_up", "1: what these numbers are read from answers", ["source"])
        now = self._opened.clock()
        try:
            yield from [
                *_kept(self._opened.engine),
                *_lag(self._opened.engine, now),
                *_budgets(self._opened.engine, now),
            ]
            up.add_metric(["database"], 1)
        except SQLAlchemyError:
            up.add_metric(["database"], 0)
        try:
            yield from _runs(self._opened.read_runs(RUNS, None))
            up.add_metric(["dagster"], 1)
        except Exception:  # noqa: BLE001 - whoever handed this in may raise anything
            up.add_metric(["dagster"], 0)
        copies = CounterMetricFamily("imagesync_smaller_copies", "smaller copies of pictures", labels=["outcome"])
        for outcome in ("kept", "made", "failed"):
            copies.add_metric([outcome], self._derivatives.tally[outcome])
        yield copies
        yield up


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


def _kept(engine: sa.Engine) -> list[Metric]:
    """Images, products, and what waits for somebody."""
    primary = sa.cast(product_image.c.is_primary, sa.Text)
    has_image = sa.cast(sa.exists().where(product_image.c.product_id == product.c.id), sa.Text)
    there, waits = product.c.left_erp_at.is_(None), (quarantine.c.connector, quarantine.c.stage)
    count = sa.func.count()
    asked = (
        (_gauge("images", "product images", ["primary"]), sa.select(primary, count).group_by(sa.text("1"))),
        (
            _gauge("products", "products that the ERP has", ["with_image"]),
            sa.select(has_image, count).where(there).group_by(sa.text("1")),
        ),
        (
            _gauge("quarantined", "items that failed and wait in quarantine", ["connector", "stage"]),
            sa.select(*waits, count).group_by(*waits),
        ),
        (
            _gauge("open_intents", "groups whose last write has no known outcome", ["connector"]),
            sa.select(intent.c.connector, count).group_by(intent.c.connector),
        ),
        (
            _gauge("unmatched_articles", "article numbers of images that no product has"),
            sa.select(count).select_from(unmatched_article),
        ),
    )
    with engine.connect() as connection:
        for gauge, query in asked:
            for *labels, counted in connection.execute(query):
                gauge.add_metric(labels, counted)
    return [gauge for gauge, _ in asked]


def _lag(engine: sa.Engine, now: datetime) -> list[Metric]:
    read = _gauge("read_age_seconds", "since a connector's source was last read whole", ["connector"])
    applied = _gauge("applied_age_seconds", "since a plan of a connector was last applied", ["connector"])
    for connector, found in freshness(engine).items():
        if found.read_at is not None:
            read.add_metric([connector], (now - found.read_at).total_seconds())
        if found.applied_at is not None:
            applied.add_metric([connector], (now - found.applied_at).total_seconds())
    return [read, applied]


def _budgets(engine: sa.Engine, now: datetime) -> list[Metric]:
    """The principals of rate_budget are names of accounts, never secrets; what our callers may is counted there too."""
    labels = ["account", "window_seconds"]
    limit = _gauge("calls_allowed", "calls that an account may make in a window", labels)
    free = _gauge("calls_left", "calls left to an account in the window that ends now", labels)
    blocked = _gauge("calls_blocked_seconds", "how long an account was told to wait", labels)
    for account, windows in budgets(engine, now.timestamp()).items():
        if account.startswith(CALLERS):
            continue
        for one in windows:
            named = [account, str(one.window.seconds)]
            limit.add_metric(named, one.window.calls)
            free.add_metric(named, one.left)
            blocked.add_metric(named, one.blocked_seconds)
    return [limit, free, blocked]


def _runs(newest_first: Iterable[PastRun]) -> list[Metric]:
    """Of the last hundred runs: how many ended how, and what the newest of each connector did."""
    counted = _gauge("runs", f"runs among the last {RUNS}, by how they ended", ["connector", "status"])
    ended = _gauge("last_run_ended_timestamp_seconds", "when the newest run of a connector ended", ["connector"])
    seconds = _gauge("last_run_seconds", "how long the newest run of a connector took", ["connector"])
    failed = _gauge("last_run_failed", "1: the newest run of a connector failed", ["connector"])
    changed = _gauge("last_run_images", "images that the newest run of a connector changed", ["connector", "change"])
    runs = list(newest_first)
    numbers = Counter((run.connector or "", run.status) for run in runs)
    newest = {run.connector or "": run for run in reversed(runs) if run.completed is not None}
    for connector in sorted({connector for connector, _ in numbers}):
        for status in STATUSES:
            counted.add_metric([connector, status], numbers[connector, status])
    for connector, run in newest.items():
        if run.completed is not None:
            ended.add_metric([connector], run.completed.timestamp())
        if run.completed is not None and run.started is not None:
            seconds.add_metric([connector], (run.completed - run.started).total_seconds())
        failed.add_metric([connector], run.status == "failed")
        for change, images in (("added", run.added), ("updated", run.updated), ("deleted", run.deleted)):
            if images is not None:
                changed.add_metric([connector, change], images)
    return [counted, ended, seconds, failed, changed]


def _gauge(name: str, text: str, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"imagesync_{name}", text, labels=list(labels))
