"""Plytix's accounts, Amazon and the folder of mapping files, as `imagesync doctor` asks them."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial

import sqlalchemy as sa

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.plytix.client.amazon import catalogue_tokens
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.ledger import account_identity
from imagesync_pipelines.connectors.plytix.settings import PlytixAccount, PlytixSettings, plytix_accounts
from imagesync_pipelines.connectors.plytix.sources import mapping_files
from imagesync_pipelines.languages import told
from imagesync_pipelines.sync.health import SECONDS, Answer, Probe, Site
from imagesync_pipelines.sync.identity import Identity, Told
from imagesync_pipelines.upstream.retries import Timing

_AMAZON = "PLYTIX_SPAPI_CLIENT_ID, PLYTIX_SPAPI_CLIENT_SECRET, PLYTIX_SPAPI_REFRESH_TOKEN"


def probes(site: Site, settings: PlytixSettings) -> Iterator[Probe]:
    """Every account; the folder of mapping files and Amazon's catalogue, where they are set. Raises AccountsError."""
    timeout = min(settings.timeout, SECONDS)
    longest = {"max_pause_seconds": min(settings.max_pause_seconds, SECONDS), "call_deadline": 2 * timeout}
    brief = settings.model_copy(update={"timeout": timeout, "tries": 1, **longest})
    known = plytix_accounts(load_accounts(site.shared)).by_name
    for alias, account in known.items():
        yield Probe(
            f"plytix {alias}",
            partial(_ask, site, account, brief),
            f"[plytix.accounts.{alias}] of the accounts file",
            account.url,
            alias,
            partial(_identity, account),
        )
    if known and settings.mapping_folder:
        yield Probe("plytix mapping files", partial(_look_at_files, site, settings), "PLYTIX_MAPPING_FOLDER")
    if settings.spapi_client_id or settings.spapi_client_secret or settings.spapi_refresh_token:
        yield Probe("plytix amazon", partial(_ask_amazon, brief), _AMAZON, settings.spapi_token_url)


def _ask(site: Site, account: PlytixAccount, settings: PlytixSettings) -> Answer:
    with closing(PlytixApi(account, settings, site.need_engine())) as api:
        api.look()
        return Answer(told("its key may search products and assets"), api.told(), api.ahead)


def _identity(account: PlytixAccount, engine: sa.Engine, told_by_others: Mapping[str, Told]) -> Identity:
    return account_identity(engine, account)


def _look_at_files(site: Site, settings: PlytixSettings) -> Answer:
    return Answer(told(f"{len(mapping_files(settings.mapping_folder, site.shared))} mapping files"))


def _ask_amazon(settings: PlytixSettings) -> Answer:
    tokens = catalogue_tokens(settings, Timing())
    with closing(tokens.session) as session:
        tokens.current()
        return Answer(told("gives the application a token"), ahead=session.ahead)
