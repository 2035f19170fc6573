"""What a person may ask of one run, as the launchpad of the Dagster UI explains it, and which entities that means."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imagesync_pipelines.connectors.moysklad.model import TYPES, EntityType, key_parts
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.sync.steps import RunContext


@dataclass(frozen=True)
class EntityChoice:
    """The entities that a run is about: of these types, and with these keys of the main account (none: all)."""

    types: tuple[EntityType, ...] = TYPES
    keys: tuple[str, ...] = ()

    def has(self, key: str) -> bool:
        """Whether an entity is among them."""
        return key_parts(key)[0] in self.types and (not self.keys or key in self.keys)


EVERYTHING, NOTHING = EntityChoice(), EntityChoice(types=())


class ChosenEntities(BaseModel):
    """Which entities of the main account a run is about; the same for its reading, its map and its plan."""

    entity_type: Literal["", "product", "bundle", "variant"] = Field("", description="of this type only; empty: all")
    entity: str = Field("", description="this one only: its id in the main account; empty: all")
    requests: bool = Field(False, description="those that requests in the queue name for the account, and no others")

    def choice(self) -> EntityChoice:
        """The entities of the type, or the one with the id: a key of each type that it may have."""
        types = tuple(kind for kind in TYPES if self.entity_type in ("", kind))
        return EntityChoice(types, tuple(f"{kind}:{self.entity}" for kind in types) if self.entity else ())


class ReadingOptions(ChosenEntities):
    """How to read the main account."""

    full: bool = Field(False, description="everything, not only what changed since the cursor")
    since: str = Field("", description="a moment; runs that name the same one share one reading. Empty: read anew")


class ChildPlanOptions(ChosenEntities):
    """How to plan."""

    check_child: bool = Field(False, description="compare with the child account itself: drift is seen and repaired")
    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")


class ChildSyncOptions(ReadingOptions, ChildPlanOptions):
    """What may be asked of one synchronisation.

    full: read everything, and compare with the child accounts themselves. since: runs that are started together share
    one reading of the main account, so it is the moment at which they are asked for.
    """

    model_config = ConfigDict(extra="forbid")

    since: str = Field(default_factory=lambda: datetime.now(UTC).isoformat())
    full: bool = Field(False, description="read everything, and compare with the child accounts themselves")
    dry_run: bool = Field(False, description="stop after the plan: nothing is written into a child account")
    # These two are asked for by schedules and sensors, and no options of the command line.
    requests: bool = False
    check_child: bool = False

    @model_validator(mode="after")
    def _full_checks(self) -> Self:
        self.check_child = self.check_child or self.full
        return self


def requested(context: RunContext[MoyskladSettings]) -> tuple[str, ...]:
    """The keys of the entities that the run has requests for; none when it has not taken any."""
    held = Queue(context.installation.engine).held(context.run_id)
    return tuple(sorted({request.entity for request in held}))


def chosen_by(context: RunContext[MoyskladSettings], options: ChosenEntities) -> EntityChoice:
    """The entities that the run is about."""
    if options.requests:
        keys = requested(context)
        return EntityChoice(keys=keys) if keys else NOTHING
    return options.choice()
