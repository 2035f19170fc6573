"""What stores report about their photos, and how every store is doing by that.

Better than the original, which printed and forgot: reports are kept, and sending one twice changes nothing. A photo
that is unknown here is accepted: it may be gone since the store read it.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, WithJsonSchema
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.web.head_office.answers import REFUSALS, in_words, refused
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.reading import Moment
from imagesync_pipelines.web.head_office.tables import photo, scope, store, sync_report
from imagesync_pipelines.web.head_office.tokens import Caller, Office, admit, readable

ERROR_CHARACTERS = 2000

router = APIRouter(prefix="/api/v1/sync", tags=["reports"])


def _storable(text: str) -> str:
    """What the database cannot hold (NUL, half a surrogate pair) goes, what is too long is cut: no report is lost."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:ERROR_CHARACTERS]


def _parse_moment(value: object) -> object:
    """An ISO 8601 text; one without a time zone is UTC, as the seed's edges write it."""
    if value is None:
        return None
    with suppress(ValueError, OverflowError, TypeError):
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    raise ValueError("not a time like 2026-02-03T10:00:00Z")


class ReceivedReport(BaseModel):
    """What became of one photo in the store."""

    photo_id: UUID
    status: Literal["synced", "failed"]
    synced_at: Annotated[datetime | None, BeforeValidator(_parse_moment)] = None
    error: Annotated[str, AfterValidator(_storable)] | None = None


class StatusBatch(BaseModel):
    """The report of one store. Of a batch each report stands for itself."""

    store_id: UUID
    sync_batch: Annotated[list[Any], WithJsonSchema({"type": "array", "items": ReceivedReport.model_json_schema()})] = (
        Field(default=[])
    )


class IgnoredReport(BaseModel):
    """A report that says nothing about a photo that there could be; `nth` counts from 0."""

    nth: int
    reason: str


class StatusAnswer(BaseModel):
    """How many reports were received, and which of them say nothing that can be kept."""

    status: Literal["success"] = "success"
    message: str
    ignored: list[IgnoredReport] | None = None


def _read(batch: Sequence[Any]) -> tuple[list[ReceivedReport], list[IgnoredReport]]:
    """The reports of a batch that can be read, and why each of the others cannot: one bad one loses none."""
    good, ignored = [], []
    for nth, sent in enumerate(batch):
        try:
            good.append(ReceivedReport.model_validate(sent))
        except ValidationError as error:
            reason = "; ".join(in_words({**item, "loc": ("", *item["loc"])}) for item in error.errors())
            ignored.append(IgnoredReport(nth=nth, reason=reason))
    return good, ignored


@router.post("/product-photos/status/", responses=REFUSALS, response_model_exclude_none=True)
def report_status(office: Office, caller: Caller, batch: StatusBatch) -> StatusAnswer:
    """Report what became of photos. The last report about a photo counts; sending a batch again changes nothing.

    A report that cannot be read is told in `ignored`, and the others are kept.
    """
    if len(batch.sync_batch) > office.settings.max_reports:
        most = office.settings.max_reports
        raise refused(400, f"sync_batch has {len(batch.sync_batch)} photos; send {most} at most at once")
    now = office.clock()
    good, ignored = _read(batch.sync_batch)
    # The last one wins, also within a batch.
    rows: dict[UUID, dict[str, Any]] = {
        report.photo_id: {"store_id": batch.store_id, "reported_at": now, **report.model_dump()} for report in good
    }
    statement = insert(sync_report)
    news = {name: statement.excluded[name] for name in ("status", "synced_at", "error", "reported_at")}
    statement = statement.on_conflict_do_update(index_elements=["store_id", "photo_id"], set_=news)
    with office.engine.begin() as connection:
        admit(connection, caller, batch.store_id)
        if rows:
            # In one order, so that two batches at once wait for each other instead of blocking each other.
            connection.execute(statement, [rows[photo_id] for photo_id in sorted(rows)])
    return StatusAnswer(
        message=f"Sync status updated for {len(batch.sync_batch)} photos", ignored=ignored[:SHOWN_FAILURES] or None
    )


SHOWN_FAILURES = 20


