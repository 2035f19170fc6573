"""A plan into a target: groups applied, counted and set aside under one set of rules; a bad group costs nobody else.

Databases take batches of whole groups as frames, each one transaction: a batch that is not accepted is halved down to
the one group that cannot be written. How remote systems take them, group by group, is in remote.py.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import chain, groupby, pairwise
from operator import attrgetter
from typing import TypeVar

import numpy as np
import pandas as pd

from imagesync_pipelines.collector import collector_paused
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.database import is_server_gone
from imagesync_pipelines.storage.errors import (
    AccountBusyError,
    DatabaseUnreachableError,
    LockLostError,
    StorageRootError,
    TransactionPoolerError,
)
from imagesync_pipelines.storage.faults import is_system_exhausted
from imagesync_pipelines.sync.frames import PLAN_COLUMNS, check_columns
from imagesync_pipelines.sync.model import EFFECTS, Change, GroupWork, Outcome, PlanRow, RowResult, group_state
from imagesync_pipelines.sync.tally import Applied, Tally
from imagesync_pipelines.sync.targets import DatabaseTarget, Quarantine

NO_ANSWER = N_("the target gave no answer for this row")
# Rows of a plan that are Python objects at one time; a frame of a million of them is a tenth of their size.
_SLICE = 20_000
_CHANGES = {str(change): change for change in Change}
_WITHOUT_ROWS = group_state(())
# What is wrong with the installation, or another run that is at work: no matter of the item that met it.
_OF_THE_RUN = (
    SettingsError,
    DatabaseUnreachableError,
    StorageRootError,
    LockLostError,
    AccountBusyError,
    TransactionPoolerError,
)

T = TypeVar("T")
R = TypeVar("R")


def apply_database(
    plan: pd.DataFrame,
    target: DatabaseTarget,
    quarantine: Quarantine,
    *,
    states: Mapping[str, str] | None = None,
    rows_per_batch: int = 1000,
    writers: int = 1,
    fatal: tuple[type[BaseException], ...] = (),
    before_write: Callable[[], None] = lambda: None,
    on_progress: Callable[[int], None] = lambda done: None,
    broke: Callable[[Applied], None] = lambda so_far: None,
) -> Applied:
    """Apply the changing rows of a guarded plan.

    states: the digests of the groups when the plan was made, as from `group_states`; the target refuses groups that
    moved. A batch that raises is halved down to the one group that cannot be written: its rows fail with the error's
    text and go to quarantine, the others are written. What ends_run (the server is gone, `fatal`) is raised as it is:
    what was written stays, no further batch is begun, and the next run plans what is missing. before_write is called
    before each batch; LockLostError from it ends the run as well. writers: how many batches
    are applied at the same time, each in a thread of its own. on_progress gets the number of rows done so far,
    broke what was done before an error that is raised.
    """
    tally, done, rows = Tally(quarantine), 0, changing_rows(plan)

    def write(groups: Sequence[slice]) -> list[pd.DataFrame]:
        before_write()
        batch = rows.iloc[groups[0].start : groups[-1].stop]
        digests = None if states is None else {group: _digest(states, group) for group in batch["group"].unique()}
        return [_answered(batch, target.apply_batch(batch, digests))]

    def refused(group: slice, error: Exception) -> list[pd.DataFrame]:
        return [outcomes(rows.iloc[group], Outcome.FAILED, error_reason(error))]

    halving = partial(apply_halving, write=write, refused=refused, fatal=fatal)
    with collector_paused(), tally.telling(plan, broke):
        for _, results in side_by_side(_batches(rows["group"], rows_per_batch), halving, writers):
            # All pieces of a batch that was halved are over by now.
            told = results[0] if len(results) == 1 else pd.concat(results)
            tally.take_frame(told)
            done += len(told)
            on_progress(done)
    return tally.result(plan)


def changing_rows(plan: pd.DataFrame) -> pd.DataFrame:
    """The rows of a plan that change something, group by group, in each by position, then key."""
    check_columns(plan, "plan", PLAN_COLUMNS)
    return plan[plan["change"].isin(EFFECTS)].sort_values(["group", "position", "key"])


def group_works(plan: pd.DataFrame, states: Mapping[str, str] | None = None) -> Iterator[GroupWork]:
    """The rows of a plan that change, group by group, for targets that are written one group at a time.

    states: the digest of every group when the plan was made, as from `group_states`; a group that is not in it (or is
    NA, as a stored column has it) had no rows then. None: nothing is to be compared.
    """
    changing = changing_rows(plan)
    slices = (changing.iloc[start : start + _SLICE] for start in range(0, len(changing), _SLICE))
    rows = chain.from_iterable(map(_plan_rows, slices))
    for group, members in groupby(rows, key=attrgetter("group")):
        yield GroupWork(group, tuple(members), None if states is None else _digest(states, group))


def outcomes(rows: pd.DataFrame, outcome: Outcome, reason: str | None = None) -> pd.DataFrame:
    """The same outcome for rows of a plan, as a frame of RowResult; reason None: that of the plan."""
    told = rows if reason is None else rows.assign(reason=reason)
    return told.assign(outcome=outcome)[list(RowResult._fields)]


def answers(works: Sequence[GroupWork], results: Iterable[RowResult]) -> list[RowResult]:
    """One result per row; a row that the target did not speak about is UNKNOWN, never done."""
    told = {result.key: result for result in results}
    return [
        told.get(row.key) or RowResult(row.key, row.group, row.change, Outcome.UNKNOWN, NO_ANSWER)
        for work in works
        for row in work.rows
    ]


def same_for_all(work: GroupWork, outcome: Outcome, reason: str) -> list[RowResult]:
    """The same result for every row of a group."""
    return [RowResult(row.key, row.group, row.change, outcome, reason) for row in work.rows]


def ends_run(error: BaseException, fatal: tuple[type[BaseException], ...] = ()) -> bool:
    """Whether an error in the middle of an item says that no other item can be done either; fatal: of the connector.

    Any other one, of whatever library, is that item's failure and costs nobody else.
    """
    return isinstance(error, (*fatal, *_OF_THE_RUN)) or is_server_gone(error) or is_system_exhausted(error)


def item_failure(error: Exception, fatal: tuple[type[BaseException], ...] = ()) -> str:
    """Why an item failed, for people; an error that ends_run is raised again."""
    if ends_run(error, fatal):
        raise error
    return error_reason(error)


def _plan_rows(rows: pd.DataFrame) -> Iterator[PlanRow]:
    columns = {name: rows[name].astype(object).where(rows[name].notna(), None).tolist() for name in PlanRow._fields}
    columns["change"] = [_CHANGES[change] for change in columns["change"]]
    return map(PlanRow._make, zip(*columns.values(), strict=True))


def _answered(rows: pd.DataFrame, told: pd.DataFrame) -> pd.DataFrame:
    """One result per row; a row that the target did not speak about is UNKNOWN, never done."""
    said = told.drop_duplicates("key").set_index("key").reindex(rows["key"])
    outcome = said["outcome"].astype(object).fillna(Outcome.UNKNOWN).to_numpy()
    reason = said["reason"].astype(object).fillna(NO_ANSWER).to_numpy()
    return rows.assign(outcome=outcome, reason=reason)[list(RowResult._fields)]


def _digest(states: Mapping[str, str], group: str) -> str:
    state: object = states.get(group)
    return state if isinstance(state, str) else _WITHOUT_ROWS


def _batches(groups: pd.Series, rows_per_batch: int) -> Iterator[list[slice]]:
    """Where each group stands, in batches of whole groups; `groups` is sorted."""
    begins = np.flatnonzero((groups != groups.shift()).to_numpy()).tolist()
    batch: list[slice] = []
    for start, stop in pairwise([*begins, len(groups)]):
        if batch and stop - batch[0].start > rows_per_batch:
            yield batch
            batch = []
        batch.append(slice(start, stop))
    if batch:
        yield batch


def side_by_side(items: Iterable[T], do: Callable[[T], R], workers: int) -> Generator[tuple[T, R], None, None]:
    """Items with what came of them as they end, at most `workers` at a time; the next is made ready here meanwhile.

    Never more are begun than can run: after an error, of `items` too, no further one starts, those under way are waited
    for and given, and then the error is raised.
    """
    running: dict[Future[R], T] = {}
    errors: list[BaseException] = []

    def ready() -> Iterator[T]:
        left = iter(items)
        while not errors:
            try:
                item = next(left)
            except StopIteration:
                return
            except BaseException as error:  # noqa: BLE001 - raised in the end
                errors.append(error)
                return
            yield item

    def ended() -> Iterator[tuple[T, R]]:
        try:
            over = wait(running, return_when=FIRST_COMPLETED).done
        except BaseException as error:  # noqa: BLE001 - an interruption; raised in the end
            errors.append(error)
            over = wait(running).done
        for future in over:
            item, broke = running.pop(future), future.exception()
            if broke is None:
                yield item, future.result()
            else:
                errors.append(broke)

    with ThreadPoolExecutor(workers, thread_name_prefix="sync") as pool:
        for item in ready():
            while len(running) == workers:
                yield from ended()
            if not errors:
                running[pool.submit(do, item)] = item
        while running:
            yield from ended()
    for error in errors[:1]:
        raise error


def apply_halving(
    works: Sequence[T],
    write: Callable[[Sequence[T]], list[R]],
    refused: Callable[[T, Exception], list[R]],
    *,
    fatal: tuple[type[BaseException], ...] = (),
) -> list[R]:
    """Write groups together, halving those that are not accepted down to the one that is `refused` alone.

    write: one transaction; it raises with nothing written. refused: the results of a group that raised by itself.
    What ends_run (fatal: of the connector) is about no group at all, and raised as it is.
    """
    try:
        return write(works)
    except Exception as error:
        if ends_run(error, fatal):
            raise
        if len(works) == 1:
            return refused(works[0], error)
    middle = len(works) // 2
    halves = (works[:middle], works[middle:])
    return [row for half in halves for row in apply_halving(half, write, refused, fatal=fatal)]
