"""What a person may ask of the edge connector: of one synchronisation, and of each of its steps.

What belongs here: options with their defaults and meanings. What does not: settings of the installation (settings.py),
what the options do (reading.py, steps.py).
"""

from pydantic import BaseModel, Field


class ListingOptions(BaseModel):
    """How to list a store's photos."""

    full: bool = Field(
        False, description="list everything, not only what changed since the cursor; finds what vanished"
    )
    dry_run: bool = Field(False, description="write nothing into the store's database")


class StorePlanOptions(BaseModel):
    """How to plan."""

    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")


class EdgeOptions(BaseModel):
    """What a person may ask of one synchronisation of a store.

    full: list everything, which finds what vanished. dry_run: stop after the plan. allow_mass_delete: let removals
    happen that the deletion limits would hold back.
    """

    full: bool = False
    dry_run: bool = False
    allow_mass_delete: bool = False
