"""What may be set: for an installation, in the environment and `.env`, and for one run, by whoever starts it.

The Dagster UI and the command line explain a run's options with the texts here.
"""

import re
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.connectors.moysklad.counterparts import entities_of_skus
from imagesync_pipelines.connectors.moysklad.model import TYPES, EntityType, key_parts
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.settings import Cron, EnvironmentSettings
from imagesync_pipelines.sync.choosing import ChosenProducts
from imagesync_pipelines.sync.steps import RunContext

_SECRET = re.compile(r"[A-Za-z0-9_-]{16,100}")


class MoyskladSettings(EnvironmentSettings):
    """What the МойСклад connector needs to know; every field is the variable MOYSKLAD_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="MOYSKLAD_", extra="ignore", env_ignore_empty=True)

    workers: int = Field(4, ge=1, le=5, description="entities written, or images downloaded, at the same time")
    download_timeout: float = Field(60, gt=0, description="seconds for the download of one image")
    timeout: float = Field(
        310, gt=0, description="seconds to wait for an answer; the server may take 300 for a heavy request"
    )
    tries: int = Field(4, ge=1, description="attempts of one call before it counts as failed")
    pace_share: float = Field(1, gt=0, le=1, description="share of an account's rate limit that we use")
    max_pause_seconds: float = Field(
        60, ge=0, description="a longer pause for the account's limit ends its run; the next one goes on"
    )
    verify_tls: bool = Field(True, description="check the certificates of МойСклад and its storage")
    webhook_prefix: str = Field(
        "", description="URL prefix of our own webhooks, e.g. https://host/; our writes are not reported to them"
    )

    list_form: Literal["array", "batch"] = Field(
        "array",
        description="where lists of images are sent first: to the path of one, or to …/batch; the other is tried when "
        "that is refused as unknown",
    )
    overlap_minutes: float = Field(10, ge=0, description="an incremental reading begins this much before its cursor")
    walk_repeats: int = Field(2, ge=0, description="further readings when one does not prove to be complete")
    content_hours: float = Field(24, gt=0, description="hours for which image content is kept after its last use")

    incremental_schedule: Cron = Field("15 * * * *", description="when incremental runs start (cron)")
    full_schedule: Cron = Field("30 2 * * *", description="when the daily full run starts (cron)")
    cleanup_schedule: Cron = Field("0 3 * * *", description="when image content of the past is removed (cron)")
    sensor_seconds: int = Field(30, ge=5, description="seconds between two looks for requests in the queue")
    fresh_hours: float = Field(2, gt=0, description="hours after which a child account's images count as stale")


class MoyskladWebhookSettings(EnvironmentSettings):
    """How requests come in, in MOYSKLAD_WEBHOOK_<FIELD>; without a secret nothing is served."""

    model_config = SettingsConfigDict(env_prefix="MOYSKLAD_WEBHOOK_", extra="ignore", env_ignore_empty=True)

    secret: SecretStr | None = Field(
        None, description="ends the webhook's URL and is the queue's bearer token: 16 or more letters, digits, - and _"
    )
    port: int = Field(8820, ge=1, le=65535, description="port of the endpoints for webhooks and requests")

    @field_validator("secret")
    @classmethod
    def _fits_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("it is part of a URL; take 16 to 100 letters, digits, - and _")
        return value


class EntityChoice(NamedTuple):
    """The entities that a run is about: of these types, and with these keys of the main account (none: all)."""

    types: tuple[EntityType, ...] = TYPES
    keys: tuple[str, ...] = ()

    def has(self, key: str) -> bool:
        """Whether an entity is among them."""
        return key_parts(key)[0] in self.types and (not self.keys or key in self.keys)


EVERYTHING, NOTHING = EntityChoice(), EntityChoice(types=())


class ChosenEntities(ChosenProducts):
    """Which entities of the main account a run is about; the same for its reading, its map and its plan."""

    entity_type: Literal["", "product", "bundle", "variant"] = Field("", description="of this type only; empty: all")
    entity: str = Field("", description="this one only: its id in the main account; empty: all")
    requests: bool = Field(False, description="those that requests in the queue name for the account, and no others")

    def choice(self) -> EntityChoice:
        """The entities of the type, or the one with the id: a key of each type that it may have."""
        types = tuple(kind for kind in TYPES if self.entity_type in ("", kind))
        return EntityChoice(types, tuple(f"{kind}:{self.entity}" for kind in types) if self.entity else ())

    def of_run(self, context: RunContext[Any]) -> EntityChoice:
        """The entities that the run is about; where it is about requests, those that it has taken, or none.

        Raises UnknownSkuError.
        """
        if self.skus:
            return self.choice()._replace(keys=entities_of_skus(context, self.skus))
        if not self.requests:
            return self.choice()
        keys = tuple(sorted({request.entity for request in Queue(context.installation.engine).held(context.run_id)}))
        return EntityChoice(keys=keys) if keys else NOTHING


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
    """What may be asked of one synchronisation; runs that are started together share one reading by `since`."""

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


def job_for(options: ChildSyncOptions) -> str:
    """The job that does what is asked: all entities of the main account, or some."""
    if options.dry_run:
        return "dry_run"
    chosen = options.skus or options.entity or options.entity_type or options.requests
    return "entities" if chosen else "sync"
