"""A plan into a remote system: one group at a time, several side by side, each between its intent and its outcome.

So nothing doubles when an answer is lost; several groups go in one call where the system takes them so.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.errors import AnswerLostError, RemoteError
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.effects import NOBODY, Author
from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.sync import apply
from imagesync_pipelines.sync.effects import planned_rows
from imagesync_pipelines.sync.frames import check_rows
from imagesync_pipelines.sync.model import GroupWork, Outcome, RowResult, group_state
from imagesync_pipelines.sync.plan import group_states
from imagesync_pipelines.sync.tally import GIVE_UP_AFTER, Applied, Tally
from imagesync_pipelines.sync.targets import BulkTarget, IntentLog, Quarantine, ReadableTarget, RemoteTarget

GROUPS_PER_READ = 100
# How long what a run has read of the target counts as what is there.
FRESH_FOR = timedelta(minutes=5)
# What is written as a whole replaces what somebody else may have added meanwhile: the list that is to be replaced is
# read at most so long before, ahead for others too; what is older is read again.
WHOLE_FRESH_FOR = timedelta(seconds=30)
# Errors of the system or of the way to it; any other is of one group and says nothing of the next.
NO_ANSWERS = (AnswerLostError, RemoteError)
UNSETTLED = N_("the outcome of an earlier call is unknown; it is read at the next start, then planned again")
WRITTEN_BEFORE = N_("an application that broke off wrote it")
MOVED = N_("it changed at the target since the plan was made; plan again")

T = TypeVar("T")


def moved_groups(works: Iterable[GroupWork], states_now: Mapping[str, str]) -> dict[str, str]:
    """The groups that are not as they were when the plan was made, each with the reason for refusing it.

    states_now: the digests of what the target holds now (plan.group_states); a group that is not in it has no rows.
    """
    empty = group_state(())
    return {
        work.group: MOVED
        for work in works
        if work.state_before is not None and work.state_before != states_now.get(work.group, empty)
    }


def _as_planned(works: Iterable[GroupWork], now: pd.DataFrame) -> set[str]:
    """The groups of which every row is at the target as the plan wants it."""
    fingerprints, positions = (
        now[name].astype(object).where(now[name].notna(), None).tolist() for name in ("fingerprint", "position")
    )
    there = dict(zip(now["key"], zip(fingerprints, positions, strict=True), strict=True))
    found = set()
    for work in works:
        after = (row for row in work.rows if row.fingerprint_after is not None)
        wanted = {row.key: (row.fingerprint_after, row.position) for row in after}
        gone = {row.key_before or row.key for row in work.rows} - wanted.keys()
        if gone.isdisjoint(there) and all(there.get(key) == row for key, row in wanted.items()):
            found.add(work.group)
    return found


def recover(
    intents: IntentLog, target: ReadableTarget, *, unread: Callable[[], Collection[str]] = frozenset
) -> set[str]:
    """Read every group whose outcome is unknown and record what the target holds; returns those groups.

    unread: the groups of which the target's last `read` learned nothing; their outcome stays unknown, and they are not
    among those returned. Run it before planning, and before a plan goes on. Stopped in the middle, it goes on with what
    is left the next time.
    Raises what the target raises, and ValueError when it answers with rows of other groups.
    """
    groups = sorted({intent.group for intent in intents.open_intents()})
    settled: set[str] = set()
    for some in _parts(groups, GROUPS_PER_READ):
        rows = _read(target, some)
        left = set(unread())
        known = [group for group in some if group not in left]
        intents.settle(rows[rows["group"].isin(known)], known)
        settled |= set(known)
    return settled


def apply_remote(
    plan: pd.DataFrame,
    target: RemoteTarget,
    intents: IntentLog,
    quarantine: Quarantine,
    *,
    workers: int,
    states: Mapping[str, str],
    states_read_at: datetime | None = None,
    by: Author = NOBODY,
    resumed: bool = False,
    bulk: BulkTarget | None = None,
    fatal: tuple[type[BaseException], ...] = (),
    identify: Callable[[], None] = lambda: None,
    before_write: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_progress: Callable[[int], None] = lambda done: None,
    broke: Callable[[Applied], None] = lambda so_far: None,
) -> Applied:
    """Apply the changing rows of a guarded plan, at most `workers` groups at a time, rows of one group never.

    states: the digests of the groups when the plan was made (see group_works). states_read_at: when this very run read
    them from the target; None for a stored plan. Older than 5 minutes, groups are read again first, and those that
    moved are refused. So are groups whose earlier outcome is unknown: settle them before planning, and before a plan
    goes on. by: in whose name
    the history tells of it: what a group is to get is noted with its intent, and told with its outcome. resumed: an
    application of the same plan broke off; groups that are as the plan wants them were written by it and count as done.
    identify: looks whose account has answered so far, each time before groups are written; IdentityRefusedError ends
    the application, whoever raises it.
    bulk: takes several groups in one call; it is offered all that may be written, and what it does not answer goes one
    by one. A group whose answer was lost is UNKNOWN and keeps its intent; one that raises fails, goes to quarantine and
    keeps its intent too, for nobody knows how far it came. Once the target has stopped, by itself or because ten groups
    in a row got no answer, the rest is REFUSED. What ends_run (fatal: of the connector), interruptions and what
    before_write raises, which is called before each group, start no further group, wait for those under way and are
    raised; `broke` gets what was done before. on_progress gets the number of rows done so far.
    """
    tally = Tally(quarantine)
    unsettled = {intent.group for intent in intents.open_intents()}
    answered: set[str] = set()
    done = 0

    def take(results: list[RowResult]) -> None:
        nonlocal done
        tally.take(results)
        done += len(results)
        on_progress(done)

    def due(*, last: bool) -> Iterator[GroupWork]:
        """The groups without an answer that may be written now; the others are refused when it is the last offer."""
        left = (work for work in apply.group_works(plan, states) if work.group not in answered)
        for works in _parts(left, GROUPS_PER_READ):
            refused = {work.group: UNSETTLED for work in works if work.group in unsettled}
            written = set[str]()
            rest = [work for work in works if work.group not in refused]
            if rest and (resumed or states_read_at is None or clock() - states_read_at > FRESH_FOR):
                now = _read(target, [work.group for work in rest])
                moved = moved_groups(rest, group_states(now))
                written = _as_planned((work for work in rest if work.group in moved), now) if resumed else written
                refused |= {group: why for group, why in moved.items() if group not in written}
            if rest:
                identify()
            for work in works:
                if work.group not in refused and work.group not in written:
                    before_write()
                    yield work
                elif last:
                    outcome = Outcome.DONE if work.group in written else Outcome.REFUSED
                    take(apply.same_for_all(work, outcome, refused.get(work.group, WRITTEN_BEFORE)))

    with tally.telling(plan, broke):
        if bulk is not None:
            for results in _in_bulk(bulk, due(last=False), intents, by, fatal):
                take(results)
                answered |= {result.group for result in results}
        silent = 0
        writing = apply.side_by_side(due(last=True), lambda work: _write(work, target, intents, by, fatal), workers)
        # Whatever ends it, calls that are under way are waited for: the lock of the account goes back after this.
        with closing(writing) as written:
            for _, (results, error) in written:
                take(results)
                if error is None or isinstance(error, NO_ANSWERS):
                    silent = 0 if error is None else silent + 1
                if silent >= GIVE_UP_AFTER:
                    target.stopped = languages.told(f"{silent} in a row got no answer, the last: {error}")
    return tally.result(plan)


def _in_bulk(
    bulk: BulkTarget, works: Iterator[GroupWork], intents: IntentLog, by: Author, fatal: tuple[type[BaseException], ...]
) -> Iterator[list[RowResult]]:
    """Portions written in one call each, between intents and outcomes; the results of those that were answered.

    After an error nothing more is written so: one by one, every group gets its own answer. How far the portion came
    that broke is unknown: its groups are left with their intents.
    """
    portions = bulk.portions(works)
    while True:
        portion: Sequence[GroupWork] = ()
        try:
            portion = next(portions, ())
            if not portion:
                return
            for work in portion:
                intents.begin(_intent(work, by))
            results = list(bulk.apply(portion))
        except AnswerLostError as error:
            yield [result for work in portion for result in apply.same_for_all(work, Outcome.UNKNOWN, _lost(error))]
            continue
        except Exception as error:
            # Whatever a call of many does, each of them can be tried by itself.
            if apply.ends_run(error, fatal):
                raise
            yield [result for work in portion for result in apply.same_for_all(work, Outcome.REFUSED, UNSETTLED)]
            return
        told = {result.group for result in results}
        answered = apply.answers([work for work in portion if work.group in told], results)
        unknown = {result.group for result in answered if result.outcome is Outcome.UNKNOWN}
        for work in portion:
            if work.group not in unknown:
                intents.finish(work, [result for result in answered if result.group == work.group])
        yield answered


def _lost(error: AnswerLostError) -> str:
    return languages.told(f"the answer was lost ({error}); it is read at the next start")


def _write(
    work: GroupWork, target: RemoteTarget, intents: IntentLog, by: Author, fatal: tuple[type[BaseException], ...]
) -> tuple[list[RowResult], Exception | None]:
    """Intent, call, outcome, and what the target raised. The outcome is written only when it is known for every row."""
    if target.stopped:
        return apply.same_for_all(work, Outcome.REFUSED, target.stopped), None
    intents.begin(_intent(work, by))
    try:
        results = apply.answers([work], target.apply(work))
    except AnswerLostError as error:
        return apply.same_for_all(work, Outcome.UNKNOWN, _lost(error)), error
    except Exception as error:  # noqa: BLE001 - whatever a group does to a target, the others go on
        return apply.same_for_all(work, Outcome.FAILED, apply.item_failure(error, fatal)), error
    if all(result.outcome is not Outcome.UNKNOWN for result in results):
        intents.finish(work, results)
    return results, None


def _intent(work: GroupWork, by: Author) -> Intent:
    wanted = ((row.key, row.fingerprint_after, row.position) for row in work.rows)
    state = group_state((key, fingerprint, place) for key, fingerprint, place in wanted if fingerprint is not None)
    return Intent(work.group, state, planned_rows(work), by)


def _read(target: ReadableTarget, groups: Sequence[str]) -> pd.DataFrame:
    """What the target holds of these groups. Raises ValueError for rows of others."""
    rows = check_rows(target.read(groups), "read from the target")
    strangers = set(rows["group"]) - set(groups)
    if strangers:
        raise ValueError(f"read from the target: rows of groups that nobody asked for, such as {min(strangers)!r}")
    return rows


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part