class Failure(BaseModel):
    """A photo that the store could not take."""

    photo_id: UUID
    error: str | None
    reported_at: Moment


class StoreHealth(BaseModel):
    """One store; all counts are of photos that it sees now."""

    store_id: UUID
    code: str
    name: str
    is_active: bool
    last_report_at: Moment | None = Field(description="null: this store never reported")
    photos: int = Field(description="photos with bytes")
    without_image: int = Field(description="rows without bytes; no store can have these")
    synced: int
    failed: int
    waiting: int = Field(description="photos not reported as synced, the failed ones included")
    lag_seconds: float = Field(description="how long the oldest waiting photo has waited; 0 when none does")
    failures: list[Failure] = Field(description="the newest failures, 20 at most")


class Health(BaseModel):
    """All stores that the account may read."""

    stores: list[StoreHealth]
    server_time: Moment


class HealthAnswer(BaseModel):
    """The envelope."""

    status: Literal["success"] = "success"
    data: Health


@router.get("/health/", responses={code: REFUSALS[code] for code in (401, 503, "default")})
def health(office: Office, caller: Caller) -> HealthAnswer:
    """How far every store is: last report, synced and failed photos, lag."""
    with office.engine.connect() as connection:
        which = readable(connection, caller)
    return HealthAnswer(data=store_health(office, which))


def store_health(office: HeadOffice, which: sa.ColumnElement[bool]) -> Health:
    """The health of the stores that a condition on the store table names, by code."""
    now = office.clock()
    has_bytes = ((photo.c.checksum != "") & (photo.c.size > 0)).label("has_bytes")
    seen = scope().add_columns(photo.c.updated_at, has_bytes).where(which).subquery()
    about = (sync_report.c.store_id == seen.c.store_id) & (sync_report.c.photo_id == seen.c.photo_id)
    with office.engine.connect() as connection:
        rows = connection.execute(_counts(seen, about).where(which)).mappings().all()
        failures = connection.execute(_failures(seen, about)).mappings().all()
    shown: dict[UUID, list[Failure]] = {}
    for one in failures:
        shown.setdefault(one["store_id"], []).append(Failure(**one))
    stores = []
    for row in rows:
        lag = max(0.0, (now - (row["oldest"] or now)).total_seconds())
        stores.append(StoreHealth(**row, lag_seconds=lag, failures=shown.get(row["store_id"], [])))
    return Health(stores=stores, server_time=now)


def _counts(seen: sa.Subquery, about: sa.ColumnElement[bool]) -> sa.Select:
    """The numbers of each store, 0 for one that sees nothing."""
    status = sync_report.c.status
    waiting = seen.c.has_bytes & status.is_distinct_from("synced")
    conditions = {
        "photos": seen.c.has_bytes,
        "without_image": ~seen.c.has_bytes,
        "synced": status == "synced",
        "failed": status == "failed",
        "waiting": waiting,
    }
    last = sa.select(sa.func.max(sync_report.c.reported_at)).where(sync_report.c.store_id == store.c.id)
    return (
        sa.select(
            store.c.id.label("store_id"), store.c.code, store.c.name, store.c.is_active,
            last.correlate(store).scalar_subquery().label("last_report_at"),
            sa.func.min(seen.c.updated_at).filter(waiting).label("oldest"),
            *(sa.func.count(seen.c.photo_id).filter(this).label(name) for name, this in conditions.items()),
        )
        .outerjoin(seen, seen.c.store_id == store.c.id).outerjoin(sync_report, about)
        .group_by(store.c.id).order_by(store.c.code)
    )  # fmt: skip


def _failures(seen: sa.Subquery, about: sa.ColumnElement[bool]) -> sa.Select:
    """The newest failures of each store, of photos that it still sees."""
    newest = sa.func.row_number().over(
        partition_by=sync_report.c.store_id, order_by=(sync_report.c.reported_at.desc(), sync_report.c.photo_id)
    )
    failed = (
        sa.select(sync_report, newest.label("place"))
        .join(seen, about).where(sync_report.c.status == "failed").subquery()
    )  # fmt: skip
    return sa.select(failed).where(failed.c.place <= SHOWN_FAILURES).order_by(failed.c.store_id, failed.c.place)
