"""Quality of main pictures in Dagster: an asset, the job that makes it, its schedule; and what doctor says of it."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg
import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.metadata import SUMMARY_KEY, clean_text, metrics, shown_metadata
from imagesync_pipelines.defs.work import secrets_of
from imagesync_pipelines.quality.rules import TO_DO, RuleSet, read_rules, rule_sets
from imagesync_pipelines.quality.settings import QualitySettings, sets_of_channels
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.schema_quality import quality_day
from imagesync_pipelines.sync.health import Finding, Site, State
from imagesync_pipelines.sync.steps import Progress, Texts, silent

if TYPE_CHECKING:
    from imagesync_pipelines.quality.running import QualityRun

JOB = "quality__measure"
KEY = dg.AssetKey(["quality", "main_pictures"])
NO_FALL = "no_score_fell"
DAILY = "0 6 * * *"
# A schedule may be one of each week.
_LATE = timedelta(days=8)


def measure(place: Installation, progress: Progress = silent) -> "QualityRun":
    """Note, measure and judge what the channels show, now. Raises AccountBusyError while another run does."""
    # What loads the definitions needs none of it.
    from imagesync_pipelines.quality.running import run_quality

    settings, now = load_settings(QualitySettings), datetime.now(ZoneInfo(place.settings.timezone))
    found = run_quality(place, settings, connectors(), now, progress)
    return replace(found, problems=(*found.problems, *channels_of_nobody(settings, place.settings)))


def channels_of_nobody(settings: QualitySettings, shared: Settings) -> Iterator[str]:
    """What QUALITY_CHANNELS names and nobody is called, in sentences: it would judge nothing, and nobody would know."""
    known = {one.name: one for one in connectors()}
    for channel in sets_of_channels(settings):
        name, _, account = channel.partition("/")
        if name not in known:
            names = ", ".join(known)
            yield languages.told(f"QUALITY_CHANNELS: there is no connector {name!r}; there are: {names}")
        elif account:
            # Accounts that cannot be read are told where they are looked at.
            with suppress(SettingsError):
                accounts = known[name].channels(shared)
                if account not in accounts:
                    others = ", ".join(filter(None, accounts)) or "–"
                    yield languages.told(f"QUALITY_CHANNELS: {name} has no account {account!r}; it has: {others}")


def _settings() -> QualitySettings:
    """As they are set; where one is wrong, as they are shipped: doctor tells it, and no connector waits for it."""
    try:
        return load_settings(QualitySettings)
    except SettingsError:
        return QualitySettings.model_construct()


def build_asset(owners: Sequence[str]) -> Any:
    """The asset: main pictures of all channels, as they were measured and judged last."""
    decorate: Any = dg.asset(
        name=KEY.path[-1],
        key_prefix=KEY.path[:-1],
        group_name="quality",
        owners=list(owners),
        kinds={"postgres", "python"},
        deps=[dg.AssetKey([one.name, one.apply_steps[-1]]) for one in connectors()],
        description="The main pictures that every channel shows, measured where they changed and judged by the rules "
        "of its marketplace (docs/quality.md). It changes no channel, and no synchronisation waits for it.",
        required_resource_keys={"installation", "progress"},
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=_LATE),
    )

    def main_pictures(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Measure and judge, and say how much."""
        with context.resources.installation.open() as place:
            found = measure(place, context.resources.progress)
        context.log.info(found.said)
        for problem in found.problems:
            context.log.warning(problem)
        numbers = {
            **{f"pictures/{name}": number for name, number in vars(found.noted).items()},
            "pictures/measured": found.mains.measured,
            "pictures/not_measured": found.mains.problems,
            "pictures/waiting": found.mains.waiting + found.mains.away,
            "pictures/others_measured": found.others.measured,
            "pictures/judged": found.judged.judged,
        }
        secrets = [secret for one in connectors() for secret in secrets_of(one)]
        shown = {"problems": Texts(found.problems), "reasons": Texts([*found.mains.reasons, *found.others.reasons])}
        rows = {"dagster/row_count": dg.MetadataValue.int(found.noted.shown)}
        told = {"said": found.said, "warnings": [clean_text(one, secrets) for one in found.problems]}
        summary = {SUMMARY_KEY: dg.MetadataValue.json(told)}
        return dg.MaterializeResult(metadata={**summary, **metrics(numbers), **shown_metadata(shown, secrets), **rows})

    return decorate(main_pictures)


def build_checks() -> Any:
    """A check for each rule set, in one op: that its marketplace refuses no main picture; and that no score fell."""
    known = {f"no_main_picture_is_refused_by_{name}": one for name, one in rule_sets(_settings()).items()}
    decorate: Any = dg.multi_asset_check(
        name="quality__checks",
        specs=[
            dg.AssetCheckSpec(name, asset=KEY, description=f"By the rules of {one.name}, no main picture is refused.")
            for name, one in known.items()
        ]
        + [dg.AssetCheckSpec(NO_FALL, asset=KEY, description="The score of no account fell by QUALITY_ALERT_FALL.")],
        can_subset=True,
        required_resource_keys={"installation"},
    )

    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        chosen = sorted(selected.name for selected in context.selected_asset_check_keys)
        with context.resources.installation.open() as place, place.engine.connect() as connection:
            for name in chosen:
                yield _fallen(connection) if name == NO_FALL else _checked(connection, name, known[name])

    return decorate(look)


