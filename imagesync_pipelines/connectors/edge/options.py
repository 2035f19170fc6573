"""What a person may choose for one run, as the launchpad of the Dagster UI explains it.

What belongs here: the configuration of the Dagster assets of this connector. What does not: settings of the
installation (settings.py), and what the options do (stages.py).
"""

import dagster as dg
from pydantic import Field


class ListingConfig(dg.Config):
    """How to list a store's photos."""

    full: bool = Field(
        False, description="list everything, not only what changed since the cursor; finds what vanished"
    )
    dry_run: bool = Field(False, description="write nothing into the store's database")


class PlanConfig(dg.Config):
    """How to plan."""

    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")


class ApplyConfig(dg.Config):
    """Which plan to apply."""

    plan_id: int | None = Field(
        None, description="a stored plan by its number; empty: that of this run, or of the run that it re-executes"
    )
