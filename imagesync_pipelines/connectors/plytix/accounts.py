"""`[plytix]` of the accounts file: the accounts of Plytix.

[plytix.accounts.main]
api_key = "env:PLYTIX_MAIN_KEY"
api_password = "env:PLYTIX_MAIN_PASSWORD"
"""

from dataclasses import dataclass, field

from pydantic import Field, SecretStr

from imagesync_pipelines.accounts.file import (
    NAME,
    NAME_WORDS,
    Accounts,
    AccountsError,
    Count,
    KnownAccounts,
    Secret,
    Section,
    Text,
    check_url,
)


@dataclass(frozen=True)
class PlytixAccount:
    """One Plytix account. url: of the PIM, auth_url: of the host that gives tokens.

    limits: pairs of calls and seconds that we keep to; empty: those that Plytix names in its token.
    """

    alias: str
    api_key: SecretStr = field(repr=False)
    api_password: SecretStr = field(repr=False)
    url: str = "https://pim.plytix.com"
    auth_url: str = "https://auth.plytix.com"
    limits: tuple[tuple[int, int], ...] = ()


class _PlytixAccount(Section):
    api_key: Secret
    api_password: Secret
    url: Text = PlytixAccount.url
    auth_url: Text = PlytixAccount.auth_url
    limits: tuple[tuple[Count, Count], ...] = ()


class PlytixSection(Section):
    """`[plytix]` as written."""

    accounts: dict[str, _PlytixAccount] = Field(default_factory=dict)


def plytix_accounts(accounts: Accounts) -> KnownAccounts[PlytixAccount]:
    """The Plytix accounts in the accounts file. Raises AccountsError with section and key of what is wrong."""
    section = accounts.section("plytix", PlytixSection)
    found = {alias: _plytix_account(alias, one) for alias, one in section.accounts.items()}
    warnings = [
        check_url(f"[plytix.accounts.{alias}] {key}", url, accounts.environment)
        for alias, account in found.items()
        for key, url in (("url", account.url), ("auth_url", account.auth_url))
    ]
    return KnownAccounts("Plytix account", found, tuple(one for one in warnings if one is not None))


def _plytix_account(alias: str, section: _PlytixAccount) -> PlytixAccount:
    if not NAME.fullmatch(alias):
        raise AccountsError(f"[plytix.accounts.{alias}]: an alias has {NAME_WORDS}")
    return PlytixAccount(alias, section.api_key, section.api_password, section.url, section.auth_url, section.limits)
