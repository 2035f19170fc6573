"""What processes of ours write about themselves: JSON where that is asked for, and never a secret."""

import io
import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from imagesync_pipelines import logs, settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import COMMAND, environment_of, shell
from imagesync_pipelines_tests.cli.test_servers import answers, free_port, wait_for
from imagesync_pipelines_tests.installations import World, world

SECRET, IN_URL = "canary/pass word", "canary-of-dsn"
JSON = {"IMAGESYNC_LOG_FORMAT": "json"}
# A run as Dagster's run workers do it: with what the code location loads, and Dagster's own console.
WORKER = """
import dagster as dg
from imagesync_pipelines.definitions import defs
with dg.DagsterInstance.get() as instance:
    defs().resolve_job_def("image_db__sync").execute_in_process(instance=instance, raise_on_error=False)
"""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> tuple[logging.Logger, io.StringIO]:
    """A logger whose handler writes JSON, in a process that knows two secrets."""
    monkeypatch.setattr(settings, "_SECRETS", set())
    settings.remember_secret(SECRET)
    settings.remember_secret(f"postgresql://us:{IN_URL}@db.example.com/x")
    written, logger = io.StringIO(), logging.Logger("imagesync.edge", logging.DEBUG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGESYNC_LOG_FORMAT", "json")
        logger.addHandler(logs.dress(logs.dress(logging.StreamHandler(written))))
    return logger, written


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        ("all is well?", (), "all is well?"),
        ("%d of %d (really?)", (1, 2), "1 of 2 (really?)"),
        ("it says %s", (SECRET,), "it says ***"),
        ("it says %(what)s", ({"what": SECRET},), "it says ***"),
        (f"{SECRET} and canary%2Fpass+word", (), "*** and ***"),
        ("base64 Y2FuYXJ5L3Bhc3Mgd29yZA==", (), "base64 ***"),
        ("password %s is wrong", (IN_URL,), "password *** is wrong"),
        ("GET %s", ("https://u:canary@h.example/a?token=canary&x=1",), "GET https://***@h.example/a?***"),
        ("GET /a?canary HTTP/1.1", (), "GET /a?*** HTTP/1.1"),
        ("Authorization: Bearer canary.canary", (), "Authorization: Bearer ***"),
        ("host=h password=canary user=u", (), "host=h password=*** user=u"),
        ('{"access_token": "canary", "a": 1}', (), '{"access_token": "***", "a": 1}'),
        ("the token: it ended", (), "the token: it ended"),
        (f"{'my_' * 70_000} a_token_x=canary", (), f"{'my_' * 70_000} a_token_x=***"),
        ("secret_" * 30_000, (), "secret_" * 30_000),
        ("%d images", ("canary no number",), "%d images ('canary no number',)"),
        ("two\nlines", (), "two\nlines"),
        ("магазин №1 \udc80", (), "магазин №1 \udc80"),
    ],
)
def test_a_message_is_one_object_on_one_line_without_a_secret(
    log: tuple[logging.Logger, io.StringIO], message: str, arguments: tuple[Any, ...], said: str
) -> None:
    log[0].warning(message, *arguments)
    [line] = log[1].getvalue().splitlines()
    found = json.loads(line)
    assert (found["message"], found["level"], found["logger"]) == (said, "WARNING", "imagesync.edge")
    assert found["time"].endswith("+00:00")
    assert set(found) == {"message", "level", "logger", "time"}


