"""The steps before the plan: the main account into the mirror, and which entity of the child account is which."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad import mapping, reading
from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Ownership
from imagesync_pipelines.connectors.moysklad.child import (
    ChildRun,
    child_api,
    child_of,
    left_by,
    look_at,
    main_api,
    remember_main,
)
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import SkippedOffError
from imagesync_pipelines.connectors.moysklad.model import (
    NAME,
    TYPES,
    ChildMap,
    Entity,
    EntityType,
    MainReading,
    WithoutCounterpart,
    key_parts,
)
from imagesync_pipelines.connectors.moysklad.options import ChosenEntities, ReadingOptions
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.storage.mirror import read_mirror
from imagesync_pipelines.sync.report import Summary
from imagesync_pipelines.sync.steps import CheckResult, RunContext, StepResult, Table, Texts

MAIN_IMAGES, ENTITY_MAP = "main_images", "entity_map"
# A reading that runs share is left under this name, by the moment at which they were started.
_SHARED = f"{MAIN}/shared"
# Payloads that are Python objects at one time.
_PORTION = 1000
# An event is stored whole; the exact numbers are beside the first of them.
SHOWN = 20


@dataclass(frozen=True)
class EntityChoice:
    """The entities that a run is about: of these types, and with these keys of the main account (none: all)."""

    types: tuple[EntityType, ...] = TYPES
    keys: tuple[str, ...] = ()

    def has(self, key: str) -> bool:
        """Whether an entity is among them."""
        return key_parts(key)[0] in self.types and (not self.keys or key in self.keys)


EVERYTHING, NOTHING = EntityChoice(), EntityChoice(types=())


def chosen(entity_type: str, entity: str) -> EntityChoice:
    """The entities of a type ('': all types), or the one with an id in the main account ('': all)."""
    types = tuple(kind for kind in TYPES if entity_type in ("", kind))
    return EntityChoice(types, _keys(entity_type, entity))


def requested(context: RunContext[MoyskladSettings]) -> tuple[str, ...]:
    """The keys of the entities that the run has requests for; none when it has not taken any."""
    held = Queue(context.installation.engine).held(context.run_id)
    return tuple(sorted({request.entity for request in held}))


def chosen_by(context: RunContext[MoyskladSettings], options: ChosenEntities) -> EntityChoice:
    """The entities that the run is about."""
    if options.requests:
        keys = requested(context)
        return EntityChoice(keys=keys) if keys else NOTHING
    return chosen(options.entity_type, options.entity)


def main_images(context: RunContext[MoyskladSettings], options: ReadingOptions) -> StepResult:
    """The main account into the mirror, for a run of a child account or for itself; ends a run of one that is off."""
    keys = _keys(options.entity_type, options.entity)
    if context.account:
        try:
            child_of(context).refuse_off()
        except SkippedOffError as skipped:
            return _ended(context, str(skipped))
        if options.requests:
            Queue(context.installation.engine).take(context.account, context.run_id, context.clock())
            keys = requested(context)

    def read() -> MainReading:
        with main_api(context) as api:
            return read_main_account(context, api, full=options.full, keys=keys)

    shared = options.since if not options.requests else ""
    found = read_once(context, shared, read) if shared else read()
    return StepResult(
        rows=sum(found.seen.values()),
        numbers=_main_numbers(found),
        shown={
            "complete": found.complete,
            "unread": Texts([f"{key}: {why}" for key, why in sorted(found.unread.items())]),
            "warnings": Texts(found.warnings),
        },
        lines=[_main_line(found)],
        warnings=found.warnings,
    )


def read_main_account(
    context: RunContext[MoyskladSettings], api: MoyskladApi, *, full: bool = False, keys: Sequence[str] = ()
) -> MainReading:
    """Read the main account into the mirror: what changed since the cursor, all of it with `full`, or only `keys`.

    Raises AccountBusyError when another run reads it, RowsMissingError, and the errors of the API; nothing was changed
    then.
    """
    engine, settings = context.installation.engine, context.settings
    permanent = api.account.permanent_links
    main = _main(context)
    with main.lock():
        if keys:
            read = reading.read_entities(engine, api, keys, permanent=permanent)
        else:
            read = reading.read_main(
                engine,
                api,
                full=full,
                overlap=timedelta(minutes=settings.overlap_minutes),
                repeats=settings.walk_repeats,
                permanent=permanent,
            )
    remember_main(engine, read.accounts)
    warnings = []
    if not read.complete:
        warnings.append(f"The reading of the main account does not prove to be complete: {read.reason}.")
    if read.unread:
        key, why = next(iter(read.unread.items()))
        warnings.append(f"{len(read.unread)} entities stay as they were read before, such as {key}: {why}.")
    found = read.model_copy(update={"run_id": context.run_id, "asked": tuple(keys), "warnings": tuple(warnings)})
    main.keep(MAIN_IMAGES, found)
    main.handovers.prune()
    return found


def read_once(context: RunContext[MoyskladSettings], moment: str, read: Callable[[], MainReading]) -> MainReading:
    """The reading that the first of the runs of this moment (any text) made, else this run makes it, and shares it.

    Raises what reading raises; the next run of the moment then tries itself.
    """
    main = _main(context)
    shared = replace(main.handovers, account=_SHARED)
    found = shared.find([moment], MAIN_IMAGES, MainReading)
    if found is not None:
        mine = found.model_copy(update={"run_id": context.run_id, "calls": 0})
        main.keep(MAIN_IMAGES, mine)
        return mine
    made = read()
    shared.keep(moment, MAIN_IMAGES, made)
    shared.prune()
    return made


def reading_of(context: RunContext[MoyskladSettings]) -> MainReading | None:
    """The reading of the main account of this run's lineage; None when it made none."""
    return left_by(_main(context), MAIN_IMAGES, MainReading)


