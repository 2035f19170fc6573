"""The step main_images: the main account into the mirror (docs/contracts/moysklad.md).

Three things are believed: a row that came is as it says; rows of images that did not come say nothing, and what the
mirror has of that entity stays; an entity is gone only when a scan over everything proved to be complete and the
account, asked for its very id, does not have it either. An archived entity is left alone: it leaves the mirror with
that reason, its images in the child accounts stay as they are, and it is back once a reading meets it unarchived.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.child import Run, child_of, identity_of_main, left_by, look_at, main_api
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.client.answers import AssortmentPage
from imagesync_pipelines.connectors.moysklad.errors import RowsMissingError, SkippedOffError
from imagesync_pipelines.connectors.moysklad.model import (
    ACCOUNT_ID,
    ENTITY_JSON,
    NAME,
    TYPES,
    Entity,
    MainReading,
    key_parts,
)
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.settings import EntityChoice, ReadingOptions
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage import mirror
from imagesync_pipelines.storage.memory import unread_since
from imagesync_pipelines.sync.doubts import Doubts, due, waiting
from imagesync_pipelines.sync.guard import why_unproven
from imagesync_pipelines.sync.identity import Told, only
from imagesync_pipelines.sync.planned import deletion_limits
from imagesync_pipelines.sync.steps import CheckResult, StepResult, Summary, Texts
from imagesync_pipelines.upstream.details import details_told

MAIN_IMAGES = "main_images"
DELETED = N_("the main account does not have it any more")
ARCHIVED = N_("it is archived in the main account")
# A reading that runs share is left under this name, by the moment at which they were started.
_SHARED = f"{MAIN}/shared"
_NUMBERS = {
    "bundle": N_("{number:d} bundles"),
    "product": N_("{number:d} products"),
    "variant": N_("{number:d} variants"),
}
# Payloads that are Python objects at one time.
_PORTION = 1000


def main_images(context: Run, options: ReadingOptions) -> StepResult:
    """Products, bundles and variants of the main account with their images, all or what changed, into our mirror.

    Rows that did not come are never taken for rows that are empty. Runs that start together share one reading. The
    run of a child account whose mode is off ends here.
    """
    if context.account:
        try:
            child_of(context).refuse_off()
        except SkippedOffError as skipped:
            why, now = str(skipped), datetime.now(UTC)
            summary = Summary("completed", started_at=context.started_at, completed_at=now, warnings=(why,))
            return StepResult(ends=why, summary=summary, warnings=(why,))
        if options.requests:
            Queue(context.installation.engine).take(context.account, context.run_id, context.clock())
    keys = options.of_run(context).keys
    context.check_installation()
    full = options.full or bool(unread_since(context.installation.engine, context.owner))

    def read() -> MainReading:
        with main_api(context) as api:
            return read_main_account(context, api, full=full, keys=keys)

    shares = bool(options.since) and not options.requests
    found = read_once(context, options.since, read, full=full, keys=keys) if shares else read()
    what = (
        languages.told("all of it")
        if found.full
        else languages.told(f"{len(found.asked)} entities asked for")
        if found.asked
        else languages.told("what changed")
    )
    number = sum(found.seen.values())
    return StepResult(
        rows=number,
        numbers={
            "entities/read": number,
            "entities/new": found.new,
            "entities/changed": found.changed,
            "entities/deleted": found.deleted,
            "entities/archived": found.archived,
            "entities/unread": len(found.unread),
            "images/read": found.images,
            "api/calls": found.calls,
        },
        shown={"complete": found.complete, "unread": Texts(found.problems), "warnings": Texts(found.warnings)},
        lines=[
            languages.told(
                f"main: {what}: {kinds_in(found.seen) or N_('nothing')} with {found.images} images; {found.calls} "
                "calls."
            )
        ],
        warnings=found.warnings,
    )


def read_main_account(context: Run, api: MoyskladApi, *, full: bool = False, keys: Sequence[str] = ()) -> MainReading:
    """Read the main account into the mirror: what changed since the cursor, all of it with `full`, or only `keys`.

    Raises AccountBusyError when another run reads it, RowsMissingError, IdentityRefusedError, and the errors of the
    API; nothing was changed then.
    """
    engine, settings, main = context.installation.engine, context.settings, _main(context)
    identity = identity_of_main(context, api.account)
    doubts, now = Doubts(engine, NAME, MAIN, context.clock), context.clock()
    limits = deletion_limits(context.installation.settings, lifted=False)

    def before_change(told: Told) -> None:
        identity.look(told)
        context.check_locks()

    with main.lock():
        doubted = doubts.open()
        again = due(doubted, now)
        if keys:
            read, looked_at = read_entities(engine, api, keys, before_change), frozenset(keys)
        else:
            overlap, repeats = timedelta(minutes=settings.overlap_minutes), settings.walk_repeats
            read = read_main(
                engine,
                api,
                full=full,
                overlap=overlap,
                repeats=repeats,
                identify=before_change,
                again=again,
                waiting=lambda gone, known: waiting(gone, doubted, now, known=known, limits=limits),
                moves_cursor=not context.is_dry_run,
            )
            looked_at = again if not read.full else frozenset(doubted) if read.complete else frozenset()
        still = read.doubted | (doubted.keys() - looked_at)
        if not context.is_dry_run:
            doubts.note(read.doubted)
            doubts.end(doubted.keys() - still)
    warnings = [*read.warnings]
    if still:
        warnings.append(
            languages.told(
                f"The main account lacks {len(still)} entities at once, which is more than the deletion "
                f"limits allow, such as {min(still)}; they stay as they were read before, and the first "
                "run ten minutes later looks again."
            )
        )
    if not read.complete:
        warnings.append(
            languages.told(f"The reading of the main account does not prove to be complete: {read.reason}.")
        )
    if read.unread:
        key, why = next(iter(read.unread.items()))
        warnings.append(
            languages.told(f"{len(read.unread)} entities stay as they were read before, such as {key}: {why}.")
        )
    found = read.model_copy(update={"run_id": context.run_id, "asked": tuple(keys), "warnings": tuple(warnings)})
    main.keep(MAIN_IMAGES, found)
    main.handovers.prune(used=set(context.lineage))
    return found


def read_once(
    context: Run, moment: str, read: Callable[[], MainReading], *, full: bool = False, keys: Sequence[str] = ()
) -> MainReading:
    """The reading that the first of the runs of this moment (any text) made, else this run makes it, and shares it.

    Only a full one serves a full run, and only one of these very keys a run that is about some. Raises what reading
    raises; the next run of the moment then tries itself.
    """
    main = _main(context)
    shared = replace(main.handovers, account=_SHARED)
    found = shared.find([moment], MAIN_IMAGES, MainReading)
    if found is not None and found.asked == tuple(keys) and (found.full or not full):
        mine = found.model_copy(update={"run_id": context.run_id, "calls": 0})
        main.keep(MAIN_IMAGES, mine)
        return mine
    made = read()
    shared.keep(moment, MAIN_IMAGES, made)
    shared.prune()
    return made


def reading_of(context: Run) -> MainReading | None:
    """The reading of the main account of this run's lineage; None when it made none."""
    return left_by(_main(context), MAIN_IMAGES, MainReading)


