"""Every command that shows or keeps locations: what it prints, what it changes, how it refuses."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.cli.main import root
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync import held
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.installations import FIRST, SECOND, World, block_status, world
from imagesync_pipelines_tests.places import ended_well

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation with odd records at its source, synchronised once: some of them are in quarantine."""
    with world(server, tmp_path_factory.mktemp("commands"), with_odd_records=True) as made:
        made.environment["IMAGE_DB_WALK_REPEATS"] = "0"
        ended_well(made.sync())
        yield made


def test_every_command_explains_itself(capsys: Shown) -> None:
    for name, command in root.commands.items():
        assert (command.help or "").strip(), name
        for inner, subcommand in getattr(command, "commands", {}).items():
            assert (subcommand.help or "").strip(), f"{name} {inner}"
    shown = call(None, capsys, "--help")
    assert shown.code == 0
    for name in (
        "sync",
        "plan",
        "apply",
        "quarantine",
        "history",
        "env",
        "clean",
        "image-db",
        "edge",
        "head-office",
        "demo",
        "dev",
        "sandbox",
        "sandbox-head-office",
    ):
        assert re.search(rf"^  {name} +\S", shown.out, flags=re.MULTILINE), name


@pytest.mark.slow
def test_a_dry_run_prints_its_plan_and_apply_does_it(place: World, capsys: Shown) -> None:
    dry = call(place, capsys, "sync", "image-db", "--dry-run", "--force")
    found = re.search(r"plan (\d+): add 0, .*nothing is written yet, apply it with: imagesync apply \1$", dry.out, re.M)
    assert found, dry.out
    updates = int(re.search(r"update (\d+)", dry.out)[1])  # type: ignore[index]
    assert updates > 0

    shown = call(place, capsys, "plan")
    assert shown.code == 0
    assert f"plan {found[1]} of image_db" in shown.out
    assert f"of {updates} rows that change" in shown.out.replace("\n", " ") or "rows that change" in shown.out
    assert "apply it with: imagesync apply" in shown.out

    applied = call(place, capsys, "apply", found[1])
    assert f"images updated {updates}" in applied.out
    assert "applied 20" in call(place, capsys, "plan", found[1]).out

    again = call(place, capsys, "apply", found[1])
    assert again.code == 3
    assert f"Plan {found[1]} had been applied before" in again.out


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_plan_that_is_not_there_is_told_in_one_line(place: World, capsys: Shown, command: str) -> None:
    shown = call(place, capsys, command, "4711")
    assert shown.code == 1
    assert shown.err.strip() == "There is no plan 4711; `imagesync plan` prints the last one."


def test_history_prints_runs_with_their_numbers(place: World, capsys: Shown) -> None:
    place.sync()
    shown = call(place, capsys, "history", "--limit", "1")
    assert shown.code == 0
    assert "the last 1 run" in shown.out
    line = r"│ [0-9a-f]{8} │ Synchronisation +│ completed │ \d{4}-\d\d-\d\d \d\d:\d\d │.*\n│ +│ Image database"
    assert re.search(line, shown.out), shown.out
    assert call(place, capsys, "history", "--connector", "plytix").out.startswith("the last 0 runs")

    joined = "imagesync.effect e JOIN imagesync.product p ON p.id::text = group_key"
    sku, run_id = place.rows(f"SELECT sku, run_id FROM {joined} ORDER BY e.id LIMIT 1")[0]
    told = call(place, capsys, "history", sku)
    assert re.search(rf"run {run_id[:8]}  image_db {sku}: picture .* added\n    nothing → .*: new", told.out), told
    picture = re.search(r"picture (\S+) added", told.out)
    assert picture
    told = call(place, capsys, "history", sku, "--image", picture[1])
    assert set(re.findall(r"picture (\S+)", told.out)) == {picture[1]}
    assert "name the SKU" in call(place, capsys, "history", "--image", picture[1]).err
    told = call(place, capsys, "history", run_id[:8], "--limit", "1")
    assert re.search(rf"run {run_id[:8]}  image_db \d+: picture .* added\n    new", told.out), told
    assert "nothing is neither the SKU of a product nor a run" in call(place, capsys, "history", "nothing").err


def test_choices_are_taken_back_each_by_itself(place: World, capsys: Shown) -> None:
    joined = "imagesync.product p JOIN imagesync.product_image i ON product_id = p.id"
    query = f"SELECT p.id, sku, external_id FROM {joined} WHERE NOT is_primary ORDER BY 1 LIMIT 1"
    product_id, sku, picture = place.rows(query)[0]
    with place.opened() as (installation, _):
        pin_image(installation.engine, product_id, "image_db", picture, "anna")
    undone = call(place, capsys, "undo", "--choice", "nothing", "--choice", sku)
    assert (undone.code, undone.out) == (1, f"{sku}: the rules choose the primary picture again\n")
    assert undone.err == "No choice of a picture or an order is known of a product nothing; nothing was changed.\n"
    assert call(place, capsys, "undo", "some-run", "--choice", sku).code == 2


