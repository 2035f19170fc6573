"""The section of МойСклад is read strictly: one way to sign in, one way to name the mode, secrets from outside."""

import re
from pathlib import Path

import pytest

from imagesync_pipelines.accounts.file import AccountsError, load_accounts
from imagesync_pipelines.connectors.moysklad.accounts import (
    Mode,
    MoyskladAccounts,
    Ownership,
    TokenKind,
    moysklad_accounts,
)
from imagesync_pipelines.settings import Settings

MAIN = '[moysklad.main]\ntoken = "env:MAIN_TOKEN"\n'
NORTH = f'{MAIN}[moysklad.children.north]\ntoken = "env:NORTH_TOKEN"\n'


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN_TOKEN", "the main token")
    monkeypatch.setenv("NORTH_TOKEN", "the other token")
    monkeypatch.setenv("PASSWORD", "the password")


def _load(text: str, environment: str = "development") -> MoyskladAccounts:
    path = Path("accounts.toml")
    path.write_text(text, encoding="utf-8")
    return moysklad_accounts(load_accounts(Settings(accounts=path, environment=environment)))  # type: ignore[arg-type]


def _said(text: str, environment: str = "development") -> str:
    try:
        return "\n".join(_load(text, environment).told)
    except AccountsError as error:
        return str(error)


def test_a_child_account_is_off_managed_and_found_by_external_code_unless_it_says_otherwise() -> None:
    accounts = _load(NORTH)
    main, north = accounts.main, accounts.named("north")
    assert main is not None
    assert (main.name, main.url, main.permanent_links) == ("main", "https://api.moysklad.ru/api/remap/1.2", False)
    assert (main.token_kind, north.account.token_kind) == (TokenKind.USER, TokenKind.USER)
    assert (north.alias, north.mode, north.ownership) == ("north", Mode.OFF, Ownership.MANAGED)
    assert (north.match_field, north.max_image_mb) == ("externalCode", 10)
    assert not north.reencode_too_large
    assert not north.bulk_first_fill


def test_every_key_is_read() -> None:
    accounts = _load(f"""
        [moysklad.main]
        login = "admin@company"
        password = "env:PASSWORD"
        account_id = "8c0f-1"
        permanent_links = true
        {NORTH.removeprefix(MAIN)}
        token_kind = "draft_solution"
        mode = "first"
        ownership = "mirror"
        match_field = "barcode"
        max_image_mb = 3
        reencode_too_large = true
        bulk_first_fill = true
        url = "http://127.0.0.1:8811/api/remap/1.2"
    """)
    main, north = accounts.main, accounts.named("north")
    assert main is not None
    assert (main.login, main.account_id, main.permanent_links, main.token) == ("admin@company", "8c0f-1", True, None)
    assert main.password is not None
    assert north.account.token is not None
    found = [main.password.get_secret_value(), north.account.token.get_secret_value()]
    assert found == ["the password", "the other token"]
    assert (north.account.token_kind, north.mode, north.ownership) == ("draft_solution", "first", "mirror")
    assert (north.match_field, north.max_image_mb, north.reencode_too_large) == ("barcode", 3, True)
    assert north.bulk_first_fill
    assert "the password" not in repr(accounts)
    assert "the other token" not in repr(accounts)


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        ("sync_images = true", Mode.FIRST),
        ("sync_images = false\nsync_images_all = true", Mode.ALL),
        ("sync_images = true\nsync_images_all = false", Mode.FIRST),
        ("sync_images = false\nsync_images_all = false", Mode.OFF),
    ],
)
def test_the_old_flags_are_understood(flags: str, mode: Mode) -> None:
    assert _load(f"{NORTH}{flags}").named("north").mode is mode


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{NORTH}sync_images = true\nsync_images_all = true", r'north.*both true; write mode = "first"'),
        (f'{NORTH}mode = "all"\nsync_images = true', "keep mode only"),
        (f'{NORTH}mode = "some"', r"\[moysklad.children.north\] mode: Input should be 'off', 'first' or 'all'"),
        (f'{NORTH}match_field = "name"', r"\[moysklad.children.north\] match_field: "),
        (f"{NORTH}max_image_mb = 0", r"max_image_mb: Input should be greater than 0"),
        (f"{NORTH}max_image_mb = 16", r"max_image_mb: Input should be less than or equal to 15"),
        (f"{NORTH}permanent_links = true", r"north\] permanent_links: there is no such key"),
        (MAIN.replace("env:MAIN_TOKEN", "plain"), r"\[moysklad.main\] token: a secret is not written"),
        (MAIN.replace("MAIN_TOKEN", "NOT_SET"), r"\[moysklad.main\] token: the variable NOT_SET"),
        ("[moysklad.main]", "write token, or login and password together"),
        ('[moysklad.main]\nlogin = "a@b"', "write token, or login and password together"),
        (f'{MAIN}login = "a@b"\npassword = "env:PASSWORD"', "and not both"),
        ('[moysklad.main]\nlogin = "a@b"\npassword = "env:PASSWORD"\ntoken_kind = "solution"', "token_kind says"),
        (NORTH.removeprefix(MAIN), r"\[moysklad.main\]: missing"),
        (NORTH.replace(".north", ".main"), r"\[moysklad.children.main\]: an alias has"),
        (NORTH.replace(".north", '."Север"'), r"an alias has lower-case letters"),
        (f'{NORTH}url = "moysklad"', r"\[moysklad.children.north\] url: not an http or https URL"),
        ("[moysklad]\nparent = 1", r"\[moysklad\] parent: there is no such key"),
    ],
)
def test_what_is_wrong_is_said_with_section_and_key(text: str, said: str) -> None:
    told = _said(text)
    assert re.search(said, told)
    assert "the main token" not in told


def test_what_is_wrong_with_a_child_account_stops_no_other_and_the_main_one_stops_all() -> None:
    south = '[moysklad.children.south]\ntoken = "env:NOT_SET"\n'
    known = _load(f'{NORTH}mode = "all"\n{south}mode = "first"\n{south.replace("south", "east")}')
    assert (list(known.by_name), list(known.wrong), known.active) == (["north"], ["south", "east"], ["north", "south"])
    with pytest.raises(AccountsError, match=r"\[moysklad.children.south\] token: the variable NOT_SET is not set"):
        known.named("south")
    without = _load(f'{NORTH.replace("MAIN_TOKEN", "NOT_SET")}mode = "all"')
    assert (without.main, list(without.by_name), without.active) == (None, [], ["north"])
    with pytest.raises(AccountsError, match=r"\[moysklad.main\] token"):
        without.named("north")


def test_plain_http_is_a_warning_and_in_production_an_error() -> None:
    text = f'{MAIN}url = "http://moysklad.example"'
    assert "plain http to moysklad.example" in _load(text).warnings[0]
    assert "refused in production" in _said(text, "production")


def test_an_account_that_there_is_not_is_said_with_those_that_there_are() -> None:
    with pytest.raises(AccountsError, match=r"no child account 'south'.*it has: north"):
        _load(NORTH).named("south")
