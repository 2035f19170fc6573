"""An installation that commit 7115364 left behind, opened by this code: nothing is lost, and nothing is done twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.errors import DagsterExecutionStepNotFoundError
from dagster._core.execution.plan.state import KnownExecutionState

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.database import BASELINE, HEAD, open_database
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.web.catalogue.access import KeyScope, UserRole, find_key, log_in
from imagesync_pipelines_tests.places import rows_of
from imagesync_pipelines_tests.storage.schemas import schema_of
from imagesync_pipelines_tests.storage.upgrade.fixture import OFFICE, OURS, Restored, fresh_databases, restored
from imagesync_pipelines_tests.storage.upgrade.systems import BEGAN, MODES, Installed, Systems, installed, systems

pytestmark = pytest.mark.slow

CHANGES = ("images_added", "images_updated", "images_deleted")
# Calls that write, by the names of the stand-ins' ledgers.
PLYTIX_WRITES = ("asset create", "asset patch", "asset delete", "link", "unlink", "product patch")
FAILED = ("image_db_failed", "plytix_killed", "moysklad_killed")
# Runs of before whose checks were a step each: Dagster goes on from their failure no more, but executes them whole.
CHECKED_APART = ("image_db_failed", "moysklad_killed")
COUNTED = """
SELECT (SELECT count(*) FROM imagesync.product_image), (SELECT count(*) FROM imagesync.quarantine),
       (SELECT count(*) FROM imagesync.mirror), (SELECT count(*) FROM imagesync.plytix_asset),
       (SELECT count(*) FROM imagesync.moysklad_entity_map), (SELECT count(*) FROM imagesync.web_user)
"""


@dataclass(frozen=True)
class Upgraded:
    """The installation of the fixture with its outside systems, before anything opened it."""

    fixture: Restored
    joined: Systems
    made: Installed

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that a query on our database gives, without any upgrade."""
        return rows_of(self.fixture.urls[OURS], query)


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[Upgraded]:
    """The fixture, restored, with stand-ins in the state in which it had left them."""
    with (
        restored(server, tmp_path / "place") as fixture,
        systems(tmp_path / "systems", fixture.urls[OFFICE], fixture.state) as joined,
    ):
        made = installed(fixture.folder, joined, fixture.urls[OURS], fixture.dagsters, fixture.stores)
        yield Upgraded(fixture, joined, made)


def changes_of(outcome: runs.RunOutcome) -> list[Any]:
    """How much a run added, updated and deleted; the run did not fail."""
    assert outcome.status is not runs.Status.FAILED, outcome.error
    return [outcome.summary[name] for name in CHANGES]


def reexecuted(instance: dg.DagsterInstance, run_id: str, *, from_failure: bool) -> str:
    """Execute a run of the fixture again, as the buttons of the UI do; gives why it failed, '' when it did not."""
    parent = instance.get_run_by_id(run_id)
    assert parent is not None
    assert parent.is_failure
    repository = ReconstructableRepository.for_module("imagesync_pipelines.definitions", "defs")
    kept = {name: value for name, value in parent.tags.items() if not name.startswith(("imagesync/", "dagster/run"))}
    # What the UI's "from failure" takes: a step that was cut off counts, of which Dagster's own option knows nothing.
    rest, _ = KnownExecutionState.build_resume_retry_reexecution(instance, parent)
    with dg.execute_job(
        repository.get_reconstructable_job(parent.job_name),
        instance,
        run_config=parent.run_config,
        tags=kept,
        asset_selection=sorted(parent.asset_selection) if parent.asset_selection else None,
        reexecution_options=dg.ReexecutionOptions(run_id, rest if from_failure else ()),
    ) as result:
        again = instance.get_run_by_id(result.run_id)
        assert again is not None
        assert again.parent_run_id == again.root_run_id == run_id
        return "\n".join(str(event.event_specific_data) for event in result.all_events if event.is_failure)


