"""One message per failed run reaches a real receiver, says what happened, is not repeated, and leaks nothing."""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.sensor_definition import SensorExecutionData
from pydantic import SecretStr

from imagesync_pipelines.defs.alerts import (
    Told,
    build_run_failure_alert,
    does_the_same,
    failure_alert,
    presentable,
    send,
    tell,
)
from imagesync_pipelines.defs.history import RunFailure
from imagesync_pipelines.defs.watching import over_by_now
from imagesync_pipelines.defs.work import stage
from imagesync_pipelines.languages.current import MARKED
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.alerts import Alert, AlertNotSentError, end_alerts, kept_alerts
from imagesync_pipelines.sync.job_runs import ALL_BLOCKS_TAG, PARTITION_TAG, PLAN_TAG, range_tags
from imagesync_pipelines_tests.defs.conftest import Receiver

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
UI = "https://dagster.example/"


class WorkConfig(dg.Config):
    """How the fake connector fails."""

    kind: str = "RuntimeError"
    text: str = "disk full"


@dg.asset(key=["image_db", "product_images"])
def product_images(context: dg.AssetExecutionContext, config: WorkConfig) -> dg.MaterializeResult:
    with stage(context, context.asset_key):
        if config.kind == "none":
            return dg.MaterializeResult()
        raise {"RuntimeError": RuntimeError, "ValueError": ValueError}[config.kind](config.text)
    return dg.MaterializeResult()


@dg.asset(key=["plytix", "plan"], retry_policy=dg.RetryPolicy(max_retries=1))
def unwrapped() -> dg.MaterializeResult:
    raise KeyError("no such column")


DEFINITIONS = dg.Definitions(
    assets=[product_images, unwrapped],
    jobs=[dg.define_asset_job("image_db__sync", selection=[product_images])],
    executor=dg.in_process_executor,
)


def fail(instance: dg.DagsterInstance, tags: dict[str, str] | None = None, **config: str) -> str:
    job = DEFINITIONS.resolve_job_def("image_db__sync")
    result = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags=tags,
        run_config={"ops": {"image_db__product_images": {"config": config}}},
    )
    assert not result.success
    return result.run_id


@dataclass
class Ticking:
    """The sensor as the daemon drives it: each tick gets the cursor that the one before left."""

    instance: dg.DagsterInstance
    cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=DEFINITIONS.get_repository_def(),
            # As in the daemon; runs that were started in process name no repository.
            repository_name="__repository__",
        ) as context:
            data = build_run_failure_alert().evaluate_tick(context)
        self.cursor = data.cursor
        return data


@pytest.fixture
def ticking(instance: dg.DagsterInstance, receiver: Receiver) -> Ticking:
    """The sensor after its first tick, which only notes where the events end; alerts go to the receiver."""
    ticking = Ticking(instance)
    ticking.tick()
    return ticking


def test_a_run_that_failed_in_process_is_told_with_asset_error_and_link(ticking: Ticking, receiver: Receiver) -> None:
    run_id = fail(ticking.instance, tags=range_tags("000001-000010", "000011-000020"))
    ticking.tick()
    (message,) = receiver.messages
    assert message["title"] == "imagesync: image_db__sync failed (RuntimeError)"
    assert message["type"] == "failure"
    assert message["message"].splitlines() == [
        "Job: image_db__sync",
        "Failed: image_db/product_images",
        "Partitions: 000001-000010 to 000011-000020",
        "Error: RuntimeError: disk full",
        f"https://dagster.example/runs/{run_id}",
    ]


def test_a_run_is_told_once_however_often_the_sensor_looks(ticking: Ticking, receiver: Receiver) -> None:
    fail(ticking.instance)
    for _ in range(3):
        ticking.tick()
    assert len(receiver.messages) == 1


def test_the_same_failure_is_counted_and_another_is_sent(ticking: Ticking, receiver: Receiver) -> None:
    for _ in range(3):
        fail(ticking.instance)
    fail(ticking.instance, kind="ValueError")
    ticking.tick()
    assert [message["title"].split("(")[1] for message in receiver.messages] == ["RuntimeError)", "ValueError)"]


