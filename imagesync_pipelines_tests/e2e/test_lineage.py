"""Runs of the image database that go on with another one: a dry run of some pages again, a plan by itself."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.errors import DagsterExecutionStepNotFoundError

from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines_tests.installations import QUIET

QUIETLY: Any = dict(QUIET)


def partial_job() -> dg.JobDefinition:
    """The job of a dry run of a part of the pages."""
    return build_definitions().resolve_job_def("image_db__partial_dry_run")


@pytest.fixture
def installed(locations: Locations, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    """A sandbox, and an installation whose settings in the environment name it, after a first synchronisation."""
    parents, variants = sandbox.write_erp_csv(tmp_path / "erp")
    for name, value in {
        **locations.environment(),
        "IMAGE_API_URL": sandbox.url,
        "IMAGE_API_USERNAME": sandbox.username,
        "IMAGE_API_PASSWORD": sandbox.password,
        "IMAGE_API_TIMEOUT": "5",
        "ERP_PARENTS_FILE": str(parents),
        "ERP_VARIANTS_FILE": str(variants),
    }.items():
        monkeypatch.setenv(name, value)
    assert runs.only(runs.sync("image_db")).status is not runs.Status.FAILED
    return sandbox


def shown(engine: sa.Engine) -> set[tuple[int, str]]:
    """The products with the images that they show."""
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT product_id, external_id FROM imagesync.product_image"))
        return {(row.product_id, row.external_id) for row in found}


@pytest.mark.slow
def test_a_dry_run_of_some_pages_that_is_executed_again_is_not_carried_out(
    installed: Sandbox, database: sa.Engine
) -> None:
    before = shown(database)
    look = runs.only(runs.sync("image_db", limit=1, dry_run=True, force=True))
    assert look.plan is not None
    assert look.plan.counts["update"] > 0
    with runs.opened() as (place, instance):
        whole = dg.execute_job(
            dg.reconstructable(partial_job), instance=instance, reexecution_options=dg.ReexecutionOptions(look.run_id)
        )
        assert whole.success
        # The step that writes, as somebody who forgot that it was a dry run: its job has none.
        with pytest.raises(DagsterExecutionStepNotFoundError):
            dg.execute_job(
                dg.reconstructable(partial_job),
                instance=instance,
                reexecution_options=dg.ReexecutionOptions(look.run_id, ["image_db__product_images"]),
            )
        stored = Plans(place.engine, place.storage).all("image_db")
        assert [header.run_id for header in stored[:2]] == [whole.run_id, look.run_id]
        assert [header.applied_run for header in stored[:2]] == [None, None]
    assert shown(database) == before


@pytest.mark.slow
def test_a_plan_by_itself_is_made_from_all_pages_and_never_from_a_part_that_somebody_chose(
    installed: Sandbox, database: sa.Engine
) -> None:
    runs.only(runs.sync("image_db", limit=1, dry_run=True))
    with runs.opened() as (place, instance):
        alone = (
            build_definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance, run_config=QUIETLY, asset_selection=[dg.AssetKey(["image_db", "plan"])]
            )
        )
        (plan, *_) = Plans(place.engine, place.storage).all("image_db")
    assert (plan.run_id, plan.scope["kind"]) == (alone.run_id, "all")
    assert plan.counts["keep"] == len(shown(database))
