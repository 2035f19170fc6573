"""`imagesync sync moysklad`, `plan` and `apply`: what they print, what they write, how they refuse."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.moysklad_installations import MoyskladWorld, moysklad_world

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[MoyskladWorld]:
    """The demo's main account, and two children without images: one gets all of them, one the first."""
    with moysklad_world(server, tmp_path) as made:
        yield made


@pytest.mark.slow
def test_a_dry_run_is_printed_looked_at_and_applied(place: MoyskladWorld, capsys: Shown) -> None:
    dry = call(place, capsys, "sync", "moysklad", "--account", "child-1", "--dry-run")
    assert dry.code == 0, dry.out + dry.err
    found = re.search(r"plan (\d+): add 54, .*apply it with: imagesync apply \1$", dry.out, re.M)
    assert found, dry.out
    plan = call(place, capsys, "plan", "--connector", "moysklad")
    assert f"plan {found[1]} of moysklad" in plan.out
    assert not any(place.shown("child-1").values())
    applied = call(place, capsys, "apply", found[1])
    assert applied.code == 0, applied.err
    assert "images added 54" in applied.out
    place.assert_converged({"child-1": "all"})


@pytest.mark.slow
def test_every_child_that_is_on_is_synchronised_and_told(place: MoyskladWorld, capsys: Shown) -> None:
    place.write_accounts({"child-1": "off", "child-2": "first"})
    done = call(place, capsys, "sync", "moysklad", "--full")
    assert done.code == 0, done.out + done.err
    assert re.findall(r"^account (\S+)$", done.out, re.M) == ["child-2"]
    assert "images added 18" in done.out
    named = call(place, capsys, "sync", "moysklad", "--account", "child-1")
    assert named.code == 3
    assert "skipped: image sync is disabled for child-1; set its mode to first or all" in named.out


def test_what_is_wrong_is_one_line(place: MoyskladWorld, capsys: Shown) -> None:
    unknown = call(place, capsys, "sync", "moysklad", "--account", "other")
    assert unknown.code == 1
    assert unknown.err.strip() == ("There is no child account 'other' in the accounts file; it has: child-1, child-2.")
    nobody = call(place, capsys, "sync", "moysklad", IMAGESYNC_ACCOUNTS="")
    assert nobody.code == 1
    assert "there are no child accounts of МойСклад" in nobody.err
    kind = call(place, capsys, "sync", "moysklad", "--entity-type", "service")
    assert kind.code == 2
    setting = call(place, capsys, "sync", "moysklad", MOYSKLAD_WORKERS="9")
    assert setting.code == 1
    assert setting.err.startswith("MOYSKLAD_WORKERS: ")
