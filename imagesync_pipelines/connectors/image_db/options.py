"""What a person may choose for one run, as the launchpad of the Dagster UI explains it.

What belongs here: the configuration of the Dagster assets of this connector. What does not: settings of the
installation (settings.py), and what the options do (stages.py, plan_stages.py).
"""

import dagster as dg
from pydantic import Field


class ErpConfig(dg.Config):
    """How to take over the ERP's products."""

    allow_mass_delete: bool = Field(
        False, description="let products become inactive even when unusually many are missing"
    )


class PagesConfig(dg.Config):
    """How to read the pages."""

    page_size: int | None = Field(None, description="records asked for per page; empty: IMAGE_API_PAGE_SIZE")


class RecordsConfig(dg.Config):
    """Which part to read. All empty: every stored page of the latest scan."""

    limit: int | None = Field(None, description="read so many pages only; such a run never removes")
    skip_pages: int = Field(0, description="start after this page: skip 5 with limit 3 reads pages 6 to 8")
    page_size: int | None = Field(None, description="records asked for per page; empty: IMAGE_API_PAGE_SIZE")
    skus: list[str] = Field(default_factory=list, description="these products only, from fresh stored pages if any")
    external_ids: list[str] = Field(default_factory=list, description="these images only, from the stored pages")


class PlanConfig(dg.Config):
    """How to plan."""

    force: bool = Field(False, description="write unchanged rows too; never a wipe, pins stay")
    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")


class ApplyConfig(dg.Config):
    """Which plan to apply, and how."""

    plan_id: int | None = Field(
        None, description="a stored plan by its number; empty: that of this run, or of the run that it re-executes"
    )
    replan: bool = Field(False, description="plan products again that moved since the plan, instead of refusing them")
    dry_run: bool = Field(False, description="do nothing: the plan is made and can be looked at")
