"""МойСклад for the benchmarks: the stand-in on a clock that is moved instead of slept through."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.handle import NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.making import MAIN, catalogue, noisy
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox

# A day on which a call with a user's token weighs 3 units.
NOON = datetime(2026, 10, 5, 9, tzinfo=UTC)
# Where calls are counted and not bytes, pictures are small.
SIDE = 48
# Everybody sleeps when so long no call was made, and this process worked no longer than that; seconds.
QUIET, WORK = 0.05, 0.02
# The clock counts microseconds, those who sleep count finer: it is moved slightly past them.
TICK = 1e-5


@dataclass(frozen=True)
class World:
    """A МойСклад whose child accounts have the entities of the main one, and none of its images."""

    box: MoyskladSandbox
    children: tuple[str, ...]
    _waking: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sleep(self, seconds: float) -> None:
        """Let time pass, almost without waiting: when nobody works any more, the first that sleeps is woken."""
        until = self.now() + seconds
        with self._lock:
            self._waking.append(until)
        while self.now() < until:
            if not self._is_busy():
                with self._lock:
                    self.box.clock.move(max(0.0, min(self._waking) - self.now()) + TICK)
        with self._lock:
            self._waking.remove(until)

    def _is_busy(self) -> bool:
        """Wait a moment, and tell whether meanwhile somebody made a call or worked."""
        calls, worked = self.box.calls(), time.process_time()
        time.sleep(QUIET)
        return self.box.calls() != calls or time.process_time() - worked > WORK

    def now(self) -> float:
        """The sandbox's time of day, in seconds."""
        return self.box.clock.now().timestamp()


@contextmanager
def world(
    products: int,
    images: int,
    *,
    size: int = 0,
    children: int = 1,
    kind: PrincipalKind = PrincipalKind.SOLUTION,
    permanent_links: bool = False,
) -> Iterator[World]:
    """So many products with so many images each, of about `size` bytes or small, to be shown in so many children."""
    accounts = catalogue(
        products=products,
        images=images,
        variants=0,
        bundles=0,
        children=children,
        side=SIDE,
        kind=kind,
        permanent_links=permanent_links,
    )
    if size:
        accounts = (_heavy(accounts[0], size), *accounts[1:])
    names = tuple(account.name for account in accounts if account.name != MAIN)
    with moysklad_sandbox(accounts=accounts, clock=SandboxClock(NOON)) as box:
        yield World(box, names)


@contextmanager
def counted(made: World, name: str, runs: list[dict[str, Any]]) -> Iterator[None]:
    """Add what МойСклад saw of the run inside the `with` block to the list: calls by account and door, minutes."""
    box = made.box
    for ledger in (box.ledger, box.storage_ledger, box.cdn_ledger):
        ledger.clear()
    started, clock_started = time.perf_counter(), made.now()
    yield
    runs.append(
        {
            "name": name,
            "calls": box.calls(),
            "main": dict(box.calls_by_door(MAIN)),
            "children": {child: dict(box.calls_by_door(child)) for child in made.children},
            "refused": box.ledger.count(status=429),
            "bans": len(box.counters.all()),
            "files": box.storage_ledger.count() + box.cdn_ledger.count(),
            "minutes": (made.now() - clock_started) / 60,
            "seconds": time.perf_counter() - started,
        }
    )


def same_images(made: World) -> int:
    """How many entities of all children show what the same entity of main shows, in order."""
    wanted = {one.external_code: _files(one) for one in made.box.account(MAIN).entities()}
    shown = (one for child in made.children for one in made.box.account(child).entities())
    return sum(_files(one) == wanted[one.external_code] for one in shown)


def _heavy(account: NewAccount, size: int) -> NewAccount:
    """The account with pictures of the same names, and of so many bytes or slightly more."""
    entities = tuple(
        replace(
            entity,
            images=tuple(
                (name, noisy(f"{entity.external_code}/{nth}", size)) for nth, (name, _) in enumerate(entity.images)
            ),
        )
        for entity in account.entities
    )
    return replace(account, entities=entities)


def _files(entity: Any) -> list[tuple[str, str]]:
    return [(image.filename, image.digest) for image in entity.images]
