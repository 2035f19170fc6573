"""Schedules and sensors of every connector: when they run by themselves, and what they leave alone."""

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from imagesync_pipelines.accounts.file import AccountsError, load_accounts
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.work import secrets_of
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.sync.health import Site
from imagesync_pipelines.sync.job_runs import PARTITION_TAG
from imagesync_pipelines_tests.conformance.subject import Subject
from imagesync_pipelines_tests.conformance.subjects import SUBJECTS

# No daily schedule starts at this minute.
MOMENT = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
EVERYTHING = "everything"
NEEDS = [(name, without) for name, one in SUBJECTS.items() for without in ("", *one.automation.needs, EVERYTHING)]
WITH_ACCOUNTS = [name for name, one in SUBJECTS.items() if one.account]


# An account whose secret nobody set, by connector.
UNSET = {
    "edge": '[edge.stores.unset]\nstore_id = "6a1d2f1b-9e46-4c72-8d66-1e0b2a7a9a21"\ndsn = "env:NOT_SET"\n',
    "moysklad": '[moysklad.children.unset]\ntoken = "env:NOT_SET"\nmode = "all"\n',
    "plytix": '[plytix.accounts.unset]\napi_key = "env:NOT_SET"\napi_password = "env:NOT_SET"\n',
}


def statuses(subject: Subject) -> dict[str, str]:
    """Every schedule and sensor of the connector: whether it runs from the start."""
    repository = build_definitions().get_repository_def()
    automation: list[Any] = [*repository.schedule_defs, *repository.sensor_defs]
    return {one.name: one.default_status.value for one in automation if one.name.startswith(f"{subject.name}__")}


@pytest.mark.parametrize(("name", "without"), NEEDS)
def test_nothing_starts_by_itself_while_something_that_it_needs_is_missing(
    monkeypatch: pytest.MonkeyPatch, name: str, without: str
) -> None:
    subject, automation = SUBJECTS[name], SUBJECTS[name].automation
    for variable, value in automation.needs.items():
        if without not in (variable, EVERYTHING):
            monkeypatch.setenv(variable, value)
    status = "STOPPED" if without else "RUNNING"
    assert statuses(subject) == {
        **dict.fromkeys(automation.by_itself, status),
        **dict.fromkeys(automation.never, "STOPPED"),
        **dict.fromkeys(automation.always, "RUNNING"),
    }


@pytest.mark.parametrize("name", SUBJECTS)
def test_nothing_starts_by_itself_on_made_up_systems_or_with_another_connectors_accounts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    subject, automation = SUBJECTS[name], SUBJECTS[name].automation
    off = {
        **dict.fromkeys((*automation.by_itself, *automation.never), "STOPPED"),
        **dict.fromkeys(automation.always, "RUNNING"),
    }
    for variable, value in automation.needs.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("IMAGESYNC_SANDBOX", "true")
    assert statuses(subject) == off
    monkeypatch.delenv("IMAGESYNC_SANDBOX")
    if subject.account:
        accounts = tmp_path / "others.toml"
        accounts.write_text("")
        monkeypatch.setenv("IMAGESYNC_ACCOUNTS", str(accounts))
        assert statuses(subject) == off


@pytest.mark.parametrize("name", SUBJECTS)
def test_of_schedules_that_start_the_same_the_full_one_has_its_minute_to_itself(name: str) -> None:
    connector, zone = connector_named(name), load_settings(Settings).timezone
    settings, repository = load_settings(connector.settings), build_definitions().get_repository_def()
    of_jobs = defaultdict(list)
    for schedule in connector.schedules:
        of_jobs[schedule.job].append(schedule)
    for job, several in of_jobs.items():
        (full,) = (schedule for schedule in several if schedule.gives_way_to is None)
        moment = next(schedule_execution_time_iterator(MOMENT.timestamp(), full.cron(settings), zone))
        for name_of in (f"{name}__{job}__{schedule.name}" for schedule in several if schedule is not full):
            with dg.build_schedule_context(scheduled_execution_time=moment) as context:
                data = repository.get_schedule_def(name_of).evaluate_tick(context)
            assert data.skip_message == "The daily full run starts at this very minute."


def tick(subject: Subject, instance: dg.DagsterInstance) -> Any:
    """What the connector's schedule asks for."""
    definitions = build_definitions()
    repository = definitions.get_repository_def()
    with dg.build_schedule_context(
        instance=instance,
        repository_def=repository,
        resources=dict(definitions.resources or {}),
        scheduled_execution_time=MOMENT,
    ) as context:
        return repository.get_schedule_def(subject.automation.schedule).evaluate_tick(context)


@pytest.mark.parametrize("name", WITH_ACCOUNTS)
def test_a_schedule_starts_one_run_per_account_and_leaves_out_those_at_work(
    server: EmbeddedServer, tmp_path: Path, name: str
) -> None:
    subject, automation = SUBJECTS[name], SUBJECTS[name].automation
    with subject.made(server, tmp_path / "site") as site:
        needed = {key: value for key, value in automation.needs.items() if key not in site.environment}
        with site.opened(**needed) as (_, instance):
            instance.add_dynamic_partitions(automation.partition_set, ["gone-last-year"])
            data = tick(subject, instance)
            assert [request.partition_key for request in data.run_requests] == list(automation.accounts)
            assert len({request.run_key for request in data.run_requests}) == len(automation.accounts)
            assert instance.get_dynamic_partitions(automation.partition_set) == list(automation.accounts)
            job = build_definitions().resolve_job_def(f"{name}__sync")
            instance.create_run_for_job(job, tags={PARTITION_TAG: subject.account})
            free = [request.partition_key for request in tick(subject, instance).run_requests or ()]
            assert free == [account for account in automation.accounts if account != subject.account]
        file = Path(site.environment["IMAGESYNC_ACCOUNTS"])
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{UNSET[name]}", encoding="utf-8")
        with site.opened(**needed) as (place, instance):
            assert_the_others_go_on(subject, place, tick(subject, instance))
            assert sorted(instance.get_dynamic_partitions(automation.partition_set)) == sorted(
                [*automation.accounts, "unset"]
            )
        with site.opened(**needed, IMAGESYNC_ACCOUNTS="") as (_, instance):
            data = tick(subject, instance)
            assert not data.run_requests
            assert automation.missing in data.skip_message


def assert_the_others_go_on(subject: Subject, place: Installation, data: Any) -> None:
    """One account's secret is not set: it says so itself wherever it is asked for, and every other is as before."""
    connector, sound = connector_named(subject.name), subject.automation.accounts
    asked = [request.partition_key for request in data.run_requests]
    assert set(asked) == {*sound, "unset"} - {subject.account}, "its own run says it; one account is at work"
    accounts = load_accounts(place.settings)
    assert connector.accounts is not None
    known = connector.accounts.known(accounts)
    assert (set(known.by_name), set(known.wrong)) == (set(sound), {"unset"})
    with pytest.raises(AccountsError, match=r"unset\].*NOT_SET"):
        known.named("unset")
    assert set(launching.chosen_accounts(connector, accounts, sound)) == set(sound)
    assert set(launching.chosen_accounts(connector, accounts, ("unset",))) == {"unset"}
    assert set(connector.channels(place.settings)) == {*sound, "unset"}
    assert "NOT_SET" in "".join(connector.wrong_accounts(place.settings))
    assert list(connector.probes(Site(place.settings, place.engine), load_settings(connector.settings)))
    assert secrets_of(connector), "no text of a run shows those of the others"