def entity_map(context: RunContext[MoyskladSettings], options: ChosenEntities) -> StepResult:
    """Which entity of the child account is which of the main account."""
    child = child_of(context)
    with child_api(child) as api:
        found = map_entities(child, api, chosen=chosen_by(context, options))
    return StepResult(
        rows=sum(found.mapped.values()),
        numbers={
            "entities/mapped": sum(found.mapped.values()),
            "entities/new": found.new,
            "entities/unmapped": len(found.unmapped),
            "api/calls": found.calls,
        },
        shown={"match_field": str(child.child.match_field), "unmapped": Table(_unmapped(found))},
        lines=[
            f"{child.alias}: {_kinds(found.mapped) or 'nothing'} mapped, {found.new} of them new; "
            f"{len(found.unmapped)} have no counterpart; {found.calls} calls."
        ],
    )


def map_entities(child: ChildRun, api: MoyskladApi, *, chosen: EntityChoice = EVERYTHING) -> ChildMap:
    """Find the counterparts of the main account's entities that have images; the account is asked for new ones only.

    Raises SkippedOffError, AccountBusyError, SameAccountError, and the errors of the API.
    """
    child.refuse_off()
    identity = child.identity
    calls, new = api.calls, 0
    mapped: Counter[str] = Counter()
    unmapped: list[WithoutCounterpart] = []
    with child.context.lock():
        for entities in mirrored(child.engine, chosen):
            with_images = [entity for entity in entities if entity.images]
            found = mapping.map_entities(child.engine, api, child.child, with_images, identity=identity)
            if child.child.ownership is Ownership.MIRROR:
                child.state.note_others({match.key: match.images for match in found.new})
            mapped.update(key_parts(key)[0] for key in found.ids)
            new += len(found.new)
            unmapped += found.unmatched
    warnings = []
    if unmapped:
        first = unmapped[0]
        warnings.append(
            f"{len(unmapped)} entities have no counterpart in {child.alias}, such as {first.name} ({first.key}): "
            f"{first.reason}."
        )
    left = ChildMap(
        run_id=child.context.run_id,
        mapped=dict(mapped),
        new=new,
        unmapped=tuple(unmapped),
        calls=api.calls - calls,
        warnings=tuple(warnings),
    )
    child.context.keep(ENTITY_MAP, left)
    return left


