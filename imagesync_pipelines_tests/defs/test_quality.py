"""Quality of pictures in Dagster: the asset tells what came of a run, the schedule is off until it is set."""

from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import quality
from imagesync_pipelines.quality.falls import falls
from imagesync_pipelines.quality.measuring import Looked
from imagesync_pipelines.quality.noting import Noted
from imagesync_pipelines.quality.running import QualityRun
from imagesync_pipelines.quality.scores import judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.schema_quality import quality_day
from imagesync_pipelines.sync.health import Finding, Site, State
from imagesync_pipelines.sync.steps import silent
from imagesync_pipelines_tests.quality.rows import measure, show

_DAY = """
INSERT INTO imagesync.quality_day (day, rule_set, connector, account, kind, pictures, failing, score_sum)
VALUES (:day, 'own', 'edge', '', '', 1, 0, 9)
"""


_OF_DAY = {"rule_set": "own", "connector": "plytix", "failing": 0}


def looked_at(database: sa.Engine | None) -> Finding:
    (found,) = quality.outlook(Site(Settings(), database))
    return found


def test_the_asset_tells_what_came_of_a_run(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    done = QualityRun(Noted(5, new=2), Looked(measured=2, waiting=3), problems=("3 main pictures wait.",))
    monkeypatch.setattr(quality, "measure", lambda place, progress: done)
    given = {"installation": SimpleNamespace(open=nullcontext), "progress": silent}
    resources = {name: dg.ResourceDefinition.hardcoded_resource(value) for name, value in given.items()}
    result = dg.materialize([quality.build_asset(["team:x"])], instance=instance, resources=resources)
    (told,) = result.asset_materializations_for_node("quality__main_pictures")
    values = {name: told.metadata[name].value for name in ("dagster/row_count", "pictures/new", "pictures/waiting")}
    assert values == {"dagster/row_count": 5, "pictures/new": 2, "pictures/waiting": 3}
    assert told.metadata["summary"].value == {"said": done.said, "warnings": ["3 main pictures wait."]}


def test_a_setting_that_is_wrong_keeps_no_definitions_from_loading_and_doctor_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUALITY_SCHEDULE", "0 6 * * *")
    assert quality.build_schedule(Settings()).default_status == dg.DefaultScheduleStatus.RUNNING
    monkeypatch.setenv("QUALITY_WORKERS", "many")
    assert quality.build_schedule(Settings()).default_status == dg.DefaultScheduleStatus.STOPPED
    assert "no_main_picture_is_refused_by_own" in {spec.name for spec in quality.build_checks().check_specs}
    assert (looked_at(None).state, "QUALITY_WORKERS" in looked_at(None).said) == (State.WRONG, True)


def test_a_channel_of_a_name_that_nobody_has_is_told_for_it_would_judge_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUALITY_CHANNELS", "pltyix=amazon image_db=own image_db/berlin=own folder=own")
    told = [one.said for one in quality.outlook(Site(Settings(), None)) if one.state is State.WARNING]
    assert told == [
        "QUALITY_CHANNELS: there is no connector 'pltyix'; there are: image_db, plytix, moysklad, edge, folder",
        "QUALITY_CHANNELS: image_db has no account 'berlin'; it has: –",
    ]


def test_a_check_for_each_rule_set_says_how_many_main_pictures_are_refused_and_what_frees_most(
    database: sa.Engine, instance: dg.DagsterInstance
) -> None:
    measure(database, "small", width=400, height=400)
    show(database, "A", "small")
    judge_due(database, QualitySettings(channels="plytix=amazon,own"), datetime.now(UTC))
    place = SimpleNamespace(open=lambda: nullcontext(SimpleNamespace(engine=database)))
    resources = {"installation": dg.ResourceDefinition.hardcoded_resource(place)}
    definitions = dg.Definitions(asset_checks=[quality.build_checks()], resources=resources)
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance)
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    rule_sets = ("amazon", "google", "own", "ozon", "wildberries")
    assert set(found) == {"no_score_fell", *(f"no_main_picture_is_refused_by_{name}" for name in rule_sets)}
    assert (found["no_score_fell"].passed, found["no_score_fell"].description) == (
        True,
        "The score of no account fell.",
    )
    amazon, google = found["no_main_picture_is_refused_by_amazon"], found["no_main_picture_is_refused_by_google"]
    assert (amazon.passed, amazon.severity, google.passed) == (False, dg.AssetCheckSeverity.WARN, True)
    assert amazon.description == (
        "1 of 1 main pictures are refused by the rules of Amazon. Take or ask for a larger picture: that frees 1."
    )
    assert {name: value.value for name, value in amazon.metadata.items()} == {
        "pictures": 1,
        "refused": 1,
        "score": 42.0,
    }
    assert google.description == "0 of 0 main pictures are refused by the rules of Google Merchant Center."


