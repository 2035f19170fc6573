"""The accounts file is read strictly, its secrets come from the environment, its errors name section and key."""

import re
from pathlib import Path

import pytest

from imagesync_pipelines.accounts.file import Accounts, AccountsError, load_accounts
from imagesync_pipelines.connectors.edge.settings import edge_stores
from imagesync_pipelines.connectors.plytix.settings import plytix_accounts
from imagesync_pipelines.defs import launching
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings, load_settings

STORE = "5f0c1e0a-8d35-4b61-9c55-0d9a1f6f8f10"
OTHER = "6a1d2f1b-9e46-4c72-8d66-1e0b2a7a9a21"
OFFICE = """
[edge.head_office]
url = "https://ho.example"
username = "edge"
password = "env:HO_PASSWORD"
"""


def _load(text: str, *, environment: str = "development") -> Accounts:
    path = Path("accounts.toml")
    path.write_text(text, encoding="utf-8")
    return load_accounts(Settings(accounts=path, environment=environment))  # type: ignore[arg-type]


def _said(text: str, *, environment: str = "development") -> str:
    """What is wrong with a file, of accounts and of what stands around them."""
    try:
        accounts = _load(text, environment=environment)
        return "\n".join((*edge_stores(accounts).told, *plytix_accounts(accounts).told))
    except AccountsError as error:
        return str(error)


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HO_PASSWORD", "from outside")


def test_without_a_file_there_are_no_accounts() -> None:
    assert edge_stores(load_accounts(Settings())).by_name == {}


def test_a_store_has_the_common_head_office_or_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_PASSWORD", "another")
    monkeypatch.setenv("BALI_DSN", "postgresql://edge:secret@bali/photos")
    accounts = _load(f"""{OFFICE}
        [edge.stores.jakarta-1]
        store_id = "{STORE.upper()}"
        [edge.stores.bali]
        store_id = "{OTHER}"
        url = "https://other.example/ho/"
        username = "bali"
        password = "env:OTHER_PASSWORD"
        dsn = "env:BALI_DSN"
        capacity_gb = 20
    """)
    stores = edge_stores(accounts)
    jakarta, bali = stores.named("jakarta-1"), stores.named("bali")
    assert (jakarta.store_id, jakarta.dsn, jakarta.database_name) == (STORE, None, "edge_jakarta-1")
    assert jakarta.head_office.url == "https://ho.example"
    assert jakarta.head_office.password.get_secret_value() == "from outside"
    assert bali.head_office.username == "bali"
    assert bali.dsn is not None
    assert bali.dsn.get_secret_value() == "postgresql://edge:secret@bali/photos"
    assert bali.capacity_gb == 20.0
    assert stores.warnings == ()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALI_DSN", "postgresql://edge:secret@bali/photos")
    accounts = _load(f'{OFFICE}\n[edge.stores.bali]\nstore_id = "{STORE}"\ndsn = "env:BALI_DSN"')
    assert "from outside" not in repr((accounts, edge_stores(accounts)))
    assert "secret@" not in repr((accounts, edge_stores(accounts)))


def test_a_secret_may_be_in_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HO_PASSWORD")
    Path(".env").write_text("HO_PASSWORD=from the file\n")
    accounts = _load(f'{OFFICE}\n[edge.stores.bali]\nstore_id = "{STORE}"')
    assert edge_stores(accounts).named("bali").head_office.password.get_secret_value() == "from the file"


def test_the_sections_of_other_connectors_are_theirs() -> None:
    assert edge_stores(_load("[another.connector]\nanything = 1")).by_name == {}


@pytest.mark.usefixtures("_plytix")
def test_a_section_that_is_wrong_stops_no_other_connector() -> None:
    Path("a.toml").write_text(f"{PLYTIX}\n[edge]\nstore = 1", encoding="utf-8")
    accounts = load_accounts(Settings(accounts=Path("a.toml")))
    assert list(plytix_accounts(accounts).by_name) == ["main"]
    with pytest.raises(AccountsError, match=r"\[edge\] store: there is no such key"):
        edge_stores(accounts)


def test_the_file_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.toml").write_text(f'{OFFICE}\n[edge.stores.bali]\nstore_id = "{STORE}"')
    monkeypatch.setenv("IMAGESYNC_ACCOUNTS", "a.toml")
    assert list(edge_stores(load_accounts(load_settings(Settings))).by_name) == ["bali"]


PLYTIX = """
[plytix.accounts.main]
api_key = "env:PLYTIX_KEY"
api_password = "env:PLYTIX_PASSWORD"
"""


@pytest.fixture
def _plytix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLYTIX_KEY", "the key")
    monkeypatch.setenv("PLYTIX_PASSWORD", "the word")