def test_after_the_pause_the_count_is_told(
    ticking: Ticking, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        fail(ticking.instance)
    ticking.tick()
    monkeypatch.setenv("IMAGESYNC_ALERT_REPEAT_MINUTES", "0")
    fail(ticking.instance)
    ticking.tick()
    assert len(receiver.messages) == 2
    assert "2 more failures of this kind were not sent since" in receiver.messages[1]["message"]
    fail(ticking.instance)
    ticking.tick()
    assert "were not sent" not in receiver.messages[2]["message"]


def test_an_automatic_retry_is_not_told_again(ticking: Ticking, receiver: Receiver) -> None:
    fail(ticking.instance, tags={"dagster/retry_number": "1"})
    fail(ticking.instance, kind="ValueError")
    ticking.tick()
    assert [message["title"] for message in receiver.messages] == ["imagesync: image_db__sync failed (ValueError)"]


def test_without_targets_the_tick_says_so(ticking: Ticking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESYNC_ALERT_URLS", "")
    fail(ticking.instance)
    assert "IMAGESYNC_ALERT_URLS is empty" in (ticking.tick().skip_message or "")


def test_the_same_failure_of_a_second_store_is_told(ticking: Ticking, receiver: Receiver) -> None:
    for store in ("north", "south", "north"):
        fail(ticking.instance, tags={PARTITION_TAG: store})
    ticking.tick()
    assert receiver.titles() == [
        "imagesync: image_db__sync failed for north (RuntimeError)",
        "imagesync: image_db__sync failed for south (RuntimeError)",
    ]


def test_a_message_that_reaches_nobody_is_kept_and_sent_again_and_its_secret_is_not_told(
    ticking: Ticking, receiver: Receiver, database: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.status = 500
    run_id = fail(ticking.instance)
    fail(ticking.instance)
    ticking.tick()
    receiver.status = 200
    receiver.messages.clear()
    (kept,) = kept_alerts(database, waiting=True)
    assert (kept.connector, kept.error, kept.attempts, kept.more) == ("image_db", "RuntimeError", 1, 1)
    assert kept.due_at is not None
    settings, log = load_settings(Settings), logging.getLogger(__name__)
    assert tell(database, [], settings, log, kept.due_at - timedelta(seconds=1)) == Told(0, 1), "not yet"
    assert tell(database, [], settings, log, kept.due_at) == Told(1, 0)
    (message,) = receiver.messages
    assert "Error: RuntimeError: disk full" in message["message"]
    assert "1 more failures of this kind were not sent." in message["message"]
    assert "no target could be reached before" in message["message"]
    assert run_id != kept.link.rpartition("/")[2], "the newest one's link"
    assert receiver.secret not in caplog.text


def test_a_table_that_cannot_be_read_sends_rather_than_keeps_quiet(
    ticking: Ticking, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGESYNC_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/gone")
    for _ in range(2):
        fail(ticking.instance)
    ticking.tick()
    assert len(receiver.messages) == 2
    assert "Error: RuntimeError: disk full" in receiver.messages[0]["message"]


def told(database: sa.Engine, receiver: Receiver, minutes: int, at: datetime, partition: str = "") -> int:
    """How many messages are sent when something happens at that moment; repeats within so many minutes are not."""
    settings = Settings(alert_urls=[SecretStr(receiver.url)], alert_repeat_minutes=minutes)
    alert = Alert("edge", partition, "x", "title", "line", f"{UI}runs/r1")
    return tell(database, [alert], settings, logging.getLogger(__name__), at).sent


def test_a_repeat_is_counted_and_the_next_message_says_how_many(database: sa.Engine, receiver: Receiver) -> None:
    for minutes in (0, 1, 2, 3):
        told(database, receiver, 60, NOW + timedelta(minutes=minutes))
    assert len(receiver.messages) == 1
    assert told(database, receiver, 60, NOW + timedelta(minutes=60))
    assert receiver.messages[1]["message"].splitlines() == [
        "line",
        "3 more failures of this kind were not sent since 2026-11-21 12:00 UTC.",
        f"{UI}runs/r1",
    ]


@pytest.mark.parametrize(
    ("passed", "pause", "partition", "due"),
    [
        pytest.param(59, 60, "", 0, id="within the pause"),
        pytest.param(60, 60, "", 1, id="after the pause"),
        pytest.param(0, 0, "", 1, id="no pause wanted"),
        pytest.param(1, 60, "airport", 1, id="another store"),
        pytest.param(-1, 60, "", 0, id="by another host's clock"),
        pytest.param(-1440, 60, "", 1, id="after the clock was set back"),
    ],
)
def test_a_repeat_is_due_after_the_pause(
    database: sa.Engine, receiver: Receiver, passed: int, pause: int, partition: str, due: int
) -> None:
    assert told(database, receiver, pause, NOW) == 1, "never sent before"
    assert told(database, receiver, pause, NOW + timedelta(minutes=passed), partition) == due


def test_what_waits_does_not_wait_until_a_clock_that_was_set_back_is_there_again(
    database: sa.Engine, receiver: Receiver
) -> None:
    receiver.status = 500
    assert told(database, receiver, 60, NOW) == 0
    receiver.status = 200
    assert told(database, receiver, 60, NOW - timedelta(days=1)) == 1


def test_a_run_that_died_without_a_failed_step_is_told(ticking: Ticking, receiver: Receiver) -> None:
    run = dg.DagsterRun(job_name="image_db__sync", status=dg.DagsterRunStatus.STARTED)
    ticking.instance.add_run(run)
    ticking.instance.report_run_failed(run, message="The run worker was killed (exit code -9).")
    ticking.tick()
    (message,) = receiver.messages
    assert "Error: The run worker was killed (exit code -9)." in message["message"].splitlines()
    assert "Failed:" not in message["message"]


def test_the_real_error_is_found_behind_dagsters_wrappers_and_retries(ticking: Ticking, receiver: Receiver) -> None:
    dg.materialize([unwrapped], instance=ticking.instance, raise_on_error=False)
    ticking.tick()
    (message,) = receiver.messages
    assert message["title"].endswith("(KeyError)")
    assert "Error: KeyError: 'no such column'" in message["message"]
    assert "Failed: plytix/plan" in message["message"]


def test_a_secret_of_an_alert_target_in_an_error_is_not_sent(ticking: Ticking, receiver: Receiver) -> None:
    fail(ticking.instance, text=f"could not post to {receiver.url}")
    ticking.tick()
    (message,) = receiver.messages
    assert "could not post to json://***@127.0.0.1" in message["message"]
    assert receiver.secret not in json.dumps(message)


def test_one_dead_target_does_not_keep_the_others_from_hearing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    targets = [
        SecretStr(f"nosuch://{receiver.secret}"),
        SecretStr(receiver.url),
        SecretStr(f"json://{receiver.secret}@127.0.0.1:9/x"),
    ]
    problems = send(targets, "title", "body")
    assert [message["title"] for message in receiver.messages] == ["title"]
    assert len(problems) == 2
    assert receiver.secret not in " ".join(problems) + caplog.text


def test_an_alert_is_kept_in_english_and_leaves_in_the_language_of_the_setting(
    receiver: Receiver, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "Job: x\nError: a schedule has five fields: minute hour day month weekday, e.g. 0 3 * * *"
    monkeypatch.setenv("IMAGESYNC_LANGUAGE", MARKED)
    told = Alert("edge", "", "x", "imagesync: it failed", body, "l", ends_with="")
    assert tell(database, [told], load_settings(Settings), logging.getLogger("imagesync"), NOW).sent == 1
    assert "⟦a schedule has five fields" in receiver.messages[0]["message"]
    assert [one.body for one in kept_alerts(database)] == [body]


def test_a_message_that_reaches_nobody_is_an_error() -> None:
    with pytest.raises(AlertNotSentError, match="target 1"):
        send([SecretStr("nosuch://somewhere")], "title", "body")


@pytest.mark.parametrize(
    ("failure", "tags", "expected"),
    [
        pytest.param(
            RunFailure(("image_db/plan",), "ValueError", "ValueError: bad"),
            {},
            ["Job: image_db__sync", "Failed: image_db/plan", "Error: ValueError: bad"],
            id="one step",
        ),
        pytest.param(
            RunFailure(("image_db/plan",), "ValueError", "ValueError: bad"),
            {PARTITION_TAG: "a", "dagster/will_retry": "true"},
            [
                "Job: image_db__sync",
                "Failed: image_db/plan",
                "Partitions: a",
                "Error: ValueError: bad",
                "Dagster starts it once more by itself.",
            ],
            id="one partition, will be tried again",
        ),
        pytest.param(RunFailure((), "RunDied", ""), {}, ["Job: image_db__sync", "Error: RunDied"], id="died"),
        pytest.param(
            RunFailure(tuple(f"connector/a{i}" for i in range(30)), "E", "E"),
            {},
            [
                "Job: image_db__sync",
                "Failed: " + ", ".join(f"connector/a{i}" for i in range(20)) + " and 10 more",
                "Error: E",
            ],
            id="many steps",
        ),
    ],
)
def test_the_message_says_what_there_is_to_say(failure: RunFailure, tags: dict[str, str], expected: list[str]) -> None:
    run = dg.DagsterRun(job_name="image_db__sync", run_id="r1", tags=tags)
    alert = failure_alert(run, failure, Settings(webserver_url=UI))
    assert (alert.body.splitlines(), alert.link) == (expected, f"{UI}runs/r1")


def succeed(instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    ops = {"image_db__product_images": {"config": {"kind": "none"}}}
    job = DEFINITIONS.resolve_job_def("image_db__sync")
    assert job.execute_in_process(instance=instance, tags=tags, run_config={"ops": ops}).success


def test_that_a_run_completes_again_is_told_once_and_only_for_its_own_account(
    ticking: Ticking, receiver: Receiver, database: sa.Engine
) -> None:
    instance, settings, log = ticking.instance, load_settings(Settings), logging.getLogger(__name__)

    def look() -> list[str]:
        receiver.messages.clear()
        tell(database, [], settings, log, ended=lambda told: over_by_now(instance, told))
        return receiver.titles()

    for _ in range(2):
        fail(instance, {PARTITION_TAG: "north"})
    fail(instance, {PARTITION_TAG: "north"}, kind="ValueError")
    fail(instance, {PARTITION_TAG: "south"})
    ticking.tick()
    assert look() == []
    succeed(instance, {PARTITION_TAG: "north"})
    assert look() == ["imagesync: over: 2 troubles of image_db/north"]
    (message,) = receiver.messages
    assert "RuntimeError" in message["message"]
    assert "and 1 times more that were not sent" in message["message"]
    assert message["type"] == "success"
    assert look() == []
    fail(instance, {PARTITION_TAG: "north"})
    receiver.messages.clear()
    ticking.tick()
    assert receiver.titles() == ["imagesync: image_db__sync failed for north (RuntimeError)"], "it is news again"


def test_an_end_that_reaches_nobody_is_kept_and_one_that_was_never_told_is_not(
    database: sa.Engine, receiver: Receiver
) -> None:
    settings, log = Settings(alert_urls=[SecretStr(receiver.url)]), logging.getLogger(__name__)
    receiver.status = 500
    assert told(database, receiver, 60, NOW) == 0
    assert end_alerts(database, kept_alerts(database), NOW) == 0, "nobody was told that it began"
    receiver.status = 200
    tell(database, [], settings, log, NOW + timedelta(minutes=2))
    receiver.status = 500
    later = NOW + timedelta(hours=1)
    assert tell(database, [], settings, log, later, ended=lambda told: told) == Told(0, 1)
    receiver.status = 200
    receiver.messages.clear()
    assert tell(database, [], settings, log, later + timedelta(minutes=2)) == Told(1, 0)
    assert receiver.titles() == ["imagesync: over: title"]
    assert kept_alerts(database) == []


def test_what_happens_again_before_its_end_was_told_is_not_over(database: sa.Engine, receiver: Receiver) -> None:
    assert told(database, receiver, 60, NOW) == 1
    end_alerts(database, kept_alerts(database), NOW)
    receiver.messages.clear()
    assert told(database, receiver, 60, NOW + timedelta(minutes=1)) == 1
    assert receiver.titles() == ["title"]


A_RUN = {"job_name": "edge__sync", "run_id": "r1"}
FULL = {"run_config": {"ops": {"x": {"config": {"full": True}}, "y": {}}}}


@pytest.mark.parametrize(
    ("later", "failed", "expected"),
    [
        pytest.param({}, {}, True, id="the same"),
        pytest.param({"job_name": "edge__scrub"}, {}, False, id="another job"),
        pytest.param({"tags": {PARTITION_TAG: "a"}}, {"tags": {PARTITION_TAG: "b"}}, False, id="another account"),
        pytest.param(
            {"tags": {**range_tags("1", "9"), ALL_BLOCKS_TAG: "true"}},
            {"tags": {**range_tags("1", "8"), ALL_BLOCKS_TAG: "true"}},
            True,
            id="all pages, of which there are more now",
        ),
        pytest.param({"run_config": {"ops": {"x": {"config": {"dry_run": True}}}}}, {}, False, id="a dry run"),
        pytest.param({}, FULL, False, id="the hourly run, where the full one failed"),
        pytest.param({**FULL, "run_id": "r3"}, FULL, True, id="the next full run"),
        pytest.param(FULL, {}, True, id="a full run, where the hourly one failed"),
        pytest.param({"tags": {PLAN_TAG: "6"}}, {"tags": {PLAN_TAG: "5"}}, False, id="another plan"),
        pytest.param({"tags": {PLAN_TAG: "5"}}, {"tags": {PLAN_TAG: "5"}}, True, id="the same plan"),
        pytest.param({"asset_selection": {dg.AssetKey("a")}}, {}, False, id="a part of it"),
        pytest.param({}, {"asset_selection": {dg.AssetKey("a")}}, True, id="more than it"),
        pytest.param(
            {"asset_selection": {dg.AssetKey("a")}, "root_run_id": "r1", "parent_run_id": "r1"},
            {},
            True,
            id="its re-execution from where it failed",
        ),
    ],
)
def test_only_a_run_that_did_no_less_ends_a_failure(
    later: dict[str, object], failed: dict[str, object], expected: bool
) -> None:
    one, other = ({**A_RUN, **more} for more in ({"run_id": "r2", **later}, failed))
    assert does_the_same(dg.DagsterRun(**one), dg.DagsterRun(**other)) is expected  # type: ignore[arg-type]


def test_a_message_leaves_without_secrets_users_of_urls_and_mail_addresses() -> None:
    alert = Alert("edge", "", "x", "refused for jo.doe+1@shop.example", "at https://jo:pw@host/x with s3cr3t", "l")
    clean = presentable(alert, [SecretStr("s3cr3t")])
    assert (clean.title, clean.body) == ("refused for (a mail address)", "at https://***@host/x with ***")
