"""The definitions of connectors that have no declaration yet; a connector that gets one leaves this file.

What belongs here: what is not made from a declaration. What does not: anything new.
"""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.image_db import assets as image_db_assets
from imagesync_pipelines.connectors.image_db import automation as image_db_automation
from imagesync_pipelines.connectors.image_db import checks as image_db_checks
from imagesync_pipelines.connectors.image_db.resources import ImageDbResource


@dataclass
class Undeclared:
    """Definitions by kind."""

    assets: list[Any] = field(default_factory=list)
    checks: list[Any] = field(default_factory=list)
    jobs: list[Any] = field(default_factory=list)
    schedules: list[dg.ScheduleDefinition] = field(default_factory=list)
    sensors: list[dg.SensorDefinition] = field(default_factory=list)
    resources: dict[str, Any] = field(default_factory=dict)


def undeclared() -> Undeclared:
    """All of them."""
    found = Undeclared()
    _image_db(found)
    return found


def _image_db(found: Undeclared) -> None:
    shared, image_db = image_db_automation.read_settings()
    found.assets += image_db_assets.build_assets()
    found.checks += image_db_checks.build_checks()
    found.jobs += image_db_automation.build_jobs()
    found.schedules.append(image_db_automation.build_schedule(shared, image_db))
    found.sensors.append(image_db_automation.build_discovery_sensor(image_db))
    found.resources["image_db"] = ImageDbResource()


def undeclared_pools() -> tuple[str, ...]:
    """Their pools."""
    return (
        image_db_assets.API_POOL,
        image_db_assets.WRITE_POOL,
    )
