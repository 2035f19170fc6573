"""Accounts and their grants, by the commands that people type."""

from contextlib import nullcontext
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from imagesync_pipelines.cli import head_office_accounts
from imagesync_pipelines.cli.main import root
from imagesync_pipelines.web.head_office import accounts
from imagesync_pipelines.web.head_office.catalogue import UnknownRowError
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines_tests.web.head_office.serving import Shop


@pytest.fixture
def name(office: HeadOffice, monkeypatch: pytest.MonkeyPatch) -> str:
    """An account of this test's own; the commands work on the session's head office."""
    monkeypatch.setattr(head_office_accounts, "open_head_office", lambda: nullcontext(office))
    name = f"edge-{uuid4().hex[:8]}"
    accounts.add_account(office, name, "no hash")
    return name


def typed(*words: str) -> Result:
    """`imagesync head-office account …`."""
    return CliRunner().invoke(root, ["head-office", "account", *words])


def of(office: HeadOffice, name: str) -> accounts.Account:
    return next(one for one in accounts.list_accounts(office) if one.username == name)


def test_an_account_is_listed_disabled_enabled_and_loses_a_grant(office: HeadOffice, shop: Shop, name: str) -> None:
    for store in (shop.store, shop.other_store):
        accounts.grant(office, name, store)
    first, second = of(office, name).stores
    assert typed("list").output.count(name) == 1
    assert (typed("disable", name).exit_code, of(office, name).is_active) == (0, False)
    assert (typed("enable", name).exit_code, of(office, name).is_active) == (0, True)
    assert (typed("revoke", name, first).exit_code, of(office, name).stores) == (0, [second])


def test_what_is_not_there_is_a_sentence(office: HeadOffice, shop: Shop, name: str) -> None:
    for words in (("disable", "nobody"), ("revoke", "nobody", of_shop(office, shop, name))):
        assert isinstance(typed(*words).exception, UnknownRowError)
    accounts.add_account(office, name, "no hash", all_stores=True)
    with pytest.raises(UnknownRowError, match="reads every store, not by grants"):
        accounts.revoke(office, name, shop.store)


def of_shop(office: HeadOffice, shop: Shop, name: str) -> str:
    """The code of the shop's first store, read where it is shown."""
    accounts.grant(office, name, shop.store)
    return of(office, name).stores[0]
