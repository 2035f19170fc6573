"""Doctor on every connector: the right line for what is wrong, few calls, no secret, and nothing is changed."""

import json
from typing import Any

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.conformance.subject import WRONG_PASSWORD, Subject

pytestmark = pytest.mark.slow

Shown = pytest.CaptureFixture[str]
SECRET = ("PASSWORD", "TOKEN", "KEY", "SECRET")
# A daemon never ran here, and the other connectors are not set up.
QUIET = {"ok", "off"}


def asked(site: Any, capsys: Shown) -> tuple[int, dict[tuple[str, str], dict[str, str]]]:
    """How doctor ended, and what it found by part and question. No secret is in it."""
    ended = call(site, capsys, "doctor", "--json")
    text = ended.out + ended.err
    secrets = {value for name, value in site.environment.items() if name.endswith(SECRET) or "_TOKEN" in name}
    assert not [secret for secret in {*secrets, WRONG_PASSWORD} if secret in text]
    assert "Traceback" not in text
    found = json.loads(ended.out)
    assert found["exit_code"] == ended.code
    return ended.code, {(one["part"], one["check"]): one for one in found["findings"]}


def wrong(found: dict[tuple[str, str], dict[str, str]], check: str = "answers") -> set[str]:
    """The parts of which the answer to a question is wrong; each says what to do."""
    lines = {part: one for (part, asked), one in found.items() if one["state"] == "wrong" and asked == check}
    assert all(one["said"] and (one["todo"] or "`imagesync" in one["said"]) for one in lines.values()), lines
    return set(lines)


def test_doctor_finds_what_is_wrong_and_changes_nothing(subject: Subject, site: Any, capsys: Shown) -> None:
    assert site.sync(**subject.whole).status is runs.Status.COMPLETED
    stamps, memory, calls = site.stamps(), memory_of(site), site.calls()
    code, found = asked(site, capsys)
    assert (code, {one["state"] for one in found.values()} - QUIET) == (0, set())
    assert any(part.startswith(subject.name) for part, check in found if check == "answers")
    assert site.calls() - calls == subject.doctor_calls

    with site.wrong_password() as refused:
        code, found = asked(site, capsys)
        if refused:
            assert code == 1
            assert refused in wrong(found)
            assert "refused" in found[refused, "answers"]["said"]
    with site.unreachable() as gone:
        code, found = asked(site, capsys)
        assert (code, wrong(found)) == (1, gone)
    with site.another():
        code, found = asked(site, capsys)
        (part,) = wrong(found, "account")
        assert code == 1
        assert "imagesync identity accept" in found[part, "account"]["said"] + found[part, "account"]["todo"]
    assert (site.stamps(), memory_of(site)) == (stamps, memory)


def memory_of(site: Any) -> list[Any]:
    """What is remembered of accounts, and what runs left."""
    return [
        site.rows(f"SELECT t::text FROM imagesync.{table} t ORDER BY 1")
        for table in ("account_identity", "target_memory", "cursor", "plan", "held", "quarantine", "handover")
    ]
