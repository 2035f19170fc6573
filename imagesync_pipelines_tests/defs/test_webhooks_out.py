"""The sensor starts a run only where somebody is to be told something, and the run tells it."""

from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.webhooks_out import build_sensor, deliver_job, unset_secrets
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.subscriptions import NewSubscription
from imagesync_pipelines.sync.health import Site, State
from imagesync_pipelines.web.webhooks_out import managing
from imagesync_pipelines_tests.web.catalogue.api.test_changes import settle
from imagesync_pipelines_tests.web.catalogue.world import open_world
from imagesync_pipelines_tests.web.webhooks_out.receivers import SECRET, VARIABLE, look_back, receiver, sender


def test_a_run_is_started_for_news_alone_and_tells_them(
    database: sa.Engine,
    database_url: str,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {"IMAGESYNC_HOME": str(tmp_path / "home"), "IMAGESYNC_DATABASE_URL": database_url, VARIABLE: SECRET}
    for name, value in {**values, "WEBHOOKS_OUT_ALLOWED_HOSTS": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    sensor, world = build_sensor(), open_world(database, tmp_path)

    def look() -> object:
        with dg.build_sensor_context(instance=instance, resources={"installation": InstallationResource()}) as context:
            return sensor(context)

    assert "Nobody wants to be told" in str(look())
    engel = world.product("100")
    settle(world)
    with receiver() as shop:
        managing.add(sender(database), NewSubscription("shop", "standard", shop.url, f"env:{VARIABLE}"))
        assert list(unset_secrets(Site(Settings(), database))) == []
        with monkeypatch.context() as without:
            without.delenv(VARIABLE)
            (found,) = unset_secrets(Site(Settings(), database))
        assert (found.part, found.state, VARIABLE in found.said) == ("webhook shop", State.WARNING, True)
        assert "Every receiver has what it wants" in str(look())
        world.image(engel, last_synced=sa.func.clock_timestamp())
        settle(world)
        look_back(database)
        assert isinstance(look(), dg.RunRequest)
        deliver_job.execute_in_process(instance=instance, resources={"installation": InstallationResource()})
        assert shop.skus == ["100"]
        shop.verified()
        assert "Every receiver has what it wants" in str(look())
