"""The weekly scrub as a stage: hash what a store has, fetch again what differs.

What belongs here: joining scrub, plan and application. What does not: the hashing (scrubbing.py), the plan
(plan_stages.py).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from imagesync_pipelines.connectors.edge import scrubbing, store
from imagesync_pipelines.connectors.edge.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.desk import Desk
from imagesync_pipelines.connectors.edge.plan_stages import PlanApplied, apply_plan, newest_listing, plan_store
from imagesync_pipelines.sync.progress import Progress


@dataclass(frozen=True)
class Scrubbed:
    """What hashing the stored photos found: how many were hashed, the ids that differ, what their repair came to."""

    hashed: int
    differing: tuple[str, ...]
    repaired: PlanApplied | None


def scrub_and_repair(desk: Desk, api: HeadOfficeApi, run_id: str, *, progress: Progress) -> Scrubbed:
    """Hash what the store has, inside its database, and fetch again what differs from its checksum.

    Raises NoteMissingError when the store was never listed, and the errors of make_plan and apply_plan.
    """
    with store.store_lock(desk.database, desk.place.settings.lock_wait_seconds):
        found = scrubbing.scrub(desk.database, on_progress=lambda done, total: progress("photos hashed", done, total))
    if not found.differing:
        return Scrubbed(found.hashed, (), None)
    listed = newest_listing(desk)
    made = plan_store(desk, listed, run_id, allow_mass_delete=False)
    repaired = apply_plan(desk, api, run_id, plan_id=made.plan_id, started_at=datetime.now(UTC), progress=progress)
    return Scrubbed(found.hashed, tuple(found.differing), repaired)