def mirrored(engine: sa.Engine, chosen: EntityChoice, among: Collection[str] | None = None) -> Iterator[list[Entity]]:
    """The entities of the main account as the mirror has them, in portions, ordered by key; among: only these keys."""
    with engine.connect() as connection:
        keys = read_mirror(connection, NAME, MAIN)["key"].tolist()
        wanted = [key for key in keys if chosen.has(key) and (among is None or key in among)]
        for first in range(0, len(wanted), _PORTION):
            yield reading.entities_of(connection, wanted[first : first + _PORTION])


def every_entity_was_read(context: RunContext[MoyskladSettings]) -> Mapping[str, CheckResult]:
    """Whether the last reading proved to be complete, and which entities it could not use."""
    found = look_at(_main(context), MAIN_IMAGES, MainReading)
    problems = [f"{key}: {why}" for key, why in sorted(found.unread.items())]
    result = CheckResult(
        found.complete and not problems,
        found.reason or f"{len(problems)} entities stay as they were read before",
        {"entities": Texts(problems), "number": len(problems)},
    )
    return {"every_entity_was_read": result}


def every_entity_has_a_counterpart(context: RunContext[MoyskladSettings]) -> Mapping[str, CheckResult]:
    """Which entities with images the child account lacks."""
    found = look_at(context, ENTITY_MAP, ChildMap)
    problems = [f"{one.name} ({one.key}): {one.reason}" for one in found.unmapped]
    result = CheckResult(
        not problems,
        f"{len(problems)} entities without a counterpart",
        {"entities": Texts(problems), "number": len(problems)},
    )
    return {"every_entity_has_a_counterpart": result}


def _ended(context: RunContext[MoyskladSettings], why: str) -> StepResult:
    """A run that does nothing, since its account is switched off."""
    summary = Summary(
        status="completed", started_at=context.started_at, completed_at=datetime.now(UTC), warnings=(why,)
    )
    return StepResult(ends=why, summary=summary, warnings=(why,))


def _keys(entity_type: str, entity: str) -> tuple[str, ...]:
    """The keys that an entity with this id may have; none when it is not about one entity."""
    return tuple(f"{kind}:{entity}" for kind in TYPES if entity_type in ("", kind)) if entity else ()


def _main(context: RunContext[MoyskladSettings]) -> RunContext[MoyskladSettings]:
    """The same run as it works on the main account: its lock and hand-overs are one, whatever child a run is for."""
    return replace(context, account=MAIN)


def _main_line(read: MainReading) -> str:
    what = "all of it" if read.full else "what changed" if not read.asked else f"{len(read.asked)} entities asked for"
    return f"main: {what}: {_kinds(read.seen) or 'nothing'} with {read.images} images; {read.calls} calls."


def _main_numbers(read: MainReading) -> dict[str, int]:
    return {
        "entities/read": sum(read.seen.values()),
        "entities/new": read.new,
        "entities/changed": read.changed,
        "entities/deleted": read.deleted,
        "entities/archived": read.archived,
        "entities/unread": len(read.unread),
        "images/read": read.images,
        "api/calls": read.calls,
    }


def _unmapped(found: ChildMap) -> pd.DataFrame:
    """The first entities without counterpart, with why."""
    rows = [(one.key, one.name, one.reason) for one in found.unmapped[:SHOWN]]
    return pd.DataFrame(rows, columns=["entity", "name", "reason"])


def _kinds(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}s" for kind, number in sorted(numbers.items()) if number)