@pytest.mark.usefixtures("_plytix")
def test_a_plytix_account_is_at_plytix_unless_it_says_otherwise() -> None:
    accounts = _load(f"""{PLYTIX}
        [plytix.accounts.trial]
        api_key = "env:PLYTIX_KEY"
        api_password = "env:PLYTIX_PASSWORD"
        url = "https://pim.dev.plytix.com"
        auth_url = "https://auth.dev.plytix.com"
        limits = [[10, 10], [1000, 3600]]
    """)
    known = plytix_accounts(accounts)
    main, trial = known.named("main"), known.named("trial")
    assert (main.url, main.auth_url, main.limits) == ("https://pim.plytix.com", "https://auth.plytix.com", ())
    assert main.api_key.get_secret_value() == "the key"
    assert main.api_password.get_secret_value() == "the word"
    assert (trial.url, trial.auth_url) == ("https://pim.dev.plytix.com", "https://auth.dev.plytix.com")
    assert trial.limits == ((10, 10), (1000, 3600))
    assert "the key" not in repr((accounts, known))
    assert "the word" not in repr((accounts, known))


@pytest.mark.usefixtures("_plytix")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLYTIX.replace("env:PLYTIX_KEY", "plain"), r"\[plytix.accounts.main\] api_key: a secret is not written"),
        (PLYTIX.replace("PLYTIX_KEY", "NOT_SET"), r"\[plytix.accounts.main\] api_key: the variable NOT_SET"),
        ('[plytix.accounts.main]\napi_key = "env:PLYTIX_KEY"', r"\[plytix.accounts.main\] api_password: missing"),
        (f"{PLYTIX}limits = [[0, 10]]", r"limits.* greater than or equal to 1"),
        (f"{PLYTIX}limits = [[10]]", r"limits"),
        (f'{PLYTIX}url = "plytix"', r"\[plytix.accounts.main\] url: not an http or https URL"),
        (f'{PLYTIX}auth_url = "https://a:hidden@x"', r"\[plytix.accounts.main\] auth_url: it must hold neither"),
        (PLYTIX.replace(".main", '."My Account"'), r"\[plytix.accounts.My Account\]: an alias has lower-case"),
    ],
    ids=[
        "a plain secret", "a variable that is not set", "half the credentials", "no calls at all", "half a window",
        "no URL", "a password in a URL", "an alias that is no partition",
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_plytix_account_is_said(text: str, said: str) -> None:
    told = _said(text)
    assert re.search(said, told)
    assert not any(word in told for word in ("hidden", "the word"))


@pytest.mark.usefixtures("_plytix")
def test_plain_http_to_plytix_is_a_warning() -> None:
    assert "plain http to pim.example" in plytix_accounts(_load(f'{PLYTIX}url = "http://pim.example"')).warnings[0]


@pytest.mark.usefixtures("_plytix")
def test_a_warning_is_said_when_a_run_is_started(caplog: pytest.LogCaptureFixture) -> None:
    accounts = _load(f'{PLYTIX}url = "http://pim.example"')
    with caplog.at_level("WARNING", logger="imagesync"):
        assert launching.chosen_accounts(connector_named("plytix"), accounts, ()) == ["main"]
    assert "plain http to pim.example" in caplog.text


def test_a_plytix_account_that_there_is_not_is_said_with_those_that_there_are() -> None:
    with pytest.raises(AccountsError, match=r"no Plytix account 'main'.*it has: none"):
        plytix_accounts(load_accounts(Settings())).named("main")


def _store(lines: str = "", name: str = "bali", office: str = OFFICE) -> str:
    return f'{office}\n[edge.stores.{name}]\nstore_id = "{STORE}"\n{lines}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[edge", "is no TOML"),
        (_store(office=""), r"\[edge.stores.bali\]: no head office"),
        (_store("capacity = 3"), r"\[edge.stores.bali\] capacity: there is no such key"),
        (_store("capacity_gb = 0"), r"\[edge.stores.bali\] capacity_gb: Input should be greater than 0"),
        (f"{OFFICE}\n[edge.stores.bali]\n", r"\[edge.stores.bali\] store_id: missing"),
        (_store().replace(STORE, "12"), r"\[edge.stores.bali\] store_id: Input should be a valid UUID"),
        (_store('url = "https://x"'), r"\[edge.stores.bali\]: url, username and password go together"),
        (_store(name='"Bali 1"'), r"\[edge.stores.Bali 1\]: a store's name has lower-case letters"),
        (_store().replace("env:HO_PASSWORD", "plain"), r"\[edge.head_office\] password: a secret is not written"),
        (_store().replace("HO_PASSWORD", "NOT_SET"), r"password: the variable NOT_SET is not set"),
        (_store().replace("HO_PASSWORD", "IMAGESYNC_WEBHOOK_SHOP_SECRET"), r"password: .* is that of a webhook"),
        (_store('photos_url = "photos.example"'), r"\[edge.stores.bali\] photos_url: not an http or https URL"),
        (_store('dsn = "postgresql://u:hidden@h/d"'), r"\[edge.stores.bali\] dsn: it holds a password"),
        (_store('dsn = "mysql://u@h/d"'), r"\[edge.stores.bali\] dsn: not a PostgreSQL URL"),
        (_store('dsn = "env:HO_PASSWORD"'), r"\[edge.stores.bali\] dsn: not a PostgreSQL URL"),
        (_store('[edge.stores.java]\nstore_id = 5'), r"\[edge.stores.java\] store_id: "),
        ("[edge]\nstore = 1", r"\[edge\] store: there is no such key"),
        ("edge = 1", r"\[edge\]: "),
        (_store().replace("https://ho.example", "ftp://ho"), r"\[edge.stores.bali\] url: not an http"),
        (_store().replace("https://ho", "https://u:hidden@ho"), r"\[edge.stores.bali\] url: it must hold neither"),
        (
            _store('dsn = "postgresql://h/d"\n[edge.stores.java]\nstore_id = "x"'.replace('"x"', f'"{OTHER}"')
                   + '\ndsn = "postgresql://h/d"'),
            r"\[edge.stores.java\] dsn: the database of store bali",
        ),
    ],
    ids=[
        "no TOML", "no head office", "an unknown key", "no capacity", "no id", "an id that is none",
        "half a head office", "a name that is no partition", "a plain password", "a variable that is not set",
        "a variable of a webhook", "photos that are nowhere",
        "a password in a dsn", "another database", "a secret that is no dsn", "a number for an id",
        "an unknown key of the connector", "no section", "another protocol", "a password in a URL",
        "one database for two stores",
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_section_and_key(text: str, said: str) -> None:
    told = _said(text)
    assert re.search(said, told)
    assert not any(word in told for word in ("hidden", "from outside"))


def test_every_problem_is_one_line() -> None:
    assert len(_said("[edge.stores.a]\nx = 1\n[edge.stores.b]\ny = 2\n").splitlines()) == 4


def test_what_is_wrong_with_a_store_stops_no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_PASSWORD", "another")
    own = 'url = "https://other.example"\nusername = "bali"\npassword = "env:OTHER_PASSWORD"'
    file = _store(f'{own}\n[edge.stores.java]\nstore_id = "{OTHER}"\ndsn = "env:NOT_SET"\n[edge.stores."X Y"]\nz = 1')
    known = edge_stores(_load(file))
    assert (list(known.by_name), list(known.wrong), known.names) == (["bali"], ["java"], ("bali", "java"))
    assert "[edge.stores.java] dsn: the variable NOT_SET is not set" in known.wrong["java"]
    assert "a store's name has" in known.told[0], "what nothing can be called is told too"
    monkeypatch.delenv("HO_PASSWORD")
    of_all = edge_stores(_load(_store(f'{own}\n[edge.stores.java]\nstore_id = "{OTHER}"')))
    assert (list(of_all.by_name), list(of_all.wrong)) == (["bali"], ["java"]), (
        "one with a head office of its own goes on"
    )
    assert of_all.told == (
        "[edge.head_office] password: the variable HO_PASSWORD is not set; set it in the environment or in .env",
    )
    with pytest.raises(AccountsError, match="HO_PASSWORD is not set"):
        of_all.named("java")


def test_neither_of_two_stores_in_one_database_is_touched() -> None:
    text = _store('dsn = "postgresql://h/d"') + f'\n[edge.stores.java]\nstore_id = "{OTHER}"\ndsn = "postgresql://h/d"'
    assert edge_stores(_load(text)).by_name == {}


def test_a_file_that_is_not_there_is_said_so() -> None:
    with pytest.raises(AccountsError, match=r"IMAGESYNC_ACCOUNTS: none.toml cannot be read"):
        load_accounts(Settings(accounts=Path("none.toml")))


def test_plain_http_is_a_warning_and_in_production_an_error() -> None:
    text = _store(office=OFFICE.replace("https", "http"))
    assert "plain http to ho.example" in edge_stores(_load(text)).warnings[0]
    assert "refused in production" in _said(text, environment="production")


def test_a_store_that_there_is_not_is_said_with_those_that_there_are() -> None:
    with pytest.raises(AccountsError, match=r"no edge store 'java'.*it has: bali"):
        edge_stores(_load(_store())).named("java")
