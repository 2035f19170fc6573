"""The accounts of МойСклад, as `imagesync doctor` asks them: one entity of each, whose account id is the proof."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from functools import partial

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.moysklad.accounts import (
    Mode,
    MoyskladAccount,
    MoyskladChild,
    moysklad_accounts,
    section_of,
)
from imagesync_pipelines.connectors.moysklad.child import child_identity, main_identity
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.model import ACCOUNT_ID
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.sync.health import SECONDS, Answer, Probe, Site
from imagesync_pipelines.sync.identity import Identity, Told, only


def probes(site: Site, settings: MoyskladSettings) -> Iterator[Probe]:
    """The main account, and the child accounts that are not off. Raises AccountsError."""
    longest = {"max_pause_seconds": min(settings.max_pause_seconds, SECONDS)}
    brief = settings.model_copy(update={"timeout": min(settings.timeout, SECONDS), "tries": 1, **longest})
    known = moysklad_accounts(load_accounts(site.shared))
    active = frozenset(known.active)

    if known.main is not None:
        yield _probe(site, known.main, brief, partial(_main, known.main, active))
    for child in known.by_name.values():
        if child.mode is not Mode.OFF:
            yield _probe(site, child.account, brief, partial(_child, child, active))


def _probe(
    site: Site,
    account: MoyskladAccount,
    settings: MoyskladSettings,
    identity: Callable[[sa.Engine, Mapping[str, Told]], Identity],
) -> Probe:
    place, ask = (
        languages.told(f"{section_of(account.name)} of the accounts file"),
        partial(_ask, site, account, settings),
    )
    return Probe(f"moysklad {account.name}", ask, place, account.url, account.name, identity)


def _main(account: MoyskladAccount, active: Collection[str], engine: sa.Engine, told: Mapping[str, Told]) -> Identity:
    return main_identity(engine, account, active)


def _child(child: MoyskladChild, active: Collection[str], engine: sa.Engine, told: Mapping[str, Told]) -> Identity:
    return child_identity(engine, child, active, lambda: told)


def _ask(site: Site, account: MoyskladAccount, settings: MoyskladSettings) -> Answer:
    with closing(MoyskladApi(account, settings, site.need_engine())) as api:
        told = api.whose()
        said = (
            languages.told("gave an entity")
            if told
            else languages.told("answered, and has no product, bundle or variant")
        )
        return Answer(said, only(ACCOUNT_ID, told - {""}), api.ahead)
