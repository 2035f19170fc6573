"""A plan into a remote system: groups in parallel, each between its intent and its outcome, so that nothing doubles.

What belongs here: intents, lost answers, threads, and reading groups again. What does not: the calls (a connector's
applying.py), the table of intents (storage), pacing (the connector's session).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

import pandas as pd

from imagesync_pipelines.sync.applying import Applied, Tally, answers, error_reason, group_works, same_for_all
from imagesync_pipelines.sync.frames import check_rows
from imagesync_pipelines.sync.model import GroupWork, Intent, Outcome, RowResult, group_state
from imagesync_pipelines.sync.plan import group_states
from imagesync_pipelines.sync.stored import moved_groups
from imagesync_pipelines.sync.targets import AnswerLostError, IntentLog, Quarantine, RemoteTarget

T = TypeVar("T")
GROUPS_PER_READ = 100
# How long what a run has read of the target counts as what is there.
FRESH_FOR = timedelta(minutes=5)
UNSETTLED = "the outcome of an earlier call is unknown; it is read at the next start, then planned again"


def recover(intents: IntentLog, target: RemoteTarget) -> set[str]:
    """Read every group whose outcome is unknown and record what the target holds; returns those groups.

    Run it before planning. Stopped in the middle, it goes on with what is left the next time. Raises what the target
    raises, and ValueError when it answers with rows of other groups.
    """
    groups = sorted({intent.group for intent in intents.open_intents()})
    for some in _parts(groups, GROUPS_PER_READ):
        intents.settle(_read(target, some), some)
    return set(groups)


def apply_remote(
    plan: pd.DataFrame,
    target: RemoteTarget,
    intents: IntentLog,
    quarantine: Quarantine,
    *,
    workers: int,
    states: Mapping[str, str],
    states_read_at: datetime | None = None,
    fatal: tuple[type[BaseException], ...] = (),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_progress: Callable[[int], None] | None = None,
) -> Applied:
    """Apply the changing rows of a guarded plan, at most `workers` groups at a time, rows of one group never.

    states: the digests of the groups when the plan was made (see group_works). states_read_at: when this very run read
    them from the target; None for a stored plan. Older than 5 minutes, groups are read again first, and those that
    moved are refused. So are groups whose earlier outcome is unknown: run `recover` before planning.
    A group whose answer was lost is UNKNOWN and keeps its intent; one that raises fails, goes to quarantine and keeps
    its intent too, for nobody knows how far it came. Errors in `fatal` and interruptions start no further group, wait
    for those under way and are raised. on_progress gets the number of rows done so far.
    """
    tally = Tally(quarantine)
    unsettled = {intent.group for intent in intents.open_intents()}
    running: set[Future[list[RowResult]]] = set()
    done = 0

    def take(results: list[RowResult]) -> None:
        nonlocal done
        tally.take(results)
        done += len(results)
        if on_progress is not None:
            on_progress(done)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="sync")
    try:
        for works in _parts(group_works(plan, states), GROUPS_PER_READ):
            refused = {work.group: UNSETTLED for work in works if work.group in unsettled}
            rest = [work for work in works if work.group not in refused]
            if rest and (states_read_at is None or clock() - states_read_at > FRESH_FOR):
                refused |= moved_groups(rest, group_states(_read(target, [work.group for work in rest])))
            for work in works:
                if work.group in refused:
                    take(same_for_all(work, Outcome.REFUSED, refused[work.group]))
                    continue
                # Never more than can run, so that after an error no further group starts.
                if len(running) == workers:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        take(future.result())
                running.add(pool.submit(_write, work, target, intents, fatal))
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                take(future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return tally.result(plan)


def _write(
    work: GroupWork, target: RemoteTarget, intents: IntentLog, fatal: tuple[type[BaseException], ...]
) -> list[RowResult]:
    """Intent, call, outcome. The outcome is written only when it is known for every row."""
    intents.begin(Intent(work.group, _wanted_state(work)))
    try:
        results = answers([work], target.apply(work))
    except fatal:
        raise
    except AnswerLostError as error:
        return same_for_all(work, Outcome.UNKNOWN, f"the answer was lost ({error}); it is read at the next start")
    except Exception as error:  # noqa: BLE001 - whatever a group does to a target, the others go on
        return same_for_all(work, Outcome.FAILED, error_reason(error))
    if all(result.outcome is not Outcome.UNKNOWN for result in results):
        intents.finish(work, results)
    return results


def _wanted_state(work: GroupWork) -> str:
    """The digest of the rows that a group is to get."""
    return group_state(
        (row.key, row.fingerprint_after, row.position) for row in work.rows if row.fingerprint_after is not None
    )


def _read(target: RemoteTarget, groups: Sequence[str]) -> pd.DataFrame:
    """What the target holds of these groups. Raises ValueError for rows of others."""
    rows = check_rows(target.read(groups), "read from the target")
    strangers = set(rows["group"]) - set(groups)
    if strangers:
        raise ValueError(f"read from the target: rows of groups that nobody asked for, such as {min(strangers)!r}")
    return rows


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of at most `size`."""
    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part
