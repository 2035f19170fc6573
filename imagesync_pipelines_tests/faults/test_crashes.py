"""A run that dies at any commit, before it or just after, and the next run: as if nothing had happened."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pandas as pd
import pytest

from imagesync_pipelines.connectors.image_db.settings import RecordsOptions
from imagesync_pipelines.products import applying
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines_tests.e2e.connectors import Connector, Connectors
from imagesync_pipelines_tests.faults.commits import CrashError, commits_apart, crash, files_of, telling_commits

pytestmark = pytest.mark.slow

STAGES = ("products", "pages", "records", "plan", "apply", "unmatched")
WRITE_FILES = {"pages", "plan", "apply"}
MOST_COMMITS = 40


@pytest.fixture(scope="module")
def night(module_connectors: Connectors) -> Iterator[tuple[Connector, pd.DataFrame]]:
    """A connector before a night's changes are synchronised, and the table afterwards when nothing goes wrong."""
    with image_db_sandbox(records=70) as sandbox:
        connector = module_connectors.make(sandbox)
        connector.sync()
        _change(connector, sandbox)
        undisturbed = module_connectors.copy_of(connector)
        added, updated, removed = undisturbed.sync().written
        assert min(added, updated, removed) >= 2
        yield connector, undisturbed.table()


def _change(connector: Connector, sandbox: Sandbox) -> None:
    """Additions, updates, removals, a renamed image, a pin, a reject, a renamed product and one that left the ERP."""
    shown = [int(image) for image in connector.table()["external_id"].unique()]
    for file_id in shown[:3]:
        sandbox.mutate("delete", file_id=file_id)
    for file_id in shown[3:6]:
        sandbox.mutate("re_export", file_id=file_id)
    for _ in range(3):
        sandbox.mutate("insert")
    moved = sandbox.catalogue.remove(shown[6])
    moved["original_file"]["file_id"] = moved["original_file"]["db_id"] = 940_000
    sandbox.mutate("insert_record", record=moved)
    broken = sandbox.catalogue.record(shown[7])
    broken["articles"] = None
    sandbox.catalogue.replace(shown[7], broken)
    pin_image(connector.place.engine, connector.rows(shown[8])[0]["product_id"], "image_db", str(shown[8]), "a person")
    renamed = connector.rows(shown[9])[0]["sku"]
    for row in (*sandbox.catalogue.products.parents, *sandbox.catalogue.products.variants):
        row["name"] = "Another name" if row["sku"] == renamed else row["name"]
    sandbox.write_erp_csv(connector.place.locations.home / "erp")


def run_stage(connector: Connector, stage: str, run_id: str) -> None:
    """One stage of a run."""
    work: dict[str, Callable[[], object]] = {
        "products": connector.products,
        "pages": connector.scan,
        "records": lambda: connector.records(run_id, RecordsOptions()),
        "plan": lambda: connector.plan(run_id),
        "apply": lambda: connector.apply(run_id),
        "unmatched": lambda: connector.unmatched(run_id),
    }
    work[stage]()


def chosen_commits(connector: Connector, stage: str, run_id: str, after: bool) -> list[int]:
    """The commits of a stage at which, or after which, a crash leaves a state of its own, in the database or files."""
    home = connector.place.locations.home
    return (telling_commits if after else commits_apart)(
        lambda: run_stage(connector, stage, run_id), lambda: files_of(home)
    )


@pytest.mark.parametrize("after", [False, True], ids=["commit not done", "commit done, process gone"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_crash_at_any_commit_of_a_stage_and_a_second_run_end_where_an_undisturbed_run_ends(
    module_connectors: Connectors,
    night: tuple[Connector, pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    after: bool,
) -> None:
    monkeypatch.setattr(applying, "ROWS_PER_BATCH", 6)  # several transactions, a crash between any two
    before, expected = night
    ready = module_connectors.copy_of(before)
    run_id = ready.new_run()
    for earlier in STAGES[: STAGES.index(stage)]:
        run_stage(ready, earlier, run_id)
    chosen = chosen_commits(module_connectors.copy_of(ready), stage, run_id, after)
    for nth in chosen:
        connector = module_connectors.copy_of(ready)
        with crash(nth, after=after) as seen, suppress(CrashError):
            run_stage(connector, stage, run_id)
        if len(seen) < nth:
            break
        connector.place.engine.dispose()
        connector.sync()
        pd.testing.assert_frame_equal(connector.table(), expected)
        connector.assert_one_primary_each()
        if stage == "apply":
            stamps = connector.stamps()
            assert connector.sync().written == (0, 0, 0)
            assert connector.stamps() == stamps
        connector.place.engine.dispose()
    if after:
        assert bool(chosen) == (stage in WRITE_FILES), f"{stage} tells of its files at {chosen}"
    else:
        assert 1 < nth < MOST_COMMITS - 1, f"{stage} commits nothing, or too much"
