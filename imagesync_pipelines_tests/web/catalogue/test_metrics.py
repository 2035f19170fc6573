"""What machines ask: up, ready, and the numbers; whatever is away, the numbers of the rest are there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from imagesync_pipelines.storage.alerts import Alert, note_alert
from imagesync_pipelines.storage.rate_budget import Window, take
from imagesync_pipelines.storage.schema import plan, quarantine, unmatched_article
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines_tests.web.catalogue.world import NOW, Run, Site, World, open_world, serving

RUNS = [
    Run(status="in_progress", completed=None),
    Run(status="failed", error="it broke", added=None, updated=None, deleted=None),
    Run(),
    Run(connector="edge", added=5),
    Run(connector=None),
]


def numbers(site: Site) -> dict[tuple[str, ...], float]:
    """Every sample: its name and the values of its labels."""
    answer = site.get("/metrics")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name.removeprefix("imagesync_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_images_failures_lag_runs_and_budgets_are_told(database: sa.Engine, tmp_path: Path) -> None:
    def runs(limit: int, connector: str | None) -> Sequence[PastRun]:
        return RUNS

    world = open_world(database, tmp_path, runs)
    engel = world.product("100")
    world.product("200")
    world.product("300", left_erp_at=NOW)
    world.image(engel, "1")
    world.image(engel, "2", is_primary=False)
    applied = {"connector": "image_db", "path": "", "files": {}, "scope": {}, "counts": {}, "cost": {}}
    with database.begin() as connection:
        connection.execute(plan.insert().values(applied_at=NOW - timedelta(hours=2), **applied))
        connection.execute(quarantine.insert().values(connector="edge", stage="apply", key="k", reason="r"))
        connection.execute(unmatched_article.insert().values(number="9", external_id="1", reason="r"))
    note_alert(database, Alert("edge", "store1", "TimeoutError", "t", "b", "l"), NOW, timedelta(hours=1))
    for principal in ("moysklad main", "catalogue:key:1"):
        take(database, principal, [Window(45, 3)], NOW.timestamp())
    with serving(world.opened) as site:
        site.get("/media/4711/thumb")
        found = numbers(site)
    wanted = {
        ("images", "true"): 1, ("images", "false"): 1, ("products", "true"): 1, ("products", "false"): 1,
        ("quarantined", "edge", "apply"): 1, ("unmatched_articles",): 1,
        ("alerts_waiting",): 1,
        ("applied_age_seconds", "image_db"): 7200,
        ("calls_allowed", "moysklad main", "3"): 45, ("calls_left", "moysklad main", "3"): 44,
        ("calls_blocked_seconds", "moysklad main", "3"): 0,
        ("runs", "image_db", "completed"): 1, ("runs", "image_db", "failed"): 1, ("runs", "image_db", "in_progress"): 1,
        ("runs", "edge", "failed"): 0, ("runs", "", "completed"): 1,
        ("last_run_failed", "image_db"): 1, ("last_run_failed", "edge"): 0, ("last_run_seconds", "edge"): 120,
        ("last_run_images", "added", "edge"): 5,
        ("source_up", "database"): 1, ("source_up", "dagster"): 1, ("daemon_up",): 1,
        ("smaller_copies_total", "made"): 0,
    }  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    assert ("calls_left", "catalogue:key:1", "3") not in found, "what our own callers may is no budget of ours"
    assert ("last_run_images", "added", "image_db") not in found, "a run without a summary changed nobody knows what"


def test_a_database_or_dagster_that_is_away_is_told_and_hides_nothing_else(world: World) -> None:
    def broken(limit: int, connector: str | None) -> Sequence[PastRun]:
        raise RuntimeError("no Dagster")

    away = sa.create_engine("postgresql+psycopg://127.0.0.1:1/none")
    with serving(replace(world.opened, read_runs=broken)) as site:
        found = numbers(site)
        assert (found["source_up", "database"], found["source_up", "dagster"]) == (1, 0)
    with serving(replace(world.opened, engine=away)) as site:
        found = numbers(site)
        assert (found["source_up", "database"], found["source_up", "dagster"]) == (0, 1)
        assert site.get("/healthz").json() == {"status": "ok"}
        answer = site.get("/readyz")
        assert (answer.status_code, answer.json()["database"]) == (503, "does not answer")
        assert "127.0.0.1" not in answer.text


def test_it_is_ready_when_the_database_is_as_new_as_the_code(site: Site, world: World) -> None:
    assert site.get("/readyz").json() == {"status": "ok", "database": "ok", "storage": "ok", "daemon": "ok"}
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE imagesync.alembic_version SET version_num = '0001'"))
    answer = site.get("/readyz")
    assert answer.status_code == 503
    assert "0001" in answer.json()["database"]


def test_it_is_not_ready_while_its_storage_is_away(world: World) -> None:
    class Away:
        def __getattr__(self, name: str) -> object:
            raise ConnectionError("key=secret")

    with serving(replace(world.opened, storage=Away())) as site:
        answer = site.get("/readyz")
    assert (answer.status_code, answer.json()["database"], answer.json()["storage"]) == (503, "ok", "does not answer")
    assert "secret" not in answer.text


def test_a_silent_daemon_is_told_and_keeps_no_page_from_being_answered(world: World) -> None:
    def gone() -> str | None:
        raise ConnectionError("key=secret")

    for look, said in ((lambda: "silent since 11:54", "silent since 11:54"), (gone, "cannot be looked at")):
        with serving(replace(world.opened, silent_daemon=look)) as site:
            ready, daemon = site.get("/readyz"), site.get("/readyz/daemon")
            assert numbers(site)["daemon_up",] == 0
        assert (ready.status_code, daemon.status_code) == (200, 503)
        assert said in ready.json()["daemon"]
        assert said in daemon.json()["daemon"]
        assert "secret" not in daemon.text
