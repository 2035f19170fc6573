"""What Dagster loads: one explicit list of everything in the code location.

What belongs here: the list. What does not: any asset, job or sensor itself (the rooms and operations).
"""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from imagesync_pipelines.image_db import assets as image_db_assets
from imagesync_pipelines.image_db import automation as image_db_automation
from imagesync_pipelines.image_db import checks as image_db_checks
from imagesync_pipelines.image_db.resources import ImageDbResource
from imagesync_pipelines.operations import alerts, cleanup
from imagesync_pipelines.operations.resources import HouseResource
from imagesync_pipelines.sync.progress import silent


def build_definitions(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions; `resources` replaces the ordinary ones of the same names, in tests and on the command line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy, the one way to run a range in one run
        image_db = image_db_assets.build_assets()
    shared, room = image_db_automation.read_settings()
    return dg.Definitions(
        assets=image_db,
        asset_checks=image_db_checks.build_checks(),
        jobs=[*image_db_automation.build_jobs(), cleanup.prune_events_job],
        schedules=[image_db_automation.build_schedule(shared, room), cleanup.build_schedule(shared)],
        sensors=[image_db_automation.build_discovery_sensor(room), alerts.build_run_failure_alert()],
        resources={
            "house": HouseResource(),
            "image_db": ImageDbResource(),
            "progress": dg.ResourceDefinition.hardcoded_resource(silent),
            **(resources or {}),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's own commands load. Settings are read only when it is called, so that importing cannot fail."""
    return build_definitions()