def test_a_score_that_fell_is_an_alert_once_and_a_warning_until_it_is_over(database: sa.Engine) -> None:
    """Each day: the score of an account of 40 pictures, in two kinds, and what is said of it."""
    error, warning, well = ("failed", "ERROR"), ("failed", "WARN"), ("passed", "WARN")
    days = [(90, well), (92, well), (88, well), (86, error), (85, warning), (80, error), (79, warning), (91, well)]
    first = date(2026, 11, 1)
    for nth, (score, expected) in enumerate(days):
        with database.begin() as connection:
            for kind in ("a", "b"):
                more = {"kind": kind, "pictures": 20, "account": "main", "score_sum": 20 * score}
                connection.execute(quality_day.insert().values(**_OF_DAY, day=first + timedelta(days=nth), **more))
            # One picture says nothing of an account.
            few = {"kind": "", "pictures": 1, "account": "few", "score_sum": 100 - 10 * nth}
            connection.execute(quality_day.insert().values(**_OF_DAY, day=first + timedelta(days=nth), **few))
            found = quality._fallen(connection)
        assert ("passed" if found.passed else "failed", found.severity.value) == expected, (nth, score)
        if nth == 3:
            assert found.description == (
                "By the rules own the score of plytix/main fell from 92.0 on 2026-11-02 to 86.0 of 100 now; "
                "its main pictures: 40."
            )
    with database.connect() as connection:
        assert falls(connection, 0) == []


def test_a_score_that_stays_low_is_over_after_a_week(database: sa.Engine) -> None:
    with database.begin() as connection:
        for nth, score in enumerate((90, *[70] * 8)):
            more = {"kind": "", "pictures": 40, "account": "", "score_sum": 40 * score}
            connection.execute(quality_day.insert().values(**_OF_DAY, day=date(2026, 11, 1 + nth), **more))
            assert bool(falls(connection, 5)) is (1 <= nth <= 7), nth


def test_the_schedule_is_off_until_it_is_set(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    assert quality.build_schedule(Settings()).default_status is dg.DefaultScheduleStatus.STOPPED
    monkeypatch.setenv("QUALITY_SCHEDULE", "15 7 * * 1")
    schedule = quality.build_schedule(Settings())
    assert (schedule.cron_schedule, schedule.default_status) == ("15 7 * * 1", dg.DefaultScheduleStatus.RUNNING)


def test_doctor_says_whether_quality_is_looked_at_and_when_it_was_last(
    database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (looked_at(None).state, looked_at(database).state) == (State.OFF, State.OFF)
    monkeypatch.setenv("QUALITY_SCHEDULE", "0 6 * * *")
    assert "not judged yet" in looked_at(database).said
    for day, state in ((date.today() - timedelta(days=30), State.WARNING), (date.today(), State.FINE)):
        with database.begin() as connection:
            connection.execute(sa.text(_DAY), {"day": day})
        found = looked_at(database)
        assert (found.state, f"{day}" in found.said) == (state, True)
    monkeypatch.setenv("QUALITY_WORDS", "true")
    with monkeypatch.context() as without:
        without.setattr("importlib.util.find_spec", lambda name: None)
        found = next(quality.outlook(Site(Settings(), database)))
    assert (found.check, found.state, "pip install" in found.said) == ("words", State.WARNING, True)
    monkeypatch.setenv("QUALITY_CHANNELS", "nonsense")
    assert (looked_at(database).state, "QUALITY_CHANNELS" in looked_at(database).said) == (State.WRONG, True)
