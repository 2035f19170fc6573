"""The Dagster resource of this connector: the Plytix accounts of the accounts file, and Amazon's catalogue.

What belongs here: opening them from settings. What does not: the HTTP contracts (api/).
"""

from contextlib import AbstractContextManager, closing

import dagster as dg
from pydantic import SecretStr

from imagesync_pipelines.accounts.file import Accounts, load_accounts
from imagesync_pipelines.connectors.plytix.api.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.desk import Desk
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation


class PlytixResource(dg.ConfigurableResource):
    """Plytix accounts, read from IMAGESYNC_ACCOUNTS and PLYTIX_* when a run needs them."""

    def settings(self) -> PlytixSettings:
        """The connector's settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(PlytixSettings)

    def accounts(self, shared: Settings) -> Accounts:
        """The accounts file as it is now; raises AccountsError naming section and key."""
        return load_accounts(shared)

    def secrets(self, shared: Settings) -> list[SecretStr]:
        """What no text of a run may show: keys and passwords; none when they cannot be read."""
        try:
            settings = self.settings()
            accounts = self.accounts(shared).plytix_accounts.values()
        except SettingsError:
            # The run itself meets the same error and says so.
            return []
        found = [secret for account in accounts for secret in (account.api_key, account.api_password)]
        amazon = (settings.spapi_client_secret, settings.spapi_refresh_token)
        return [*found, *(secret for secret in amazon if secret is not None)]

    def desk(self, place: Installation, alias: str) -> Desk:
        """One account as the stages work on it. Raises AccountsError for an alias that the file does not have."""
        return Desk(place, self.settings(), self.accounts(place.settings).plytix_account(alias).alias)

    def pim(self, place: Installation, alias: str) -> AbstractContextManager[PlytixApi]:
        """The PIM of one account, for the length of a `with` block."""
        account = self.accounts(place.settings).plytix_account(alias)
        return closing(PlytixApi(account, self.settings(), place.engine))
