"""The Dagster resource of this connector: the stores of the accounts file, their databases, their head offices.

What belongs here: opening them from settings. What does not: the HTTP contract (api.py), the stores' tables (store.py).
"""

from contextlib import AbstractContextManager, closing

import dagster as dg
from pydantic import SecretStr

from imagesync_pipelines.accounts.file import Accounts, load_accounts
from imagesync_pipelines.connectors.edge.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.desk import Desk, open_desk
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation


class EdgeResource(dg.ConfigurableResource):
    """Edge stores and their head offices, read from IMAGESYNC_ACCOUNTS and EDGE_* when a run needs them."""

    def settings(self) -> EdgeSettings:
        """The connector's settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(EdgeSettings)

    def accounts(self, shared: Settings) -> Accounts:
        """The accounts file as it is now; raises AccountsError naming section and key."""
        return load_accounts(shared)

    def secrets(self, shared: Settings) -> list[SecretStr]:
        """What no text of a run may show: passwords and database URLs; none when the file cannot be read."""
        try:
            stores = self.accounts(shared).edge_stores.values()
        except SettingsError:
            # The run itself meets the same error and says so.
            return []
        found = [secret for store in stores for secret in (store.dsn, store.head_office.password) if secret]
        return [*found, *([shared.s3_secret_key] if shared.s3_secret_key is not None else [])]

    def desk(self, place: Installation, store: str) -> AbstractContextManager[Desk]:
        """One store with its database, for the length of a `with` block."""
        return open_desk(place, self.settings(), self.accounts(place.settings).edge_store(store))

    def head_office(self, shared: Settings, store: str) -> AbstractContextManager[HeadOfficeApi]:
        """The head office of one store, for the length of a `with` block."""
        account = self.accounts(shared).edge_store(store).head_office
        return closing(HeadOfficeApi(account, self.settings()))
