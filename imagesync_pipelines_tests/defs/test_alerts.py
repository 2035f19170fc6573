"""One message per failed run reaches a real receiver, says what happened, is not repeated, and leaks nothing."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from pydantic import SecretStr

from imagesync_pipelines.defs.alerts import (
    Alert,
    AlertNotSentError,
    build_run_failure_alert,
    failure_alert,
    kind_of,
    send,
    tell_once,
)
from imagesync_pipelines.defs.history import RunFailure
from imagesync_pipelines.defs.work import stage
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.sync.job_runs import PARTITION_TAG, range_tags

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CANARY = "canary-51c9"
UI = "https://dagster.example/"


@dataclass
class Receiver:
    """A real HTTP server that keeps what apprise posts to it."""

    port: int
    status: int = 200
    messages: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"json://user:{CANARY}@127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(received.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


class WorkConfig(dg.Config):
    """How the fake connector fails."""

    kind: str = "RuntimeError"
    text: str = "disk full"


@dg.asset(key=["image_db", "product_images"])
def product_images(context: dg.AssetExecutionContext, config: WorkConfig) -> dg.MaterializeResult:
    with stage(context, context.asset_key):
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
def ticking(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Ticking:
    """The sensor after its first tick, which only notes where the events end; alerts go to the receiver."""
    monkeypatch.setenv("IMAGESYNC_ALERT_URLS", receiver.url)
    monkeypatch.setenv("IMAGESYNC_WEBSERVER_URL", UI)
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


def test_a_receiver_that_is_down_fails_the_tick_without_its_secret_and_the_next_failure_is_sent(
    ticking: Ticking, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.status = 500
    fail(ticking.instance)
    reactions = ticking.tick().dagster_run_reactions
    assert reactions[0].error is not None
    assert "target 1 of IMAGESYNC_ALERT_URLS (json) was not reached" in reactions[0].error.to_string()
    assert CANARY not in reactions[0].error.to_string() + caplog.text
    receiver.status = 200
    receiver.messages.clear()
    fail(ticking.instance)
    ticking.tick()
    assert len(receiver.messages) == 1


def test_an_unreadable_memory_sends_rather_than_keeps_quiet(ticking: Ticking, receiver: Receiver) -> None:
    kind = kind_of("alerts", "image_db__sync", "RuntimeError")
    ticking.instance.daemon_cursor_storage.set_cursor_values({kind: "not json"})
    fail(ticking.instance)
    ticking.tick()
    assert len(receiver.messages) == 1


def told(instance: dg.DagsterInstance, receiver: Receiver, minutes: int, at: datetime) -> bool:
    """Whether an alert is sent at that moment, where repeats within so many minutes are not."""
    settings = Settings(alert_urls=[SecretStr(receiver.url)], alert_repeat_minutes=minutes)
    alert = Alert("imagesync/alerts/x", "title", ["line"], f"{UI}runs/r1")
    return tell_once(instance, alert, settings, logging.getLogger(__name__), at)


def test_what_was_sent_is_remembered_in_postgresql(postgres_instance: dg.DagsterInstance, receiver: Receiver) -> None:
    for minutes in (0, 1, 2, 3):
        told(postgres_instance, receiver, 60, NOW + timedelta(minutes=minutes))
    assert len(receiver.messages) == 1
    assert told(postgres_instance, receiver, 60, NOW + timedelta(minutes=60))
    assert receiver.messages[1]["message"].splitlines() == [
        "line",
        "3 more failures of this kind were not sent since 2026-11-21 12:00 UTC.",
        f"{UI}runs/r1",
    ]


@pytest.mark.parametrize(
    ("passed", "pause", "due"),
    [
        pytest.param(59, 60, False, id="within the pause"),
        pytest.param(60, 60, True, id="after the pause"),
        pytest.param(0, 0, True, id="no pause wanted"),
    ],
)
def test_a_repeat_is_due_after_the_pause(
    instance: dg.DagsterInstance, receiver: Receiver, passed: int, pause: int, due: bool
) -> None:
    assert told(instance, receiver, pause, NOW), "never sent before"
    assert told(instance, receiver, pause, NOW + timedelta(minutes=passed)) is due


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
    assert CANARY not in json.dumps(message)


def test_one_dead_target_does_not_keep_the_others_from_hearing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    targets = [SecretStr(f"nosuch://{CANARY}"), SecretStr(receiver.url), SecretStr(f"json://{CANARY}@127.0.0.1:9/x")]
    problems = send(targets, "title", "body")
    assert [message["title"] for message in receiver.messages] == ["title"]
    assert len(problems) == 2
    assert CANARY not in " ".join(problems) + caplog.text


def test_a_message_that_reaches_nobody_is_an_error() -> None:
    with pytest.raises(AlertNotSentError, match="target 1"):
        send([SecretStr(f"nosuch://{CANARY}")], "title", "body")


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
    assert (alert.lines, alert.link) == (expected, f"{UI}runs/r1")
