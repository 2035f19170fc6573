"""The Dagster resource of this connector: the main account and the child accounts of the accounts file.

What belongs here: opening them from settings. What does not: the HTTP contract (api/).
"""

from contextlib import AbstractContextManager, closing

import dagster as dg
from pydantic import SecretStr

from imagesync_pipelines.accounts.file import Accounts, load_accounts
from imagesync_pipelines.accounts.moysklad import Mode, MoyskladAccount
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.desk import Desk, MainDesk
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation


class MoyskladResource(dg.ConfigurableResource):
    """МойСклад's accounts, read from IMAGESYNC_ACCOUNTS and MOYSKLAD_* when a run needs them."""

    def settings(self) -> MoyskladSettings:
        """The connector's settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(MoyskladSettings)

    def accounts(self, shared: Settings) -> Accounts:
        """The accounts file as it is now; raises AccountsError naming section and key."""
        return load_accounts(shared)

    def secrets(self, shared: Settings) -> list[SecretStr]:
        """What no text of a run may show: tokens and passwords; none when the file cannot be read."""
        try:
            accounts = self.accounts(shared)
        except SettingsError:
            # The run itself meets the same error and says so.
            return []
        children = [child.account for child in accounts.moysklad_children.values()]
        main = [accounts.moysklad_main] if accounts.moysklad_main is not None else []
        return [secret for account in (*main, *children) for secret in account.secrets]

    def main_desk(self, place: Installation) -> MainDesk:
        """What the stage of the main account works with."""
        return MainDesk(place, self.settings())

    def desk(self, place: Installation, alias: str) -> Desk:
        """One child account as the stages work on it. Raises AccountsError for an alias that the file lacks."""
        accounts = self.accounts(place.settings)
        active = frozenset(name for name, child in accounts.moysklad_children.items() if child.mode is not Mode.OFF)
        return Desk(place, self.settings(), accounts.moysklad_child(alias), others=active)

    def main_account(self, shared: Settings) -> MoyskladAccount:
        """The main account; raises SettingsError when the accounts file has none."""
        account = self.accounts(shared).moysklad_main
        if account is None:
            raise SettingsError("IMAGESYNC_ACCOUNTS: there is no main account of МойСклад; write [moysklad.main].")
        return account

    def main_api(self, place: Installation) -> AbstractContextManager[MoyskladApi]:
        """The main account, for the length of a `with` block."""
        return self._api(place, self.main_account(place.settings))

    def child_api(self, place: Installation, alias: str) -> AbstractContextManager[MoyskladApi]:
        """A child account, for the length of a `with` block."""
        return self._api(place, self.accounts(place.settings).moysklad_child(alias).account)

    def _api(self, place: Installation, account: MoyskladAccount) -> AbstractContextManager[MoyskladApi]:
        hosts = frozenset(place.settings.allowed_image_hosts)
        return closing(MoyskladApi(account, self.settings(), place.engine, allowed_hosts=hosts))