def every_entity_was_read(context: Run) -> CheckResult:
    """The reading proved that it saw everything, with the images of each; without that nothing counts as gone."""
    found = look_at(_main(context), MAIN_IMAGES, MainReading)
    number = len(found.problems)
    said = found.reason or languages.told(f"{number} entities stay as they were read before")
    return CheckResult(found.complete and not number, said, {"entities": Texts(found.problems), "number": number})


def read_main(
    engine: sa.Engine,
    api: MoyskladApi,
    *,
    full: bool,
    overlap: timedelta,
    repeats: int,
    identify: Callable[[Told], None] = lambda told: None,
    again: Collection[str] = (),
    waiting: Callable[[Collection[str], int], Collection[str]] = lambda gone, known: (),
    moves_cursor: bool = True,
) -> MainReading:
    """Read the main account, all of it or what changed since the cursor, and bring the mirror up to date.

    Without a cursor everything is read. A reading that does not prove to be complete is made again, up to `repeats`
    times; then what it saw is kept, nothing unseen is called gone, and the cursor stays. Raises RowsMissingError when
    no images came at all although there are some, and every error of the API, with nothing changed. Call it under the
    lock of the main account. An entity whose row cannot be used does not hold the cursor: the next full reading asks
    for it again. identify: hears whose account answered before anything is changed. again: keys of doubted entities
    that are asked for once more. waiting: of the entities (keys) that are gone, and of how many that there were, those
    that are doubted: they stay.
    """
    calls = api.calls
    with engine.connect() as connection:
        value = mirror.read_cursor(connection, NAME, MAIN)
        connection.commit()
        before = None if value is None else datetime.fromisoformat(value)
        since = None if full or before is None else before - overlap
        with mirror.staging(connection):
            for _ in range(repeats + 1):
                mirror.stage_nothing(connection)
                scan = _Scan(connection, api)
                reason = scan.read(since)
                if not reason:
                    break
            # A lost right to see products looks the same as an account that has none.
            there = 0 if reason or since or scan.distinct else mirror.count_live(connection, NAME, MAIN)
            if there:
                reason = languages.told(
                    f"the main account lists nothing, but there were {there}; nothing is concluded from that"
                )
            if since is None:
                missing = mirror.unstaged_keys(connection, NAME, MAIN) if not reason else []
            else:
                missing = sorted(again)
            known = mirror.count_live(connection, NAME, MAIN)
            connection.commit()
            deleted = scan.confirm(missing)
            doubted = frozenset(waiting(deleted, known))
            scan.identify(identify)
            after = max(filter(None, (before, None if reason else scan.newest)), default=None)
            found = scan.kept(
                deleted - doubted,
                doubted=doubted,
                full=since is None,
                complete=not reason,
                reason=reason,
                cursor_before=before,
                cursor_after=after,
                calls=api.calls - calls,
            )
            if after is not None and moves_cursor:
                mirror.move_cursor(connection, NAME, MAIN, after.isoformat())
            connection.commit()
    return found


