"""What a connector tells of itself to take part in the conformance tests: one `Subject`,
and the `Site` that it makes.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import sqlalchemy as sa
from pydantic_settings import BaseSettings

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.faults import FaultPlan, latency
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines_tests.faults.commands import WAITING
from imagesync_pipelines_tests.places import entered, opened, rows_of

# What each group of the target shows: a product, an entity, a gallery → its pictures, in any form that can be compared.
Held = Mapping[str, object]
# Nothing listens there, and what no system takes for a password.
NOBODY, WRONG_PASSWORD = "http://127.0.0.1:9", "not-the-password-of-anybody"
SAID = "the library gave up on it"
CHANGES = ("images_added", "images_updated", "images_deleted")
# The deletion limits but for the number.
LOOSE = {
    "IMAGESYNC_DELETION_LIMIT_SHARE": "1",
    "IMAGESYNC_DELETION_LIMIT_BARE": "1000",
    "IMAGESYNC_DELETION_LIMIT_FLOOR": "0",
}


@dataclass
class Site(ABC):
    """One installation with its source and its target; `environment` is all that a process needs to use it."""

    environment: dict[str, str] = field(repr=False)

    @abstractmethod
    def sync(self, **options: Any) -> runs.RunOutcome:
        """Synchronise once, in this process; `options` are those of the connector."""

    @abstractmethod
    def held(self) -> Held:
        """What the target shows."""

    @abstractmethod
    def wanted(self) -> Held:
        """What the target should show, made from the source without the connector's help."""

    @abstractmethod
    def stamps(self) -> object:
        """Versions of all that the target holds: equal before and after when nothing was written."""

    @abstractmethod
    def calls(self) -> int:
        """The calls that the outside system got so far."""

    @abstractmethod
    def change(self) -> None:
        """At the source: one image is added, one replaced, one taken away; no group that `broken` breaks."""

    @abstractmethod
    def change_again(self) -> None:
        """At the source: what `change` added, or put in another's place, is replaced, so that it is wanted no more."""

    @abstractmethod
    def drop(self, group: str, key: str) -> None:
        """At the source: an image that `change` added, and a run brought, is gone; by its row of the history."""

    @abstractmethod
    def meddle(self, group: str, key: str) -> None:
        """At the target: somebody else changes or removes an image that a run added, by its row of the history."""

    @abstractmethod
    def lose(self) -> None:
        """At the source: so many images vanish at once that the deletion limits hold their removal back."""

    @abstractmethod
    def leave(self) -> Callable[[], object]:
        """At the source: an image vanishes, of a group that `change` leaves alone; gives what brings it back."""

    @abstractmethod
    def broken(self) -> AbstractContextManager[set[str]]:
        """A new item that cannot be synchronised, well again after the `with` block; gives the groups that it is in."""

    @abstractmethod
    def emptied(self) -> AbstractContextManager[None]:
        """The source answers as if it had nothing at all, for the length of a `with` block."""

    @abstractmethod
    def nameless(self) -> AbstractContextManager[str]:
        """The identity of one item is not legible, for the length of a `with` block; gives the group that it is in.

        Of a group that `change` leaves alone.
        """

    @abstractmethod
    def stumbles(self) -> Mapping[str, AbstractContextManager[object]]:
        """Before the first run, or after one: per group a `with` block in which a library stumbles over an item of it.

        One in the reading of bytes, one in their validation, one in a write, where the connector does that.
        """

    @abstractmethod
    def mains(self) -> Mapping[str, str]:
        """The main pictures that the target shows: code → its key, its version or its address, as it is listed."""

    def reasons(self) -> list[str]:
        """Why items are set aside."""
        return [row[0] for row in self.rows("SELECT reason FROM imagesync.quarantine")]

    def blur(self) -> None:  # noqa: B027
        """At the source: details of an image cannot be read any more; where there are none that can be so, nothing."""

    def put_beside(self) -> None:  # noqa: B027
        """At the source: a second main picture where the first stays; where there is no such thing, nothing."""

    def written(self) -> Held:
        """What runs wrote into the target, without what they only announced there."""
        return self.held()

    def number(self) -> int:
        """How many pictures the target shows, without what runs only announced there."""
        return sum(len(shown) for shown in self.written().values() if isinstance(shown, Sized))

    def acknowledged(self) -> tuple[str, int]:
        """The state that the target acknowledged last, and how many pictures it says that these are."""
        [(state, images, left)] = self.rows("SELECT state, images, left_rows FROM imagesync.acknowledged")
        assert left == 0
        return state, images

    def sign(self, number: int) -> None:  # noqa: B027
        """At the source: addresses get another signature, each number another one; where there are none, nothing."""

    def told(self, run_id: str = "") -> list[dict[str, Any]]:
        """The rows of the history, of one run or of all, in their order."""
        found = self.rows("SELECT run_id, rows FROM imagesync.effect ORDER BY id")
        return [row for run, rows in found for row in rows if run_id in ("", run) and row["change"] in EFFECTS]

    def assert_told_once(self) -> None:
        """The history, from its beginning, gives what the target shows; nothing is in it twice."""
        there = set[str]()
        for row in self.told():
            if row["change"] != "add":
                there.remove(row.get("key_before", row["key"]))
            if row["change"] != "remove":
                assert row["key"] not in there, f"{row['key']} would be there twice"
                there.add(row["key"])
        assert len(there) == self.number()

    def assert_killed(self, before: Held) -> None:
        """What holds just after kill -9 at a moment, when `before` was held when the run began."""
        self.assert_sound()

    def assert_quiet(self, outcome: runs.RunOutcome) -> None:
        """The run found nothing to do, and says so."""
        assert outcome.status is not runs.Status.FAILED, outcome.error
        assert [outcome.summary[change] for change in CHANGES] == [0, 0, 0]

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """Another run, of this process, holds the account for the length of a `with` block."""
        with self.opened() as (installation, _), account_lock(installation.engine, owner, 0):
            yield

    def set_aside(self) -> set[str]:
        """What is known as not synchronised, by key."""
        return {row[0] for row in self.rows("SELECT connector || ' ' || key FROM imagesync.quarantine")}

    @contextmanager
    def rotated(self) -> Iterator[None]:
        """The very same account by other credentials, for the length of a `with` block."""
        with self.with_variables(IMAGESYNC_DATABASE_URL=spelt_otherwise(ours(self))):
            yield

    @contextmanager
    def wrong_password(self) -> Iterator[str]:
        """The credentials are refused, for the length of a `with` block; gives what doctor calls the system that does.

        '' where there are none.
        """
        yield ""

    @abstractmethod
    def unreachable(self) -> AbstractContextManager[set[str]]:
        """Nobody answers at the addresses, for the length of a `with` block; gives what doctor calls these systems."""

    @abstractmethod
    def another(self) -> AbstractContextManager[Callable[[], Held]]:
        """Another account answers under the same name, for the length of a `with` block; gives what that one shows."""

    @contextmanager
    def own_source(self) -> Iterator[bool]:
        """The target is its own source, for the length of a `with` block; gives whether this can be at all."""
        yield False

    @contextmanager
    def with_variables(self, **values: str) -> Iterator[None]:
        """These variables in the environment, for the length of a `with` block."""
        before = dict(self.environment)
        self.environment.update(values)
        try:
            yield
        finally:
            self.environment.clear()
            self.environment.update(before)

    @contextmanager
    def with_accounts(self, before: str, after: str) -> Iterator[None]:
        """Another text in the accounts file, for the length of a `with` block."""
        file = Path(self.environment["IMAGESYNC_ACCOUNTS"])
        text = file.read_text(encoding="utf-8")
        assert before in text
        file.write_text(text.replace(before, after), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(text, encoding="utf-8")

    @abstractmethod
    def assert_sound(self) -> None:
        """What holds at any moment, even just after kill -9."""

    @abstractmethod
    def assert_done_once(self) -> None:
        """Of two runs at once only one wrote or fetched each thing."""

    def is_idle(self) -> bool:
        """Whether the outside system has carried out everything that it was asked."""
        return True

    def assert_right(self) -> None:
        """The target shows what it should, and nothing of it is unsound."""
        assert self.held() == self.wanted()
        self.assert_sound()

    def entered(self, **more: str) -> AbstractContextManager[None]:
        """This process uses the installation for the length of a `with` block; `more` are further variables."""
        return entered(self.environment, **more)

    def opened(self, **more: str) -> AbstractContextManager[tuple[Installation, dg.DagsterInstance]]:
        """The installation and its Dagster instance."""
        return opened(self.environment, **more)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that a query on our database gives."""
        return rows_of(self.environment["IMAGESYNC_DATABASE_URL"], query)


class InventedError(Exception):
    """Of no library that anybody named."""


def stumbling(owner: Any, name: str, about: Callable[..., bool]) -> AbstractContextManager[object]:
    """A function of a module, or a method, raises an error that nobody named when its arguments are about an item."""
    real = getattr(owner, name)

    def stumble(*given: Any, **more: Any) -> Any:
        if about(*given, **more):
            raise InventedError(SAID)
        return real(*given, **more)

    return patch.object(owner, name, stumble)


# Given a site: a `with` block in which a run comes to a moment and stays there; gives whether it is there.
Moment = Callable[[Any], AbstractContextManager[Callable[[], bool]]]


@dataclass(frozen=True)
class Automation:
    """What a connector starts by itself.

    by_itself: schedules and sensors that run from the start as soon as all variables of `needs` are set, and with none
    of them missing. never, always: those for which they make no difference. schedule: the one that leaves out accounts
    at work ('' where there are no accounts), with the partitions that it keeps and the site's accounts. missing: what
    it says while there is no account.
    """

    by_itself: tuple[str, ...]
    needs: Mapping[str, str]
    never: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    schedule: str = ""
    partition_set: str = ""
    accounts: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Subject:
    """A connector in the conformance tests.

    name: the connector. settings: its own. account: whose runs are looked at, '' where there are no accounts. made: a
    site that was never synchronised. before_a_kill: what was done before the run that is killed. command: the words
    after `imagesync` of that run. moments: where it is killed. planned: a moment after its plan was stored. beside:
    what the second of two runs waits for. quiet_calls: what a run costs that finds nothing new, in calls; doctor_calls:
    what doctor costs, logins not counted; quiet_events,
    quiet_connections: at most, in Dagster's records and to our databases. whole: options of one
    that reads everything. after_plan: the assets that carry a plan out or need it. applies: the one of them that notes
    the plan as applied. wrong: settings with a value that is refused, and what is said of it. reading_writes: of our
    tables, those that reading a source brings up to date, which has another lock than the target. automation: what it
    starts by itself. undoing: a moment while an undo is carried out, None: as `planned`. undo_goes_on: whether the plan
    of an undo that died goes on; else the undo is asked for again.
    """

    name: str
    settings: type[BaseSettings]
    account: str
    made: Callable[[EmbeddedServer, Path], AbstractContextManager[Any]]
    before_a_kill: Callable[[Any], None]
    command: Callable[[Any], tuple[str, ...]]
    moments: Mapping[str, Moment]
    planned: Moment
    beside: Moment
    quiet_calls: int
    doctor_calls: int
    quiet_events: int
    quiet_connections: int
    after_plan: tuple[str, ...]
    applies: str
    wrong: Mapping[str, tuple[str, str]]
    automation: Automation
    whole: Mapping[str, Any] = field(default_factory=dict)
    reading_writes: tuple[str, ...] = ()
    writes: Mapping[str, Callable[[Any], tuple[str, FaultPlan]]] = field(default_factory=dict)
    policies: Mapping[str, Callable[[Any], None]] = field(default_factory=dict)
    undoing: Moment | None = None
    undo_goes_on: bool = True

    @property
    def owner(self) -> str:
        """Under which name its locks are kept."""
        return f"{self.name}/{self.account}" if self.account else self.name


def slow_call(
    faults: Callable[[Any], FaultPlan],
    ledger: Callable[[Any], CallLedger],
    endpoint: str,
    after: int,
    *,
    seconds: float,
    times: int | None = 1,
    waits: bool = False,
) -> Moment:
    """A call that takes long, after so many of its kind were answered; waits: its end is waited for afterwards.

    times: how many calls are slow, None: all of them from then on.
    """

    @contextmanager
    def moment(site: Any) -> Iterator[Callable[[], bool]]:
        fault = latency(seconds).at(endpoint).after(after)
        faults(site).add(fault.for_good() if times is None else fault.burst(times))
        calls = ledger(site)
        done = calls.count(endpoint)
        yield lambda: calls.under_way(endpoint) > 0 and calls.count(endpoint) >= done + after
        faults(site).clear()
        while waits and calls.under_way(endpoint):
            time.sleep(0.05)

    return moment


def locked(url: Callable[[Any], str], table: str, mode: str = "SHARE") -> Moment:
    """Somebody holds a table in which the run wants to write."""

    @contextmanager
    def moment(site: Any) -> Iterator[Callable[[], bool]]:
        with sa.create_engine(url(site), poolclass=sa.NullPool).connect() as holder:
            holder.execute(sa.text(f"LOCK TABLE {table} IN {mode} MODE"))
            yield lambda: rows_of(url(site), WAITING)[0][0] > 0

    return moment


def spelt_otherwise(url: str) -> str:
    """The same database by another address."""
    return sa.make_url(url).update_query_dict({"application_name": "again"}).render_as_string(hide_password=False)


def ours(site: Site) -> str:
    """The URL of our database."""
    return site.environment["IMAGESYNC_DATABASE_URL"]
