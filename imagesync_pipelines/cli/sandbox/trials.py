"""What `imagesync demo --all` tries on purpose: mishaps of the kind that lose pictures, on the demo's own systems.

A trial makes one mishap, lets the product work, and judges by looking at the target itself; it leaves the systems as
they were. That each of them holds in every connector is for the tests: docs/safety.md names them.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import dagster as dg
import sqlalchemy as sa

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import say
from imagesync_pipelines.cli.sandbox import stand_ins
from imagesync_pipelines.connectors.edge.settings import edge_stores
from imagesync_pipelines.connectors.edge.store import StoreDatabase, opened_store
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.history import history, run_failure
from imagesync_pipelines.languages import N_, _, retold, told
from imagesync_pipelines.products.errors import ErpError
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.sandbox.moysklad.model import EntityType, StockEntity
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, variable
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.web.head_office import tables

ALL, FIRST, STORE = "child-1", "child-2", "store1"
EMPTIED, REPLACED = 6, 20
BACKUP = "sandbox_backup"

_WHOLE = "SELECT id::text FROM {table} WHERE sync_status = 'synced' AND md5(image_binary) = checksum"
_DOUBLES = "SELECT count(*) FROM (SELECT FROM {table} WHERE is_primary GROUP BY product_id HAVING count(*) > 1) AS two"


class Table(NamedTuple):
    """What a trial shows beside its line."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Seen(NamedTuple):
    """What the product said, whether what is there afterwards is right, and what else there is to show."""

    said: str
    right: bool
    table: Table | None = None


@dataclass(frozen=True)
class Trial:
    """One mishap, and what was seen of it."""

    tried: str
    seen: Seen


# What is tried, and how, on the system that it is tried on.
Trials = Sequence[tuple[str, Callable[[Any], Seen]]]


def each(trials: Trials, system: object) -> list[Trial]:
    """Make these mishaps on a system, one after the other; an error that the product lets out is never right."""
    done = []
    for what, look in trials:
        say("  " + _("on purpose: {what} …").format(what=retold(what)))
        try:
            done.append(Trial(what, look(system)))
        except Exception as error:  # noqa: BLE001 - the others are tried all the same
            done.append(Trial(what, Seen(f"{type(error).__name__}: {error}", right=False)))
    return done


def _cut_erp_file(place: stand_ins.SandboxHome) -> Seen:
    file = place.folder / "variants.csv"
    whole, before = file.read_bytes(), _images()
    *rows, last = whole.rstrip().split(b"\n")
    # The last field that is cut is the SKU, in its middle.
    file.write_bytes(b"\n".join([*rows, b",".join(last.split(b",")[:2])[:-3]]))
    said = ""
    try:
        _sync("image_db")
    except ErpError as error:
        said = str(error)
    finally:
        file.write_bytes(whole)
    refused = said != "" and _images() == before
    again = _sync("image_db")
    said = told(f"{said} With the whole file again: {again.status}.")
    return Seen(said, refused and again.status is runs.Status.COMPLETED)


def _replaced_photos(office: HeadOfficeSandbox) -> Seen:
    for _change in range(REPLACED):
        office.mutate("replace")
    first, second = (_sync("edge", STORE, full=False) for _run in range(2))
    said = told(
        f"{first.summary['images_updated']} updated, {first.summary['images_deleted']} removed; the next hour: "
        f"{_said(second)}"
    )
    return Seen(said, _is_right(office) and second.status is runs.Status.COMPLETED)


def _is_right(office: HeadOfficeSandbox) -> bool:
    """Whether the store has the photos that the head office lists for it, whole, and one primary for each product."""
    seen = tables.scope().subquery()
    query = sa.select(seen.c.photo_id).where(seen.c.store_id == office.stores[0])
    with _opened(STORE) as database, database.engine.connect() as connection:
        whole = set(connection.execute(sa.text(_WHOLE.format(table=database.table))).scalars())
        doubles = connection.execute(sa.text(_DOUBLES.format(table=database.table))).scalar_one()
    return whole == {str(one) for one in office.bench.scalars(query)} and not doubles


@contextmanager
def _opened(name: str) -> Iterator[StoreDatabase]:
    with open_installation() as place:
        account = edge_stores(load_accounts(place.settings)).named(name)
        with opened_store(place, account) as database:
            yield database


def _wrong_token(sandbox: MoyskladSandbox) -> Seen:
    main, before = sandbox.account(MAIN), _pictures(sandbox.account(MAIN))
    name = variable(FIRST)
    mine = os.environ[name]
    os.environ[name] = main.token
    try:
        outcome = _sync("moysklad", FIRST, full=True)
    finally:
        os.environ[name] = mine
    return Seen(_said(outcome), outcome.status is runs.Status.FAILED and _pictures(main) == before)


def _swapped_codes(sandbox: MoyskladSandbox) -> Seen:
    main = sandbox.account(MAIN)
    parents = {variant.product_id for variant in main.entities(EntityType.VARIANT)}
    one, other, *_ = [one for one in main.entities(EntityType.PRODUCT) if one.images and one.id not in parents]
    _swap(main, one, other)
    try:
        said = _said(_sync("moysklad", FIRST, full=True))
        return Seen(
            said, _shown(sandbox, FIRST) == {code: pictures[:1] for code, pictures in _shown(sandbox, MAIN).items()}
        )
    finally:
        _swap(main, other, one)
        _sync("moysklad", FIRST, full=True)