def test_the_fixture_holds_what_an_upgrade_has_to_carry_over(place: Upgraded) -> None:
    counted = place.rows(COUNTED)[0]
    assert all(number > 0 for number in counted), counted
    assert place.rows("SELECT version_num FROM imagesync.alembic_version") == [("0010",)]
    assert {connector for (connector,) in place.rows("SELECT room FROM imagesync.intent")} == {
        "plytix/sandbox", "moysklad/child-2",
    }  # fmt: skip
    assert {connector for (connector,) in place.rows("SELECT room FROM imagesync.plan")} == {
        "image_db", "edge", "plytix", "moysklad",
    }  # fmt: skip
    assert {state for (state,) in place.rows("SELECT state FROM imagesync.moysklad_queue")} == {
        "done", "failed", "pending", "set_aside",
    }  # fmt: skip


def test_the_baseline_makes_the_very_schema_that_the_ten_migrations_had_made(
    place: Upgraded, server: EmbeddedServer
) -> None:
    made_by_ten = schema_of(place.fixture.urls[OURS])
    assert len([line for line in made_by_ten if line.startswith("CREATE TABLE")]) == 24
    with fresh_databases(server) as urls:
        engine = sa.create_engine(urls[OURS], poolclass=sa.NullPool)
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", "imagesync_pipelines:storage/migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, BASELINE)
        assert schema_of(urls[OURS]) == made_by_ten


def test_the_upgraded_installation_has_the_schema_of_a_new_one(place: Upgraded, database_url: str) -> None:
    open_database(place.fixture.urls[OURS]).dispose()
    assert schema_of(place.fixture.urls[OURS]) == schema_of(database_url)
    assert place.rows("SELECT version_num FROM imagesync.alembic_version") == [(HEAD,)]


def test_nothing_that_people_and_runs_left_is_lost_by_opening_it(place: Upgraded) -> None:
    before = place.rows(COUNTED)
    queue = place.rows("SELECT id, child, state, last_error FROM imagesync.moysklad_queue ORDER BY id")
    with place.made.image_db.opened() as (installation, instance):
        name, password = place.fixture.ids["user"]
        user = log_in(installation.engine, name, password)
        key = find_key(installation.engine, place.fixture.ids["key"], BEGAN)
        told = {run.run_id: run.status for run in instance.get_runs()}
    assert user is not None
    assert user.role is UserRole.ADMIN
    assert key is not None
    assert key.scopes == frozenset(KeyScope) - {KeyScope.PLAN}, "it was made when there was no plan"
    assert place.rows(COUNTED) == before
    assert place.rows("SELECT id, child, state, last_error FROM imagesync.moysklad_queue ORDER BY id") == queue
    assert len(told) == 8
    assert {run_id for run_id, status in told.items() if status is dg.DagsterRunStatus.FAILURE} == {
        place.fixture.ids[name] for name in FAILED
    }


def test_the_next_sync_of_image_db_changes_nothing_and_keeps_the_pin(place: Upgraded) -> None:
    stamped = "SELECT id, external_id, is_primary, fingerprint, last_synced FROM imagesync.product_image ORDER BY id"
    before = place.rows(stamped)
    assert changes_of(place.made.image_db.sync()) == [0, 0, 0]
    assert place.rows(stamped) == before
    product, image = place.fixture.ids["pin"]
    assert place.rows(
        f"SELECT external_id FROM imagesync.product_image WHERE product_id = {product} AND is_primary"
    ) == [(image,)]
    assert len(place.rows("SELECT 1 FROM imagesync.quarantine WHERE connector = 'image_db'")) == 2


def test_the_next_sync_of_an_edge_store_changes_nothing_and_sends_what_waited(place: Upgraded) -> None:
    synced = "SELECT id::text, xmin::text, last_sync_at FROM product_photo WHERE sync_status = 'synced' ORDER BY id"
    before = place.made.edge.rows(synced)
    waiting = place.rows("SELECT key FROM imagesync.report_outbox WHERE account = 'store1'")
    assert len(before) == 3
    assert len(waiting) == 4
    assert changes_of(place.made.edge.sync()) == [0, 0, 0]
    assert place.made.edge.rows(synced) == before
    assert not place.rows("SELECT key FROM imagesync.report_outbox WHERE account = 'store1'")
    assert {(report.photo_id,) for report in place.joined.office.reports()} == set(waiting)