def test_quarantine_is_listed_tried_again_and_dropped(place: World, capsys: Shown) -> None:
    listed = call(place, capsys, "quarantine", "list")
    before = int(re.search(r"(\d+) items of image_db in quarantine", listed.out)[1])  # type: ignore[index]
    assert before > 0
    item = str(place.rows("SELECT id FROM imagesync.quarantine ORDER BY id LIMIT 1")[0][0])

    calls = place.sandbox.ledger.count()
    replayed = call(place, capsys, "quarantine", "retry", "--connector", "image_db", item)
    assert replayed.code in (0, 3), replayed.err
    assert "1 items of image_db; 0 that were refused are sent again" in replayed.out
    assert "0 of 1 left the quarantine" in replayed.out
    assert "moysklad has nothing" in call(place, capsys, "quarantine", "retry", "--connector", "moysklad").out
    assert place.sandbox.ledger.count() == calls, "a replay reads stored pages"

    dropped = call(place, capsys, "quarantine", "drop", item)
    assert dropped.out == "dropped 1 of image_db\n"
    assert f"{before - 1} items of image_db" in call(place, capsys, "quarantine", "list").out
    refused = call(place, capsys, "quarantine", "drop", item)
    assert refused.code == 1
    assert f"not in quarantine: {item}" in refused.err


def test_discover_and_reset_pages_keep_the_partitions(place: World, capsys: Shown) -> None:
    place.sync()
    with place.opened() as (_, instance):
        blocks = block_status(instance)
    assert {FIRST, SECOND} <= set(blocks)
    reset = call(place, capsys, "image-db", "reset-pages")
    assert reset.out == f"forgot {len(blocks)} page blocks; the next synchronisation reads all pages again\n"
    found = call(place, capsys, "image-db", "discover")
    assert re.fullmatch(rf"\d+ pages in {len(blocks)} blocks; added {len(blocks)}, removed 0\.\n", found.out)


def test_another_block_size_is_refused_in_one_line_that_names_the_command(place: World, capsys: Shown) -> None:
    place.sync()
    refused = call(place, capsys, "sync", "image-db", IMAGE_DB_PAGES_PER_BLOCK="3")
    assert refused.code == 1
    assert len(refused.err.strip().splitlines()) == 1
    assert "`imagesync image-db reset-pages`" in refused.err


def test_env_prints_what_a_shell_can_evaluate(place: World, capsys: Shown) -> None:
    shown = call(place, capsys, "env")
    assert shown.code == 0
    values = {}
    for line in shown.out.splitlines():
        export, assignment = shlex.split(line)
        assert export == "export"
        name, _, value = assignment.partition("=")
        values[name] = value
    assert values["IMAGESYNC_HOME"] == str(Path(place.environment["IMAGESYNC_HOME"]).resolve())
    assert values["DAGSTER_HOME"] == values["IMAGESYNC_HOME"] + "/dagster"
    assert values["IMAGESYNC_DAGSTER_URL"].startswith("postgresql+psycopg2://")
    assert (Path(values["DAGSTER_HOME"]) / "dagster.yaml").exists()
    assert (Path(values["DAGSTER_HOME"]) / "workspace.yaml").exists()


def test_clean_removes_a_home_and_nothing_else(tmp_path: Path, capsys: Shown) -> None:
    home = tmp_path / "home"
    missing = call(None, capsys, "clean", IMAGESYNC_HOME=str(home))
    assert (missing.code, "nothing to clean" in missing.out) == (0, True)
    (home / "somebodys files").mkdir(parents=True)
    refused = call(None, capsys, "clean", IMAGESYNC_HOME=str(home))
    assert refused.code == 1
    assert "does not look like an IMAGESYNC_HOME" in refused.err
    assert home.exists()
    (home / "dagster").mkdir()
    (home / "storage" / "plans").mkdir(parents=True)
    (home / "postgres.lock").touch()
    removed = call(None, capsys, "clean", "--yes", IMAGESYNC_HOME=str(home))
    assert "Not ours, stays: somebodys files\n" in removed.out
    assert removed.out.endswith(f"removed what was ours in {home}\n")
    assert [place.name for place in home.iterdir()] == ["somebodys files"]
    (home / "somebodys files").rmdir()
    (home / "dagster").mkdir()
    assert call(None, capsys, "clean", "--yes", IMAGESYNC_HOME=str(home)).out.endswith(f"removed {home}\n")
    assert not home.exists()


def test_a_missing_password_is_named_and_nothing_is_started(place: World, capsys: Shown) -> None:
    shown = call(place, capsys, "sync", "image-db", IMAGE_API_PASSWORD="")
    assert shown.code == 1
    assert shown.err.strip() == "not set: IMAGE_API_PASSWORD. Put them into .env (see .env.example)."


def test_an_unknown_sku_is_told(place: World, capsys: Shown) -> None:
    shown = call(place, capsys, "sync", "image-db", "--sku", "no-such-sku")
    assert shown.code == 1
    assert "no product with the SKU no-such-sku" in shown.out


def test_what_is_held_back_is_listed_allowed_and_kept(place: World, capsys: Shown) -> None:
    with place.opened() as (installation, _):
        rows = [held.HeldRow(key, "g", "f", held.LIMIT, "held back: 9 removals are more than 3") for key in "abc"]
        held.hold(installation.engine, "image_db", "", "test", rows)
        numbers = [str(one.id) for one in held.undecided(installation.engine)]
    listed = call(place, capsys, "held", "list", "--connector", "image_db")
    assert listed.code == 3
    assert "3 held back, 0 decided" in listed.out
    assert "9 removals are more than 3" in listed.out
    assert "not held: 0" in call(place, capsys, "held", "allow", "0").err
    assert "1 allowed" in call(place, capsys, "held", "allow", numbers[0]).out
    assert "2 kept" in call(place, capsys, "held", "keep", "--all").out
    assert call(place, capsys, "held", "list").code == 0
    assert "nothing was chosen" in call(place, capsys, "held", "keep").err
    with place.opened() as (installation, _):
        held.hold(installation.engine, "image_db", "", "test", [])
