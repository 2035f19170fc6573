"""Whose Plytix account it is: by its token, else by the addresses of its assets; else nobody knows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.client.answers import account_in, account_of_address
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.storage.identities import read_identities
from imagesync_pipelines.sync.identity import IdentityRefusedError
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, open_connector

ADDRESS = "https://files.plytix.com/api/v1.1/file/public_files/pim/assets/a1/b2/images/5f/5f00/x.jpg"


@pytest.fixture
def connector(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    with open_connector(database, tmp_path, listings=demo_listings()[10:12], strategy="patch", workers=1) as made:
        yield made


def recorded(connector: Connector) -> dict[str, str]:
    with connector.installation.engine.connect() as connection:
        return {one.told_by: one.identity for one in read_identities(connection, "plytix")}


def test_what_says_whose_account_it_is() -> None:
    assert account_in({"user_claims": {"account": {"id": 17, "rate_limit": []}}}) == "17"
    assert [account_in(claims) for claims in ({}, {"user_claims": {"account": {"rate_limit": []}}})] == ["", ""]
    assert account_of_address([{"id": "1", "thumbnail": None}, {"attributes": {"x": [{"url": ADDRESS}]}}]) == "a1/b2"
    assert account_of_address({"url": "https://cdn.example.com/images/x.jpg", "n": 3}) == ""


def test_a_plan_that_is_looked_at_records_nothing_and_the_run_that_writes_both(connector: Connector) -> None:
    with connector.api() as api:
        connector.plan(api, "look", dry_run=True)
    assert recorded(connector) == {}
    connector.sync()
    assert recorded(connector) == {"token": connector.plytix.tokens.account_id}
    connector.amazon.mutate("new_image", connector.amazon.listings[0].asin, variant="PT01")
    connector.write()
    connector.sync()
    assert recorded(connector) == {"token": connector.plytix.tokens.account_id, "asset addresses": "sandbox"}


def test_without_an_id_in_the_token_the_addresses_say_it_before_anything_is_written(connector: Connector) -> None:
    connector.plytix.switches.token_names_account = False
    connector.sync()
    assert recorded(connector) == {}, "an empty library says nothing, which refuses nothing"
    connector.amazon.mutate("new_image", connector.amazon.listings[0].asin, variant="PT01")
    connector.write()
    connector.sync()
    assert recorded(connector) == {"asset addresses": "sandbox"}
    with connector.plytix.account.lock:
        for asset in connector.plytix.account.assets.values():
            asset.account = "other"
    shown, calls = connector.shown(), connector.calls()
    with pytest.raises(
        IdentityRefusedError, match=r"another account than before: other \(asset addresses\), and sandbox"
    ):
        connector.sync()
    assert connector.shown() == shown
    assert connector.calls() == calls + 1
