"""What Dagster loads: one explicit list of everything in the code location.

What belongs here: the list. What does not: any asset, job or sensor itself (the connectors and operations).
"""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.edge import assets as edge_assets
from imagesync_pipelines.connectors.edge import checks as edge_checks
from imagesync_pipelines.connectors.edge.automation import jobs as edge_jobs
from imagesync_pipelines.connectors.edge.automation import schedules as edge_schedules
from imagesync_pipelines.connectors.edge.automation import sensors as edge_sensors
from imagesync_pipelines.connectors.edge.automation.starting import read_settings as read_edge_settings
from imagesync_pipelines.connectors.edge.resources import EdgeResource
from imagesync_pipelines.connectors.image_db import assets as image_db_assets
from imagesync_pipelines.connectors.image_db import automation as image_db_automation
from imagesync_pipelines.connectors.image_db import checks as image_db_checks
from imagesync_pipelines.connectors.image_db.resources import ImageDbResource
from imagesync_pipelines.connectors.moysklad import assets as moysklad_assets
from imagesync_pipelines.connectors.moysklad import checks as moysklad_checks
from imagesync_pipelines.connectors.moysklad.automation import jobs as moysklad_jobs
from imagesync_pipelines.connectors.moysklad.automation import schedules as moysklad_schedules
from imagesync_pipelines.connectors.moysklad.automation import sensors as moysklad_sensors
from imagesync_pipelines.connectors.moysklad.automation.starting import read_settings as read_moysklad_settings
from imagesync_pipelines.connectors.moysklad.resources import MoyskladResource
from imagesync_pipelines.connectors.plytix import assets as plytix_assets
from imagesync_pipelines.connectors.plytix import checks as plytix_checks
from imagesync_pipelines.connectors.plytix.automation import jobs as plytix_jobs
from imagesync_pipelines.connectors.plytix.automation import schedules as plytix_schedules
from imagesync_pipelines.connectors.plytix.automation import sensors as plytix_sensors
from imagesync_pipelines.connectors.plytix.automation.starting import read_settings as read_plytix_settings
from imagesync_pipelines.connectors.plytix.resources import PlytixResource
from imagesync_pipelines.defs import alerts, check_alerts, cleanup
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.sync.progress import silent


def build_definitions(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions; `resources` replaces the ordinary ones of the same names, in tests and on the command line."""
    shared, image_db = image_db_automation.read_settings()
    _, edge = read_edge_settings()
    _, plytix = read_plytix_settings()
    _, moysklad = read_moysklad_settings()
    with warnings.catch_warnings():
        # backfill_policy, the one way to say how many runs a range is; partitions of a check, one result per store.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        assets = [
            *image_db_assets.build_assets(),
            *edge_assets.build_assets(),
            *plytix_assets.build_assets(),
            *moysklad_assets.build_assets(),
        ]
        checks = [
            *image_db_checks.build_checks(),
            *edge_checks.build_checks(),
            *plytix_checks.build_checks(),
            *moysklad_checks.build_checks(),
        ]
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[
            *image_db_automation.build_jobs(),
            *edge_jobs.build_jobs(),
            *plytix_jobs.build_jobs(),
            *moysklad_jobs.build_jobs(),
            cleanup.prune_events_job,
        ],
        schedules=[
            image_db_automation.build_schedule(shared, image_db),
            *edge_schedules.build_schedules(shared, edge),
            plytix_schedules.build_schedule(shared, plytix),
            *moysklad_schedules.build_schedules(shared, moysklad),
            cleanup.build_schedule(shared),
        ],
        sensors=[
            image_db_automation.build_discovery_sensor(image_db),
            edge_sensors.build_new_photos_sensor(shared, edge),
            edge_sensors.build_overdue_sensor(shared, edge),
            plytix_sensors.build_new_mapping_sensor(shared, plytix),
            moysklad_sensors.build_requests_sensor(shared, moysklad),
            alerts.build_run_failure_alert(),
            check_alerts.build_failed_check_alert(),
        ],
        resources={
            "installation": InstallationResource(),
            "image_db": ImageDbResource(),
            "edge": EdgeResource(),
            "plytix": PlytixResource(),
            "moysklad": MoyskladResource(),
            "progress": dg.ResourceDefinition.hardcoded_resource(silent),
            **(resources or {}),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's own commands load. Settings are read only when it is called, so that importing cannot fail."""
    return build_definitions()