def _checked(connection: sa.Connection, name: str, rule_set: RuleSet) -> dg.AssetCheckResult:
    from imagesync_pipelines.quality.queries import summary, what_next

    channels = [one.now for one in summary(connection) if one.rule_set == rule_set.id]
    pictures, failing = (sum(getattr(one, of) for one in channels) for of in ("pictures", "failing"))
    steps = [one for one in what_next(connection, {rule_set.id: rule_set}) if one.frees]
    numbers: dict[str, float] = {"pictures": pictures, "refused": failing}
    if pictures:
        numbers["score"] = round(sum(one.score * one.pictures for one in channels) / pictures, 1)
    said = [languages.told(f"{failing} of {pictures} main pictures are refused by the rules of {rule_set.name}.")]
    if steps:
        said.append(languages.told(f"{TO_DO[steps[0].to_do]}: that frees {steps[0].frees}."))
    return dg.AssetCheckResult(
        asset_key=KEY,
        check_name=name,
        passed=failing == 0,
        # What people are to mend in their own time is for the UI, and no alert.
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(said),
        metadata=metrics(numbers),
    )


def _fallen(connection: sa.Connection) -> dg.AssetCheckResult:
    """An error, which is an alert, where a score fell since it was looked at last; a warning as long as that lasts."""
    from imagesync_pipelines.quality.falls import falls

    found = falls(connection, _settings().alert_fall)
    is_new = any(one.is_new for one in found)
    return dg.AssetCheckResult(
        asset_key=KEY,
        check_name=NO_FALL,
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR if is_new else dg.AssetCheckSeverity.WARN,
        description="\n".join(one.words for one in found) or languages.told("The score of no account fell."),
        metadata=metrics({"fallen": len(found)}),
    )


def build_job() -> Any:
    """The job that measures."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(KEY),
        description="Measures the main pictures that changed and judges them by the rules of marketplaces.",
    )


def build_schedule(shared: Settings) -> dg.ScheduleDefinition:
    """As QUALITY_SCHEDULE says; off while that is empty."""
    cron = _settings().schedule

    @dg.schedule(
        name="quality__daily",
        job_name=JOB,
        cron_schedule=cron or DAILY,
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED if cron is None else dg.DefaultScheduleStatus.RUNNING,
        description="As QUALITY_SCHEDULE says; off while that is empty, and left out while a run is at work.",
    )
    def start(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        unfinished = dg.RunsFilter(job_name=JOB, statuses=list(launching.IN_FLIGHT))
        if context.instance.get_runs(unfinished, limit=1):
            return dg.SkipReason("A run is measuring pictures.")
        return dg.RunRequest(tags=launching.BY_ITSELF)

    return start


def outlook(site: Site) -> Iterator[Finding]:
    """Whether the quality of pictures is looked at, and when it was last."""
    part, check = languages.told("quality"), languages.told("measured")
    try:
        settings = load_settings(QualitySettings)
    except SettingsError as error:
        yield Finding(
            part,
            languages.told("settings"),
            State.WRONG,
            str(error),
            languages.told("Correct it in .env or in the environment."),
        )
        return
    if settings.words:
        from imagesync_pipelines.imaging.words import WordsMissingError, word_reader

        try:
            with word_reader():
                pass
        except WordsMissingError as missing:
            yield Finding(
                part,
                languages.told("words"),
                State.WARNING,
                str(missing),
                languages.told("What else is measured does not need it."),
            )
    for problem in (*read_rules(settings)[1], *channels_of_nobody(settings, site.shared)):
        yield Finding(
            part,
            languages.told("rule sets"),
            State.WARNING,
            problem,
            languages.told("Correct it; the other rule sets judge meanwhile."),
        )
    newest: date | None = None
    # Tables that cannot be read are told where our database is looked at.
    with suppress(sa.exc.DBAPIError):
        if site.engine is not None:
            with site.engine.connect() as connection:
                newest = connection.scalar(sa.select(sa.func.max(quality_day.c.day)))
    if newest is None and settings.schedule is None:
        said = languages.told("main pictures are not measured here")
        yield Finding(
            part, check, State.OFF, said, languages.told("Set QUALITY_SCHEDULE, or run the job quality__measure.")
        )
        return
    never = languages.told("not judged yet")
    last = never if newest is None else languages.told(f"judged last on {newest:%Y-%m-%d}")
    is_late = settings.schedule is not None and (newest is None or newest < (datetime.now(UTC) - _LATE).date())
    todo = languages.told("Look at the runs of quality__measure in Dagster's UI.") if is_late else ""
    yield Finding(part, check, State.WARNING if is_late else State.FINE, last, todo)
