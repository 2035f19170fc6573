"""Installations of the image database's room for tests: a small sandbox, and an installation joined to it.

Nothing is set for longer than a `with` block, so an installation may live as long as a test module.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines_tests.places import databases, entered, environment_of, opened, rows_of
from imagesync_pipelines_tests.sandbox.image_db.odd import insert_odd_records

QUIET: Mapping[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# Three pages of twenty records in two blocks of two pages.
RECORDS, PAGES_PER_BLOCK = 60, 2
FIRST, SECOND, THIRD = "000001-000002", "000003-000004", "000005-000006"


@dataclass(frozen=True)
class World:
    """One installation on one sandbox; `environment` is all that a process needs to use it."""

    sandbox: Sandbox
    environment: dict[str, str] = field(repr=False)

    def entered(self, **more: str) -> AbstractContextManager[None]:
        """This process uses the installation for the length of a `with` block; `more` are further variables."""
        return entered(self.environment, **more)

    def opened(self, **more: str) -> AbstractContextManager[tuple[Installation, dg.DagsterInstance]]:
        """The installation and its Dagster instance."""
        return opened(self.environment, **more)

    def sync(self, more: Mapping[str, str] | None = None, **options: Any) -> runs.RunOutcome:
        """Synchronise as `imagesync sync image-db` does; `more` are further variables."""
        with self.entered(**(more or {})):
            return runs.only(runs.sync("image_db", **options))

    def materialise(self, assets: Sequence[str], blocks: Sequence[str] = (), **more: str) -> dg.ExecuteInProcessResult:
        """Materialise as the button of the UI does: in the job of all assets, with partitions if there are blocks."""
        job = build_definitions().resolve_implicit_global_asset_job_def()
        chosen: dict[str, Any] = {}
        if len(blocks) == 1:
            chosen["partition_key"] = blocks[0]
        elif blocks:
            chosen["tags"] = job_runs.range_tags(blocks[0], blocks[-1])
        with self.opened(**more) as (_, instance):
            return job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(["image_db", name]) for name in assets],
                run_config=QUIET,
                raise_on_error=False,
                **chosen,
            )

    def evaluate(self, asset: str, check: str, **more: str) -> dg.AssetCheckEvaluation:
        """Evaluate one check by itself, as its button in the UI does."""
        key = dg.AssetCheckKey(dg.AssetKey(["image_db", asset]), check)
        whole = build_definitions().resolve_implicit_global_asset_job_def()
        job = whole.get_subset(asset_selection=set(), asset_check_selection={key})
        with self.opened(**more) as (_, instance):
            result = job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
        return result.get_asset_check_evaluations()[0]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that a query on our database gives."""
        return rows_of(self.environment["IMAGESYNC_DATABASE_URL"], query)

    def change(self, statement: str) -> None:
        """Change our database behind the product's back."""
        rows_of(self.environment["IMAGESYNC_DATABASE_URL"], statement)

    def product_images(self) -> set[tuple[int, str, bool]]:
        """Product, image and whether it is the primary, of every product image."""
        return {(row[0], row[1], row[2]) for row in self.rows(_IMAGES)}


_IMAGES = "SELECT product_id, external_id, is_primary FROM imagesync.product_image"


@contextmanager
def world(
    server: EmbeddedServer, folder: Path, *, records: int = RECORDS, with_odd_records: bool = False, **switches: Any
) -> Iterator[World]:
    """A running sandbox of `records` records, and an installation of it in `folder` on the tests' server."""
    folder.mkdir(parents=True, exist_ok=True)
    with image_db_sandbox(records=records, **switches) as sandbox, databases(server) as (ours, dagsters):
        if with_odd_records:
            insert_odd_records(sandbox)
        parents, variants = sandbox.write_erp_csv(folder / "erp")
        yield World(
            sandbox,
            {
                **environment_of(folder, ours, dagsters),
                "IMAGESYNC_ALLOWED_IMAGE_HOSTS": "127.0.0.1",
                "IMAGE_API_URL": sandbox.url,
                "IMAGE_API_USERNAME": sandbox.username,
                "IMAGE_API_PASSWORD": sandbox.password,
                "IMAGE_DB_PAGES_PER_BLOCK": str(PAGES_PER_BLOCK),
                "ERP_PARENTS_FILE": str(parents),
                "ERP_VARIANTS_FILE": str(variants),
            },
        )


def metadata_of(instance: dg.DagsterInstance, run_id: str, asset: str) -> dict[str, Any]:
    """The values of the metadata that a run wrote on an unpartitioned asset of the connector."""
    return {name: shown.value for name, shown in shown_by(instance, run_id, asset).items()}


def shown_by(instance: dg.DagsterInstance, run_id: str, asset: str) -> Mapping[str, dg.MetadataValue]:
    """The metadata that a run wrote on an unpartitioned asset of the connector, as the UI gets it."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.asset_key == dg.AssetKey(["image_db", asset]):
            return event.step_materialization_data.materialization.metadata
    raise LookupError(f"run {run_id} did not materialise {asset}")


def materialised(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    """The assets, and the blocks of pages, that a run materialised."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    return {event.partition or event.asset_key.path[-1] for event in events if event is not None and event.asset_key}


def block_status(instance: dg.DagsterInstance) -> dict[str, str]:
    """Every page block as the UI colours it: done, failed or missing."""
    key = dg.AssetKey(["image_db", "api_pages"])
    graph = build_definitions().get_repository_def().asset_graph
    definition = graph.get(key).partitions_def
    assert definition is not None
    blocks = definition.get_partition_keys(dynamic_partitions_store=instance)
    status = instance.get_status_by_partition(key, blocks, definition) or {}
    names = {"MATERIALIZED": "done", "FAILED": "failed", "IN_PROGRESS": "in progress"}
    found = {block: status.get(block) for block in blocks}
    return {block: names[kind.value] if kind is not None else "missing" for block, kind in found.items()}