def _restored_backup(office: HeadOfficeSandbox) -> Seen:
    """The store's database is as it was before the last hour, whose news were read long ago."""
    with _opened(STORE) as database:
        store = database.engine.url
    _copy(store, store.database, BACKUP)
    for _change in range(REPLACED // 4):
        office.mutate("replace")
    _sync("edge", STORE, full=False)
    _copy(store, BACKUP, store.database)
    outcome = _sync("edge", STORE, full=False)
    return Seen(_said(outcome), _is_right(office) and bool(outcome.summary.get("warnings")))


def _copy(server: sa.URL, name: str | None, to: str | None) -> None:
    """Make a database of a server equal to another one, as a backup or from it; nobody may be at work in either."""
    engine = sa.create_engine(server.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {to} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {to} TEMPLATE {name}"))


def _swap(account: AccountHandle, one: StockEntity, other: StockEntity) -> None:
    """Each gets the codes that the other one had when these copies were made."""
    for entity, codes in ((one, other), (other, one)):
        account.change(
            entity.id,
            external_code=codes.external_code,
            code=codes.code,
            article=codes.article,
            barcodes=codes.barcodes,
        )


def _retry_after_dry_run(sandbox: MoyskladSandbox) -> Seen:
    """Pictures vanish in the main account; somebody looks what their removal would do; the last step is run again."""
    main, before = sandbox.account(MAIN), _pictures(sandbox.account(ALL))
    shown = [entity.id for entity in main.entities() if len(entity.images) > 1][:EMPTIED]
    kept = {entity: [(name, content) for name, content, _ in main.images(entity)] for entity in shown}
    for entity in shown:
        main.set_images(entity, ())
    try:
        look = _sync("moysklad", ALL, full=True, dry_run=True, allow_mass_delete=True)
        with runs.opened() as (_place, instance):
            [synced, *_] = [run for run in history(instance, 20, "moysklad") if run.job == "moysklad__sync"]
            again = _step_again(instance, synced.run_id, "moysklad__child_images")
            alone = _asset_alone(instance, "moysklad", "child_images", ALL)
    finally:
        for entity, files in kept.items():
            main.set_images(entity, files)
    planned = 0 if look.plan is None else look.plan.counts.get("remove", 0)
    said = told(
        f"the dry run showed {planned} removals; the step of an earlier run again: {again}; the step alone: {alone}"
    )
    return Seen(said, planned > EMPTIED and "imagesync apply" in alone and _pictures(sandbox.account(ALL)) == before)


def job_named(name: str) -> dg.JobDefinition:
    """A job of the code location, as Dagster finds it to execute a run again."""
    return build_definitions().resolve_job_def(name)


def _step_again(instance: dg.DagsterInstance, run_id: str, step: str) -> str:
    """Execute one step of a run again, as the UI's button does; gives how that ended."""
    before = instance.get_run_by_id(run_id)
    if before is None:
        raise LookupError(run_id)
    job = dg.build_reconstructable_job(__name__, job_named.__name__, (before.job_name,))
    options = dg.ReexecutionOptions(run_id, [step])
    tags = {tag: value for tag, value in before.tags.items() if "partition" in tag}
    with dg.execute_job(
        job, instance=instance, reexecution_options=options, run_config=before.run_config, tags=tags
    ) as done:
        return told("it ended well") if done.success else _why(done.all_events)


def _asset_alone(instance: dg.DagsterInstance, connector: str, asset: str, account: str) -> str:
    """Materialise one asset alone, as the UI's button does; gives what it said."""
    done = (
        build_definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            instance=instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            asset_selection=[dg.AssetKey([connector, asset])],
            partition_key=account,
            raise_on_error=False,
        )
    )
    return told("it ran") if done.success else _why(done.all_events)


def _why(events: Sequence[dg.DagsterEvent]) -> str:
    failure = run_failure(events)
    return failure.message if failure is not None else told("it failed")


def _pictures(account: AccountHandle) -> dict[str, list[bytes]]:
    """The pictures of an account, by entity, in order."""
    return {entity.id: [image.content for image in entity.images] for entity in account.entities()}


def _shown(sandbox: MoyskladSandbox, account: str) -> dict[str, list[bytes]]:
    """The pictures of an account, in order, by the code that all accounts have; of what is in the main one."""
    known = {entity.external_code for entity in sandbox.account(MAIN).entities()}
    found = sandbox.account(account).entities()
    return {one.external_code: [image.content for image in one.images] for one in found if one.external_code in known}


def _images() -> list[tuple[Any, ...]]:
    """Every product image of the catalogue."""
    columns = (product_image.c.product_id, product_image.c.external_id, product_image.c.is_primary)
    with open_installation() as place, place.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(*columns))]


def _sync(connector: str, account: str = "", **asked: Any) -> runs.RunOutcome:
    return dict(runs.sync(connector, [account] if account else (), **asked))[account]


def _said(outcome: runs.RunOutcome) -> str:
    """The error of a run, else its warnings, else how it ended."""
    return outcome.error or " ".join(outcome.summary.get("warnings", ())) or str(outcome.status)


OF_IMAGE_DB: Trials = ((N_("the ERP's file of variants is cut off inside its last SKU"), _cut_erp_file),)
OF_EDGE: Trials = (
    (told(f"{REPLACED} photos are replaced at the head office between two hourly runs"), _replaced_photos),
    (N_("a store's database is restored from a backup"), _restored_backup),
)
OF_MOYSKLAD: Trials = (
    (N_("a child's token is the main account's"), _wrong_token),
    (N_("two products of the main account swap their codes"), _swapped_codes),
    (N_("a retry after somebody's dry run"), _retry_after_dry_run),
)
