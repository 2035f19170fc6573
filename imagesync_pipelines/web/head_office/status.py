"""What stores report about their photos.

Source: docs/contracts/edge.md, section 4. Better than the original, which printed and forgot: reports are kept, and
sending one twice changes nothing. A photo that is unknown here is accepted: it may be gone since the store read it.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.web.head_office.access import REFUSALS, Caller, admit
from imagesync_pipelines.web.head_office.answers import RequestRefusedError
from imagesync_pipelines.web.head_office.tables import sync_report
from imagesync_pipelines.web.head_office.tokens import Office

ERROR_CHARACTERS = 2000

router = APIRouter(prefix="/api/v1/sync/product-photos", tags=["reports"])


def _storable(text: str) -> str:
    """What the database cannot hold (NUL, half a surrogate pair) goes, what is too long is cut: no report is lost."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:ERROR_CHARACTERS]


def _parse_moment(value: object) -> object:
    """An ISO 8601 text; one without a time zone is UTC, as the seed's edges write it."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            raise ValueError
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a time like 2026-02-03T10:00:00Z") from None


class ReceivedReport(BaseModel):
    """What became of one photo in the store."""

    photo_id: UUID
    status: Literal["synced", "failed"]
    synced_at: Annotated[datetime | None, BeforeValidator(_parse_moment)] = None
    error: Annotated[str, AfterValidator(_storable)] | None = None


class StatusBatch(BaseModel):
    """The report of one store."""

    store_id: UUID
    sync_batch: list[ReceivedReport] = Field(default=[])


class StatusAnswer(BaseModel):
    """How many reports were taken."""

    status: Literal["success"] = "success"
    message: str


@router.post("/status/", responses=REFUSALS)
def report_status(office: Office, caller: Caller, batch: StatusBatch) -> StatusAnswer:
    """Report what became of photos. The last report about a photo counts; sending a batch again changes nothing."""
    if len(batch.sync_batch) > office.settings.max_reports:
        raise RequestRefusedError(
            400, f"sync_batch has {len(batch.sync_batch)} photos; send {office.settings.max_reports} at most at once"
        )
    now = office.clock()
    # The last one wins, also within a batch.
    rows: dict[UUID, dict[str, Any]] = {
        report.photo_id: {"store_id": batch.store_id, "reported_at": now, **report.model_dump()}
        for report in batch.sync_batch
    }
    statement = insert(sync_report)
    news = {name: statement.excluded[name] for name in ("status", "synced_at", "error", "reported_at")}
    with office.engine.begin() as connection:
        admit(connection, caller, batch.store_id)
        if rows:
            # In one order, so that two batches at once wait for each other instead of blocking each other.
            ordered = [rows[photo_id] for photo_id in sorted(rows)]
            connection.execute(
                statement.on_conflict_do_update(index_elements=["store_id", "photo_id"], set_=news), ordered
            )
    return StatusAnswer(message=f"Sync status updated for {len(batch.sync_batch)} photos")
