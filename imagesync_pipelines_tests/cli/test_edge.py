"""`imagesync sync edge` and `imagesync edge …` on a terminal: what they print, what they change, how they refuse."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.edge_installations import EdgeWorld, edge_world, head_office
from imagesync_pipelines_tests.places import ended_well

pytestmark = pytest.mark.slow

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeWorld]:
    """Two stores, synchronised once."""
    folder = tmp_path_factory.mktemp("edge")
    with (
        head_office(server, folder / "office", photos=8) as office,
        edge_world(server, folder / "place", office) as made,
    ):
        ended_well(made.sync("store1", full=True))
        ended_well(made.sync("store2", full=True))
        yield made


def test_a_synchronisation_prints_every_store_and_ends_well(place: EdgeWorld, capsys: Shown) -> None:
    place.office.mutate("replace")
    shown = call(place, capsys, "sync", "edge")
    assert shown.code == 0, shown.err
    assert re.findall(r"^store (\w+)$", shown.out, re.M) == ["store1", "store2"]
    assert "images updated 1" in shown.out
    place.assert_converged()


def test_one_store_alone_and_a_plan_that_is_applied_later(place: EdgeWorld, capsys: Shown) -> None:
    place.office.mutate("edit")
    dry = call(place, capsys, "sync", "edge", "--store", "store1", "--full", "--dry-run")
    found = re.search(r"plan (\d+): .*update 1; nothing is written yet", dry.out)
    assert found, dry.out
    assert "store2" not in dry.out
    assert f"plan {found[1]} of edge" in call(place, capsys, "plan", "--connector", "edge").out
    assert "images updated 1" in call(place, capsys, "apply", found[1]).out
    place.assert_converged()


def test_a_store_that_there_is_not_is_told_in_one_line(place: EdgeWorld, capsys: Shown) -> None:
    shown = call(place, capsys, "sync", "edge", "--store", "nowhere")
    assert shown.code == 1
    assert shown.err.strip().endswith("it has: store1, store2.")
    nothing = call(place, capsys, "sync", "edge", IMAGESYNC_ACCOUNTS="")
    assert nothing.code == 1
    assert "IMAGESYNC_ACCOUNTS" in nothing.err


def test_a_failed_store_gives_the_exit_code_of_a_failure(place: EdgeWorld, capsys: Shown) -> None:
    shown = call(place, capsys, "sync", "edge", HEAD_OFFICE_PASSWORD="wrong")
    assert shown.code == 1
    assert shown.out.count("failed: run") == 2


def test_check_prints_every_step(place: EdgeWorld, capsys: Shown) -> None:
    shown = call(place, capsys, "edge", "check", "--store", "store1")
    assert shown.code == 0
    steps = re.findall(r"^ok +(.+?): ", shown.out, re.M)
    assert steps == [
        "token", "list", "incremental list", "download with checksum", "status report", "pagination to the end",
        "invalid store",
    ]  # fmt: skip
    refused = call(place, capsys, "edge", "check", "--store", "store1", HEAD_OFFICE_PASSWORD="wrong")
    assert refused.code == 1
    assert "FAILED  token: " in refused.out


def test_reset_failed_makes_pending_what_failed_or_everything(place: EdgeWorld, capsys: Shown) -> None:
    place.rows(
        "UPDATE product_photo SET sync_status = 'failed' WHERE id = (SELECT min(id::text)::uuid FROM product_photo)"
    )
    assert "store1: 1 photos are pending" in call(place, capsys, "edge", "reset-failed", "--store", "store1").out
    everything = len(place.photos("store2"))
    shown = call(place, capsys, "edge", "reset-failed", "--store", "store2", "--all")
    assert f"store2: {everything} photos are pending" in shown.out
    call(place, capsys, "sync", "edge")
    place.assert_converged()
    place.assert_converged("store2")


def test_migrate_adds_what_an_old_table_lacks_and_drops_nothing(place: EdgeWorld, capsys: Shown) -> None:
    place.rows("DROP INDEX idx_product_photo_sync_status")
    place.rows("ALTER TABLE product_photo ADD COLUMN their_own text")
    told = call(place, capsys, "sync", "edge", "--store", "store1")
    assert told.code == 3, "the run works and says what could be better"
    assert "`imagesync edge migrate --store store1`" in told.out.replace("\n", " ")
    shown = call(place, capsys, "edge", "migrate")
    assert "store1: product_photo has no index on sync_status: added" in shown.out
    assert "store2: nothing is missing" in shown.out
    columns = place.rows("SELECT column_name FROM information_schema.columns WHERE table_name = 'product_photo'")
    assert ("their_own",) in columns


def test_an_old_table_without_the_columns_is_refused_until_it_is_migrated(place: EdgeWorld, capsys: Shown) -> None:
    place.rows("ALTER TABLE product_photo DROP COLUMN sync_error", "store2")
    refused = call(place, capsys, "sync", "edge", "--store", "store2")
    assert refused.code == 1
    assert "has no column sync_error" in refused.out
    call(place, capsys, "edge", "migrate", "--store", "store2")
    assert call(place, capsys, "sync", "edge", "--store", "store2", "--full").code == 0
    place.assert_converged("store2")


def test_scrub_prints_what_it_repaired(place: EdgeWorld, capsys: Shown) -> None:
    call(place, capsys, "sync", "edge", "--full")
    assert call(place, capsys, "edge", "scrub").code == 0
    place.rows("UPDATE product_photo SET image_binary = 'x' WHERE id = (SELECT min(id::text)::uuid FROM product_photo)")
    shown = call(place, capsys, "edge", "scrub", "--store", "store1")
    assert shown.code == 3
    assert "1 stored photos were not what their checksums say" in shown.out
    place.assert_converged()


def test_history_names_the_store(place: EdgeWorld, capsys: Shown) -> None:
    shown = call(place, capsys, "history", "--connector", "edge", "--limit", "1")
    assert re.search(r"│ Edge stores/store\d", shown.out), shown.out


def test_the_photo_server_refuses_a_redirect_without_a_target(place: EdgeWorld, capsys: Shown) -> None:
    shown = call(place, capsys, "edge", "serve", "--store", "store1", EDGE_MISSING_PHOTO="redirect")
    assert shown.code == 1
    assert shown.err.strip() == "EDGE_MISSING_PHOTO=redirect needs EDGE_BUCKET_URL"


def test_the_database_of_a_head_office_is_not_served_as_a_store_and_gets_no_table(
    place: EdgeWorld, capsys: Shown, tmp_path: Path
) -> None:
    office = place.office.office.engine
    accounts, url = tmp_path / "accounts.toml", office.url.render_as_string(hide_password=False)
    text = Path(place.environment["IMAGESYNC_ACCOUNTS"]).read_text(encoding="utf-8")
    accounts.write_text(text.replace(place.url_of("store1"), url), encoding="utf-8")
    shown = call(place, capsys, "edge", "serve", "--store", "store1", IMAGESYNC_ACCOUNTS=str(accounts))
    assert shown.code == 1
    assert "[edge.stores.store1] dsn opens the database of a head office itself" in shown.err
    with office.connect() as connection:
        assert connection.exec_driver_sql("SELECT to_regclass('product_photo')").scalar() is None
