"""A connector of a few lines, for the tests of what defs/ makes of any declaration."""

from collections.abc import Mapping

import pandas as pd
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from imagesync_pipelines.sync.connector import Check, Connector, External, Job, Schedule, Step
from imagesync_pipelines.sync.steps import CheckResult, RunContext, StepResult, Summary, Table


class ToySettings(BaseSettings):
    """The settings of the toy."""

    model_config = SettingsConfigDict(env_prefix="TOY_", extra="ignore")

    pages: int = Field(3, description="how many pages there are")
    key: SecretStr | None = Field(None, description="its key")
    cron: str = Field("0 3 * * *", description="when it starts")


class ToyOptions(BaseModel):
    """All that may be asked of one run."""

    limit: int = Field(0, description="read so many only")
    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="stop after counting")


class ReadOptions(BaseModel):
    """What to read."""

    limit: int = Field(0, description="read so many only")


class WriteOptions(BaseModel):
    """How to write."""

    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    plan_id: int | None = Field(None, description="a stored plan")


class ReadDone(BaseModel):
    """What reading leaves."""

    number: int


def read(context: RunContext[ToySettings], options: ReadOptions) -> StepResult:
    """Count, and leave the number."""
    number = options.limit or context.settings.pages
    context.keep("reading", ReadDone(number=number))
    return StepResult(
        rows=number, numbers={"pages/read": number}, lines=[f"{number} pages."], warnings=("One is late.",)
    )


def write(context: RunContext[ToySettings], options: WriteOptions) -> StepResult:
    """Take the number, and say how it was asked for."""
    number = context.need("reading", ReadDone).number
    if number > 100:
        raise ValueError(f"too many: {number}, with the key {context.settings.key.get_secret_value()}")  # type: ignore[union-attr]
    summary = Summary("completed", context.started_at, context.clock(), images_added=number)
    shown = {"lifted": options.allow_mass_delete, "rows": Table(pd.DataFrame({"n": range(number)}))}
    if number == 99:
        return StepResult(summary=summary, ends="skipped: nothing is switched on")
    return StepResult(rows=number, shown=shown, summary=summary)


def sweep(context: RunContext[ToySettings], options: BaseModel) -> StepResult:
    """A step of its own."""
    return StepResult(lines=["swept"], numbers={"swept": 1})


def look(context: RunContext[ToySettings]) -> Mapping[str, CheckResult]:
    """Two sentences at one look."""
    number = context.need("reading", ReadDone).number
    return {
        "something_was_read": CheckResult(number > 0, f"{number} read"),
        "not_too_much_was_read": CheckResult(number < 50, f"{number} read"),
    }


TOY = Connector(
    name="toy",
    title="The toy",
    description="Counts.",
    settings=ToySettings,
    options=ToyOptions,
    externals=(External("outside", "An outside system.", {"rest"}),),
    steps=(
        Step("reading", "Reads.", read, {"rest"}, after=("outside",), options=ReadOptions, pool="toy_api"),
        Step("writing", "Writes.", write, {"postgres"}, after=("reading",), options=WriteOptions, may_end=True),
    ),
    jobs=(
        Job("sync", "Reads and writes."),
        Job("dry_run", "Reads.", steps=("reading",), presets={"reading": {"limit": 7}}),
        Job("sweep", "Sweeps.", alone=Step("sweep_toy", "Sweeps.", sweep, {"rest"}), about="writing"),
    ),
    apply_steps=("writing",),
    fresh_hours=lambda settings: 26,
    checks=(
        Check(
            "reading",
            {"something_was_read": "There are pages.", "not_too_much_was_read": "There are not too many."},
            look,
            group="toy_checks",
        ),
    ),
    schedules=(
        Schedule(
            "daily",
            "sync",
            lambda settings: settings.cron,
            "Every night.",
            starts_by_itself=lambda shared, settings: True,
        ),
    ),
)