def read_entities(
    engine: sa.Engine, api: MoyskladApi, keys: Collection[str], identify: Callable[[Told], None] = lambda told: None
) -> MainReading:
    """Read only these entities (keys) of the main account into the mirror; the cursor stays.

    One that the account does not have is gone, one that is archived too. Raises as `read_main` does.
    """
    calls = api.calls
    with engine.connect() as connection, mirror.staging(connection):
        scan = _Scan(connection, api)
        deleted = scan.confirm(sorted(keys))
        scan.refuse_rowless()
        scan.identify(identify)
        found = scan.kept(deleted, calls=api.calls - calls)
        connection.commit()
    return found


def mirrored(engine: sa.Engine, chosen: EntityChoice, among: Collection[str] | None = None) -> Iterator[list[Entity]]:
    """The entities of the main account as the mirror has them, in portions, ordered by key; among: only these keys.

    Of a few that are named no more than these are read.
    """
    with engine.connect() as connection:
        named = chosen.keys or among
        keys = mirror.read_mirror(connection, NAME, MAIN)["key"].tolist() if named is None else named
        wanted = sorted(key for key in keys if chosen.has(key) and (among is None or key in among))
        for first in range(0, len(wanted), _PORTION):
            yield entities_of(connection, wanted[first : first + _PORTION])


def entities_of(connection: sa.Connection, keys: Sequence[str]) -> list[Entity]:
    """The entities of the main account with these keys, as the mirror has them, ordered by key; what is gone is not."""
    payloads = mirror.read_payloads(connection, NAME, MAIN, keys)
    return sorted(map(ENTITY_JSON.validate_json, payloads["payload"]), key=lambda entity: entity.key)


def kinds_in(numbers: Mapping[str, int]) -> str:
    """Numbers by type for people, '' when there are none."""
    return ", ".join(_NUMBERS[kind].format(number=number) for kind, number in sorted(numbers.items()) if number)


def _main(context: Run) -> Run:
    """The same run as it works on the main account: its lock and hand-overs are one, whatever child a run is for."""
    return replace(context, account=MAIN)


