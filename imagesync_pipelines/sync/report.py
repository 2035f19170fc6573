"""What a run has to tell in every connector: its summary, the numbers plotted, a plan's changes."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from imagesync_pipelines.sync.apply import Applied
from imagesync_pipelines.sync.model import EFFECTS


@dataclass(frozen=True)
class Summary:
    """One run, in rows. status is in_progress, completed or failed; warnings say what could not be done.

    held_back: removals that the guard kept; failed: rows in quarantine; refused: rows of groups that moved since the
    plan; unknown: rows whose answer was lost.
    """

    status: str
    started_at: datetime
    completed_at: datetime | None
    images_added: int = 0
    images_updated: int = 0
    images_deleted: int = 0
    products_affected: int = 0
    error_message: str = ""
    warnings: tuple[str, ...] = ()
    kept: int = 0
    rejected: int = 0
    held_back: int = 0
    failed: int = 0
    refused: int = 0
    unknown: int = 0
    api_calls: int = 0
    bytes_downloaded: int = 0

    @property
    def seconds(self) -> float:
        """From start to end, 0 while it runs."""
        return round((self.completed_at - self.started_at).total_seconds(), 2) if self.completed_at else 0.0

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values, times in ISO 8601."""
        values = asdict(self)
        values["started_at"] = self.started_at.isoformat()
        values["completed_at"] = self.completed_at.isoformat() if self.completed_at else None
        values["warnings"] = list(self.warnings)
        return {**values, "seconds": self.seconds}

    def metrics(self) -> dict[str, int | float]:
        """The numbers that the UI plots over time."""
        return {
            "images/added": self.images_added,
            "images/updated": self.images_updated,
            "images/deleted": self.images_deleted,
            "images/kept": self.kept,
            "images/rejected": self.rejected,
            "images/held_back": self.held_back,
            "images/failed": self.failed,
            "products/affected": self.products_affected,
            "api/calls": self.api_calls,
            "bytes/downloaded": self.bytes_downloaded,
            "seconds": self.seconds,
        }


def summary_of(
    applied: Applied,
    started_at: datetime,
    *,
    warnings: tuple[str, ...],
    held_back: int,
    api_calls: int,
    bytes_downloaded: int = 0,
) -> Summary:
    """The summary of a run that applied a plan and ends now; calls and bytes are those of the whole run."""
    return Summary(
        status="completed",
        started_at=started_at,
        completed_at=datetime.now(UTC),
        images_added=applied.added,
        images_updated=applied.updated,
        images_deleted=applied.removed,
        products_affected=len(applied.affected),
        warnings=warnings,
        kept=applied.kept,
        rejected=applied.rejected,
        held_back=held_back,
        failed=applied.failed,
        refused=applied.refused,
        unknown=applied.unknown,
        api_calls=api_calls,
        bytes_downloaded=bytes_downloaded,
    )


def changing_rows(plan: pd.DataFrame) -> pd.DataFrame:
    """The rows of a plan (PLAN_COLUMNS and more) that change, of every kind some first: the head of it shows each."""
    changing = plan[plan["change"].isin(EFFECTS)]
    order = changing.groupby("change").cumcount()
    return changing.assign(order=order).sort_values(["order", "change"]).drop(columns="order")