def test_exceptions_stacks_and_extra_fields_are_clean_too(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    extra = {
        "n": 3, "calls": [f"/x?{SECRET}", {"api_key": "canary", SECRET: 1.5}], "password": "canary", "path": Path("/a"),
    }  # fmt: skip
    try:
        raise ValueError(f"no login with {SECRET}")
    except ValueError:
        logger.exception("it failed", extra=extra, stack_info=True)
    [line] = written.getvalue().splitlines()
    found = json.loads(line)
    assert "canary" not in line
    assert found["error"].startswith("Traceback (most recent call last)")
    assert "ValueError: no login with ***" in found["error"]
    assert "Stack (most recent call last)" in found["error"]
    assert [found[name] for name in ("n", "calls", "password", "path")] == [
        3, ["/x?***", {"api_key": "***", "***": 1.5}], "***", "/a"
    ]  # fmt: skip


def test_a_line_says_which_run_it_is_about(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    meta = {"run_id": "r2", "job_name": "edge__sync", "step_key": "edge__plan", "dagster_event": object()}
    with logs.about(run_id="r1", connector="edge", account=""):
        logger.info("one")
        logger.info("two", extra={"dagster_meta": meta})
    logger.info("three")
    one, two, three = map(json.loads, written.getvalue().splitlines())
    assert (one["run_id"], one["connector"], "account" in one) == ("r1", "edge", False)
    assert (two["run_id"], two["job"], two["step"], "dagster_meta" in two) == ("r2", "edge__sync", "edge__plan", False)
    assert "run_id" not in three


def test_lines_for_people_are_clean_too(
    log: tuple[logging.Logger, io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logs.dress(logs.Terminal())
    log[0].handlers[:] = [handler]
    log[0].error("no answer of %s", f"https://u:{SECRET}@h/")
    assert "no answer of https://***@h/" in capsys.readouterr().err


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(server, tmp_path_factory.mktemp("logs")) as made:
        yield made


def lines_of(text: str, place: World) -> list[dict[str, Any]]:
    """The lines that a process wrote, each an object, none with one of the installation's secrets."""
    secrets = {value for name, value in place.environment.items() if "PASSWORD" in name}
    assert secrets
    assert not [secret for secret in secrets if secret in text]
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_commands_run_workers_and_servers_write_nothing_else(place: World, tmp_path: Path) -> None:
    good = shell(place, tmp_path, "sync", "image-db", **JSON)
    *steps, ended = lines_of(good.out + good.err, place)
    assert {(one["run_id"], one["connector"]) for one in steps} == {(ended["run_id"], "image_db")}
    assert (good.code, ended["message"], ended["level"]) == (0, "run ended: completed", "INFO")
    assert (ended["connector"], ended["summary"]["status"]) == ("image_db", "completed")
    refused = shell(place, tmp_path, "apply", "12345", **JSON)
    [told] = lines_of(refused.out + refused.err, place)
    assert (refused.code, told["level"], "12345" in told["message"]) == (1, "ERROR", True)
    with place.opened() as (installation, _):
        found: Mapping[str, str] = installation.locations.environment()
    worker = subprocess.run(
        [sys.executable, "-c", WORKER], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=environment_of(place, {**found, **JSON, "IMAGE_API_PASSWORD": "refused-canary"}),
    )  # fmt: skip
    assert "refused-canary" not in worker.stdout + worker.stderr
    events = lines_of(worker.stdout + worker.stderr, place)
    assert any(one["level"] == "ERROR" and one["step"] == "image_db__api_pages" for one in events)
    assert {one["job"] for one in events if "job" in one} == {"image_db__sync"}
    assert len({one["run_id"] for one in events if "run_id" in one}) == 1


@pytest.mark.slow
def test_a_worker_of_celery_writes_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("celery")
    shown = tmp_path / "shown.txt"
    with shown.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "imagesync_pipelines.defs.celery_app", "worker", "--pool", "solo",
             "-l", "info"],
            cwd=tmp_path, text=True, stdout=file, stderr=subprocess.STDOUT,
            env=environment_of(None, {
                **JSON, "IMAGESYNC_CELERY_BROKER": "memory://", "IMAGESYNC_CELERY_BACKEND": "cache+memory://",
            }),
        )  # fmt: skip
    try:
        wait_for(lambda: " ready." in shown.read_text(), process, seconds=120)
    finally:
        process.kill()
        process.wait(60)
    found = [json.loads(line) for line in shown.read_text().splitlines()]
    assert {"celery.apps.worker", "kombu.connection"} <= {one["logger"] for one in found}


@pytest.mark.slow
def test_a_server_writes_nothing_else(place: World, tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", str(port)], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=environment_of(place, {**JSON, "CATALOGUE_PROCESSES": "2"}),
    )  # fmt: skip
    site = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{site}/"), process, seconds=60)
        with requests.Session() as browser:
            form = browser.get(f"{site}/login?next=/canary", timeout=20).text
            csrf = re.findall(r'name="csrf" value="([^"]+)"', form)[0]
            asked = {"name": "anna", "password": "canary", "csrf": csrf}
            refused = browser.post(f"{site}/login?token=canary", data=asked, timeout=20)
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert refused.status_code == 401
    assert "canary" not in said
    begun, told = lines_of(said, place)
    assert begun["message"].startswith("Catalogue: http")
    assert (told["message"], told["level"]) == ("a try to log in from 127.0.0.1 failed", "WARNING"), (
        "by one of two processes"
    )
