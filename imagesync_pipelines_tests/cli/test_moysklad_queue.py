"""`imagesync moysklad enqueue`, `queue` and `webhooks`: what they take, print and refuse."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result

from imagesync_pipelines.cli.main import root
from imagesync_pipelines.sandbox.server import bind
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines_tests.cli.terminals import environment_of
from imagesync_pipelines_tests.connectors.moysklad.names import MAIN_ID, NORTH_ID
from imagesync_pipelines_tests.connectors.moysklad.test_events import body, event
from imagesync_pipelines_tests.connectors.moysklad.test_payloads import ONE, SEVERAL, without

SECRET = "a-secret-of-tests-0123"
ACCOUNTS = f"""
[moysklad.main]
token = "env:TOKEN"
account_id = "{MAIN_ID}"

[moysklad.children.north]
token = "env:TOKEN"
account_id = "{NORTH_ID}"
mode = "first"
"""


@pytest.fixture
def place(locations: Locations, database_url: str, tmp_path: Path) -> dict[str, str]:
    """The variables of an installation with a main account and one child."""
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(ACCOUNTS, encoding="utf-8")
    return {
        "IMAGESYNC_HOME": str(tmp_path / "home"),
        "IMAGESYNC_DATABASE_URL": database_url,
        "IMAGESYNC_ACCOUNTS": str(accounts),
        "TOKEN": "canary-token",
        "MOYSKLAD_WEBHOOK_SECRET": SECRET,
    }


def run(place: dict[str, str], *words: str, sent: bytes = b"") -> Result:
    return CliRunner().invoke(root, ["moysklad", *words], env=place, input=sent)


def test_requests_come_from_standard_input_and_are_seen_in_the_queue(place: dict[str, str]) -> None:
    done = run(place, "enqueue", sent=json.dumps(ONE).encode())
    assert (done.exit_code, done.output) == (0, "1 request queued, 0 set aside\n")
    assert run(place, "enqueue", "-", sent=json.dumps([SEVERAL, SEVERAL]).encode()).exit_code == 0
    shown = run(place, "queue")
    assert shown.exit_code == 0
    assert "3 requests wait, 0 failed" in shown.output
    assert "north" in shown.output
    assert "Newest errors" not in shown.output


def test_requests_come_from_a_file_and_what_is_wrong_is_set_aside_and_told(
    place: dict[str, str], tmp_path: Path
) -> None:
    lines = [ONE, without(ONE, "child_entity_id"), {**ONE, "parent_entity_type": "service"}]
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    done = run(place, "enqueue", str(file))
    assert done.exit_code == 3
    assert "1 request queued, 2 set aside" in done.output
    assert "set aside: child_entity_id is missing" in done.output
    assert "set aside: parent_entity_type: " in done.output
    shown = run(place, "queue").output
    assert "1 request waits, 0 failed" in shown
    assert "child_entity_id is missing" in shown
    assert "set aside" in shown


def test_an_image_that_is_skipped_is_told_and_the_request_is_queued(place: dict[str, str]) -> None:
    images = [*SEVERAL["images"], {"meta": {}, "filename": "image2.jpg"}]
    done = run(place, "enqueue", sent=json.dumps({**SEVERAL, "images": images}).encode())
    said = "images.1 is skipped: meta.downloadHref is missing"
    assert (done.exit_code, done.output) == (0, f"1 request queued, 0 set aside\n  {said}\n")
    assert "Newest errors" in run(place, "queue").output


def test_many_that_are_wrong_do_not_flood_the_terminal(place: dict[str, str]) -> None:
    done = run(place, "enqueue", sent=json.dumps([{}] * 30).encode())
    assert len(done.output.splitlines()) == 22
    assert done.output.endswith("and 10 more\n")


def test_what_is_no_json_queues_nothing(place: dict[str, str]) -> None:
    done = run(place, "enqueue", sent=b"hello")
    assert done.exit_code == 1
    assert "This is no JSON" in done.output
    assert "0 requests wait, 0 failed" in run(place, "queue").output


def test_a_file_that_is_not_there_is_told(place: dict[str, str]) -> None:
    assert run(place, "enqueue", "nowhere.json").exit_code == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MOYSKLAD_WEBHOOK_SECRET": ""}, "MOYSKLAD_WEBHOOK_SECRET is not set"),
        ({"MOYSKLAD_WEBHOOK_SECRET": "short"}, "MOYSKLAD_WEBHOOK_SECRET: "),
        ({"MOYSKLAD_WEBHOOK_SECRET": "with/slashes/in/it/0123"}, "MOYSKLAD_WEBHOOK_SECRET: "),
        ({"IMAGESYNC_ACCOUNTS": ""}, r"\[moysklad.main\] account_id is not set"),
    ],
    ids=["no secret", "a short secret", "a secret that is no part of a URL", "no account id"],
)
def test_nothing_is_served_without_a_secret_and_an_account(
    place: dict[str, str], change: dict[str, str], said: str
) -> None:
    done = run({**place, **change}, "webhooks")
    assert isinstance(done.exception, SettingsError)
    with pytest.raises(SettingsError, match=said):
        raise done.exception


@pytest.fixture
def endpoints(place: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The endpoints as a process of their own, and its address."""
    with bind() as listener:
        port = listener.getsockname()[1]
    command = "from imagesync_pipelines.cli.main import root; root()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "moysklad", "webhooks", "--port", str(port)], cwd=tmp_path,
        env=environment_of(None, {**place, "IMAGESYNC_ENV_FILE": os.devnull}), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    yield f"http://127.0.0.1:{port}", process
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=10)


@pytest.mark.slow
def test_webhooks_are_served_until_a_signal_and_the_secret_is_never_printed(
    place: dict[str, str], endpoints: tuple[str, subprocess.Popen[str]]
) -> None:
    url, process = endpoints
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = requests.post(f"{url}/webhooks/moysklad/{SECRET}?requestId=1", body(event()), timeout=5)
            break
        except requests.ConnectionError:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
    assert answer.status_code == 204
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=30)
    assert "/webhooks/moysklad/<MOYSKLAD_WEBHOOK_SECRET>" in shown
    assert SECRET not in shown
    assert "Traceback" not in shown
    assert "1 request waits" in run(place, "queue").output
