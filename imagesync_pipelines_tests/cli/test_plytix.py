"""`imagesync sync plytix`, `plan`, `apply` and `plytix cleanup`: what they print, what they write, how they refuse."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.cli.plytix import cleanup, sync
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.plytix_installations import PlytixWorld, plytix_world

Shown = pytest.CaptureFixture[str]
COMMON = {"--plytix-account", "--allow-mass-delete", "--lift-brake"}
ASKED = {"--mapping", "--live", "--marketplace", "--sku", "--skip-existing", "--force-reupload"}


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[PlytixWorld]:
    """The demo's listings and a Plytix without images; one patch per product."""
    with plytix_world(server, tmp_path) as made:
        made.environment["PLYTIX_STRATEGY"] = "patch"
        made.environment["PLYTIX_QUALITY_SAMPLE"] = "0"
        yield made


def test_the_options_have_the_names_that_people_know(tmp_path: Path, capsys: Shown) -> None:
    names = [{word for one in command.params for word in one.opts} for command in (sync, cleanup)]
    assert names == [COMMON | ASKED | {"--dry-run", "--execute", "--report"}, COMMON | {"--missing-from"}]
    shown = call(None, capsys, "plytix", "cleanup", IMAGESYNC_HOME=str(tmp_path))
    assert (shown.code, "Missing option '--missing-from'" in shown.err) == (2, True)


@pytest.mark.parametrize("options", [(), ("--dry-run", "--execute")], ids=["neither", "both"])
def test_dry_run_or_execute_has_to_be_chosen(tmp_path: Path, capsys: Shown, options: tuple[str, ...]) -> None:
    shown = call(None, capsys, "sync", "plytix", "--mapping", "x.json", *options, IMAGESYNC_HOME=str(tmp_path))
    assert shown.code == 2
    assert "Choose one: --dry-run plans and reports" in shown.err
    assert "--execute does it" in shown.err
    assert not (tmp_path / "postgres").exists(), "nothing was started for it"


@pytest.mark.parametrize("options", [(), ("--live",), ("--sku", "AMZN-US-B000000001")], ids=str)
def test_a_run_has_to_know_its_products(tmp_path: Path, capsys: Shown, options: tuple[str, ...]) -> None:
    shown = call(None, capsys, "sync", "plytix", "--dry-run", *options, IMAGESYNC_HOME=str(tmp_path))
    assert shown.code == 2
    assert "Say which products: --mapping FILE, the variable PLYTIX_MAPPING_FOLDER, or --live with --sku" in shown.err


@pytest.mark.slow
def test_live_images_of_named_products_need_no_mapping_file(place: PlytixWorld, capsys: Shown) -> None:
    listing = next(listing for listing in place.amazon.listings if listing.images)
    product = ("--sku", listing.suggested_sku)
    done = call(place, capsys, "sync", "plytix", "--live", *product, "--execute")
    assert done.code == 0, done.err
    assert len(place.plytix.assets()) == len(listing.images)
    place.assert_shows([listing])
    folder = {"PLYTIX_MAPPING_FOLDER": str(place.mapping.parent)}
    again = call(place, capsys, "sync", "plytix", *product, "--execute", **folder)
    assert "images uploaded 0" in again.out, again.err
    wrong = call(place, capsys, "sync", "plytix", "--live", "--sku", "B000000001", "--execute")
    assert (wrong.code, "is no SKU of an Amazon product" in wrong.out) == (1, True)


@pytest.mark.slow
def test_a_dry_run_is_printed_reported_looked_at_and_applied(place: PlytixWorld, tmp_path: Path, capsys: Shown) -> None:
    report = tmp_path / "out" / "report.json"
    mapping = ("--mapping", str(place.mapping))
    dry = call(place, capsys, "sync", "plytix", *mapping, "--dry-run", "--report", str(report))
    assert dry.code == 0, dry.err
    found = re.search(r"plan (\d+): add 108, .*apply it with: imagesync apply \1$", dry.out, re.M)
    assert found, dry.out
    told = json.loads(report.read_text())
    assert told["metadata"]["dry_run"] is True
    assert (told["total_image_refs"], told["unique_images"], told["links_created"]) == (108, 12, 108)
    assert (told["images_uploaded"], told["thumbnails_set"], told["main_image_links"]) == (12, 16, 16)
    assert "planned: images uploaded 12, images reused 0, links created 108, thumbnails set 16; 16 prod" in dry.out
    assert place.plytix.assets() == ()

    plan = call(place, capsys, "plan", "--connector", "plytix")
    assert f"plan {found[1]} of plytix" in plan.out
    assert min(listing.suggested_sku for listing in place.amazon.listings if listing.images) in plan.out

    applied = call(place, capsys, "apply", found[1])
    assert applied.code == 0, applied.err
    assert "images added 108" in applied.out
    place.assert_converged(place.amazon.listings)

    again = call(place, capsys, "sync", "plytix", *mapping, "--execute", "--report", str(report))
    assert again.code == 0
    assert "images uploaded 0, images reused 12, links created 0, thumbnails set 0; 16 products show" in again.out
    assert json.loads(report.read_text())["metadata"]["dry_run"] is False


@pytest.mark.slow
def test_cleanup_plans_what_is_gone_and_apply_takes_it_out(place: PlytixWorld, capsys: Shown) -> None:
    listings = place.amazon.listings
    place.sync()
    place.write_mapping(listings[:15])
    gone = listings[15]
    limited = call(
        place, capsys, "plytix", "cleanup", "--missing-from", str(place.mapping), IMAGESYNC_DELETION_LIMIT_COUNT="3"
    )
    assert limited.code == 3
    assert "All 4 removals are held back" in limited.out
    planned = call(place, capsys, "plytix", "cleanup", "--missing-from", str(place.mapping), "--allow-mass-delete")
    found = re.search(r"imagesync apply (\d+)", planned.out)
    assert found, planned.out
    assert "remove 4" in planned.out
    assert len(place.shown(gone.suggested_sku)) == 4, "a plan is no deed"
    applied = call(place, capsys, "apply", found[1])
    assert "images deleted 4" in applied.out
    assert place.shown(gone.suggested_sku) == []
    place.assert_shows(listings[:15])


def test_what_is_wrong_is_one_line(place: PlytixWorld, capsys: Shown) -> None:
    mapping = ("--mapping", str(place.mapping))
    unknown = call(place, capsys, "sync", "plytix", *mapping, "--execute", "--plytix-account", "other")
    assert unknown.code == 1
    assert unknown.err.strip() == "There is no Plytix account 'other' in the accounts file; it has: sandbox."
    nobody = call(place, capsys, "sync", "plytix", *mapping, "--execute", IMAGESYNC_ACCOUNTS="")
    assert nobody.code == 1
    assert "there are no Plytix accounts" in nobody.err
    setting = call(place, capsys, "sync", "plytix", *mapping, "--execute", PLYTIX_STRATEGY="guess")
    assert setting.code == 1
    assert setting.err.startswith("PLYTIX_STRATEGY: ")
    missing = call(place, capsys, "sync", "plytix", "--mapping", "nowhere.json", "--execute")
    assert missing.code == 1
    assert "error: nowhere.json: the mapping file cannot be read (No such file or directory)." in missing.out
