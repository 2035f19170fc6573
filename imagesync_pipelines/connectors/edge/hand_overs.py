"""What a step of a store leaves for the next one, for the checks, and for looking back at the store's last run."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

LISTING, BINARIES = "photo_listing", "photo_binaries"


class ListingHandOver(BaseModel):
    """What a listing found.

    quiet: nothing is new and nothing waits, so there is nothing to plan. mirror_at: when the mirror of this store last
    changed, None: it is empty. illegible: photos whose rows could not be read. The others: see listing.PhotosListed.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    dry_run: bool
    full: bool
    scan_id: int | None
    complete: bool
    reason: str
    quiet: bool
    mirror_at: datetime | None
    seen: int = 0
    new: int = 0
    changed: int = 0
    unusable: int = 0
    gone: int = 0
    rejected: int = 0
    illegible: tuple[str, ...] = ()
    cursor: datetime | None = None
    lag_seconds: float | None = None
    calls: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()


class BinariesHandOver(BaseModel):
    """What applying did; tried: photos whose bytes were to be fetched, failed and mismatched among them.

    settled_at: the state of the mirror (mirror_at) that the store has now; None: not all of it. seconds: since the run
    started. photos: by status. database_bytes: after the run; grown_bytes: since the hand-over before.
    """

    model_config = ConfigDict(frozen=True)

    settled_at: datetime | None
    tried: int = 0
    failed: int = 0
    mismatched: int = 0
    bytes_downloaded: int = 0
    seconds: float = 0.0
    photos: dict[str, int] = Field(default_factory=dict)
    database_bytes: int = 0
    grown_bytes: int | None = None
    capacity_bytes: int | None = None