def test_a_full_sync_of_an_edge_store_changes_nothing_either(place: Upgraded) -> None:
    synced = "SELECT id::text, xmin::text, last_sync_at FROM product_photo WHERE sync_status = 'synced' ORDER BY id"
    before = place.made.edge.rows(synced)
    assert changes_of(place.made.edge.sync(full=True)) == [0, 0, 0]
    assert place.made.edge.rows(synced) == before


def test_the_next_sync_of_plytix_settles_what_was_open_and_writes_nothing(place: Upgraded) -> None:
    assert len(place.rows("SELECT 1 FROM imagesync.plytix_link WHERE linked_at IS NULL")) == 2
    outcome = place.made.plytix.sync(mapping="")
    assert outcome.status is not runs.Status.FAILED, outcome.error
    assert (outcome.report["images_uploaded"], outcome.report["links_created"]) == (0, 0)
    assert {name: place.joined.plytix.ledger.count(name) for name in PLYTIX_WRITES} == dict.fromkeys(PLYTIX_WRITES, 0)
    assert not place.rows("SELECT 1 FROM imagesync.plytix_link WHERE linked_at IS NULL")
    assert not place.rows("SELECT 1 FROM imagesync.intent WHERE connector = 'plytix/sandbox'")
    place.made.plytix.assert_converged(place.joined.amazon.listings)


@pytest.mark.parametrize("full", [False, True])
def test_the_next_sync_of_a_moysklad_child_changes_nothing(place: Upgraded, full: bool) -> None:
    before = place.made.moysklad.shown("child-1")
    outcome = place.made.moysklad.sync(accounts=["child-1"], full=full)["child-1"]
    assert changes_of(outcome) == [0, 0, 0]
    assert not [door for door in place.joined.moysklad.calls_by_door("child-1") if "post" in door or "delete" in door]
    assert place.made.moysklad.shown("child-1") == before


@pytest.mark.parametrize("from_failure", [False, True], ids=["whole", "from failure"])
@pytest.mark.parametrize("name", FAILED)
def test_a_failed_run_can_be_executed_again(place: Upgraded, name: str, from_failure: bool) -> None:
    with place.made.image_db.opened() as (_, instance):
        if from_failure and name in CHECKED_APART:
            with pytest.raises(DagsterExecutionStepNotFoundError, match="unknown step"):
                reexecuted(instance, place.fixture.ids[name], from_failure=True)
            from_failure = False
        assert reexecuted(instance, place.fixture.ids[name], from_failure=from_failure) == ""
    # What it left to settle, the next run settles; there is nothing left to write.
    if name == "image_db_failed":
        assert changes_of(place.made.image_db.sync()) == [0, 0, 0]
    elif name == "plytix_killed":
        place.made.plytix.assert_converged(place.joined.amazon.listings)
        assert place.made.plytix.sync(mapping="").status is not runs.Status.FAILED
        assert place.joined.plytix.ledger.count("product patch") == 0
        assert not place.rows("SELECT 1 FROM imagesync.intent WHERE connector = 'plytix/sandbox'")
    else:
        place.made.moysklad.assert_converged(MODES)
        assert changes_of(place.made.moysklad.sync(accounts=["child-2"])["child-2"]) == [0, 0, 0]
        assert not place.rows("SELECT 1 FROM imagesync.intent WHERE connector = 'moysklad/child-2'")


def test_stored_plans_of_before_apply_or_say_to_plan_again(place: Upgraded) -> None:
    with place.made.edge.entered():
        edge = runs.apply_plan(place.fixture.ids["edge_plan"])
        plytix = runs.apply_plan(place.fixture.ids["plytix_plan"])
    assert edge.status is not runs.Status.FAILED or "plan again" in edge.error, edge.error
    assert len(place.made.edge.photos("store2")) == (3 if edge.status is not runs.Status.FAILED else 0)
    assert plytix.status is not runs.Status.FAILED or "plan again" in plytix.error, plytix.error
    place.made.plytix.assert_converged(place.joined.amazon.listings)