class _Scan:
    """One scan of the main account: its rows go into the staging table, what they tell is counted here."""

    def __init__(self, connection: sa.Connection, api: MoyskladApi) -> None:
        self._connection, self._api = connection, api
        self.newest: datetime | None = None
        self.distinct = 0
        self._types: Counter[str] = Counter()
        self._images = 0
        self._with_images = 0
        self._unread: dict[str, str] = {}
        self._archived: set[str] = set()
        self._accounts: set[str] = set()
        self._left_out: list[tuple[str, str]] = []

    def read(self, since: datetime | None) -> str:
        """Read everything, or what changed since then; why it does not prove to be complete, '' when it does."""
        sizes = []
        for page in self._api.assortment(updated_since=since):
            sizes.append(page.size)
            self._take(page)
        self.refuse_rowless()
        self.distinct = mirror.settle_staging(self._connection)
        return why_unproven(sizes, self.distinct, rows="entities", source=languages.told("the account"))

    def confirm(self, keys: Sequence[str]) -> frozenset[str]:
        """Ask for entities by their ids and stage what comes; the keys of those that the account does not have.

        An answer that lacks rows it counts, or has one without an id, says nothing about those that did not come.
        """
        ids = {key_parts(key)[1]: key for key in keys}
        found: set[str] = set()
        counted = 0
        if ids:
            for page in self._api.assortment(ids=list(ids)):
                self._take(page)
                found |= {entity.key for entity in page.entities} | page.illegible.keys()
                counted += page.size if page.offset == 0 else 0
            mirror.settle_staging(self._connection)
        return frozenset(ids.values()) - found if counted == len(found & set(ids.values())) else frozenset()

    def refuse_rowless(self) -> None:
        """Raise RowsMissingError when no images came at all although there are some."""
        if self._with_images and not self._images:
            raise RowsMissingError(
                f"{self._with_images} entities have images, and no row of them came; nothing is concluded from that"
            )

    def identify(self, identify: Callable[[Told], None]) -> None:
        """Let it be judged whose account answered."""
        identify(only(ACCOUNT_ID, self._accounts))

    def kept(self, deleted: Collection[str], **told: Any) -> MainReading:
        """Merge what is staged, and mark what is gone, in the caller's transaction; all of it, and what is told."""
        merged = mirror.merge(self._connection, NAME, MAIN, None)
        return MainReading(
            seen=dict(self._types),
            images=self._images,
            new=merged.new,
            changed=merged.changed + merged.revived,
            deleted=mirror.mark_gone(self._connection, NAME, MAIN, deleted, DELETED),
            archived=mirror.mark_gone(self._connection, NAME, MAIN, self._archived, ARCHIVED),
            unread=self._unread,
            accounts=frozenset(self._accounts),
            warnings=tuple(details_told(languages.told("The main account"), self._left_out)),
            **told,
        )

    def _take(self, page: AssortmentPage) -> None:
        """Stage the rows of a page, and note what it tells; of what is only seen, the mirror's row stays."""
        self._unread |= page.illegible
        self._left_out += page.left_out
        seen = [key for key in page.illegible if key.partition(":")[0] in TYPES]
        rows = []
        for entity in page.entities:
            self._accounts.add(entity.account_id)
            self.newest = max(filter(None, (self.newest, entity.updated)), default=None)
            if entity.archived:
                self._archived.add(entity.key)
                seen.append(entity.key)
                continue
            self._types[entity.type] += 1
            self._with_images += entity.image_count > 0
            images = entity.images or ()
            if len(images) != entity.image_count:
                self._unread[entity.key] = languages.told("its images were not delivered, or not all of them")
                seen.append(entity.key)
                continue
            self._images += entity.image_count
            text = ENTITY_JSON.dump_json(replace(entity, images=images)).decode()
            rows.append(mirror.MirrorRow(entity.key, entity.key, _fingerprint(entity), text, entity.updated))
        mirror.stage(self._connection, [*(mirror.MirrorRow(key, None, None, None, None) for key in seen), *rows])


def _fingerprint(entity: Entity) -> str:
    """What the images of an entity are, and by what it is found in other accounts; its name may change."""
    images = [[row.id, row.filename, row.size] for row in entity.images or ()]
    fields = [entity.external_code, entity.code, entity.article, entity.barcodes, entity.product_id]
    return hashlib.sha256(orjson.dumps([images, fields])).hexdigest()
