"""What a person may choose for one run, as the launchpad of the Dagster UI explains it.

What belongs here: the configuration of the Dagster assets of this connector. What does not: settings of the
installation (settings.py), and what the options do (stages.py).
"""

from typing import Literal

import dagster as dg
from pydantic import Field


class ChosenConfig(dg.Config):
    """Which entities of the main account a run is about; the same for its reading, its map and its plan."""

    entity_type: Literal["", "product", "bundle", "variant"] = Field("", description="of this type only; empty: all")
    entity: str = Field("", description="this one only: its id in the main account; empty: all")
    requests: bool = Field(False, description="those that requests in the queue name for the account, and no others")


class MainConfig(ChosenConfig):
    """How to read the main account."""

    full: bool = Field(False, description="everything, not only what changed since the cursor")
    since: str = Field("", description="a moment; runs that name the same one share one reading. Empty: read anew")


class PlanConfig(ChosenConfig):
    """How to plan."""

    check_child: bool = Field(False, description="compare with the child account itself: drift is seen and repaired")
    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")


class ApplyConfig(dg.Config):
    """Which plan to apply."""

    plan_id: int | None = Field(
        None,
        description="a stored plan by its number; empty: that of this run, or of the run that it re-executes",
    )
