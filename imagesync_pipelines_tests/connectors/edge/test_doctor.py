"""Doctor asks a head office with every login that the accounts file has for it."""

from pathlib import Path

import pytest

from imagesync_pipelines.connectors.edge.doctor import probes
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.sync.health import Site
from imagesync_pipelines_tests.connectors.edge.head_office import STORE_ID, head_office


def test_stores_at_one_address_with_their_own_logins_are_asked_with_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFICE_PASSWORD", "right")
    with head_office(photos=1) as office:
        stores = "".join(
            f"[edge.stores.{name}]\nstore_id = '{STORE_ID}'\ndsn = 'postgresql://127.0.0.1/{name}'\n"
            f"url = '{office.url}'\nusername = '{user}'\npassword = 'env:OFFICE_PASSWORD'\n"
            for name, user in (("bandung", "one"), ("jakarta", "one"), ("medan", "another"))
        )
        (tmp_path / "accounts.toml").write_text(stores)
        site = Site(Settings(home=tmp_path, accounts=tmp_path / "accounts.toml"), None)
        said = [probe.ask().said for probe in probes(site, EdgeSettings()) if probe.part.endswith("head office")]
        assert [call.body["username"] for call in office.logins] == ["one", "another"]
    assert said == ["1 photos, as one", "1 photos, as one", "1 photos, as another"]
