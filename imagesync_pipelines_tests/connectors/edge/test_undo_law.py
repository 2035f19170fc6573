"""The law of undo at a store: sync, others change something, undo; it dies on the way; the undo of the undo.

A run is taken back photo by photo, so one that dies on the way leaves a product half done: its new primary may be the
only one already, though what it takes the place of is still there.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from upath import UPath

from imagesync_pipelines.connectors.edge.applying import apply_plan
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.reading import StoreRun, make_plan, take_photos
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.connectors.edge.undoing import make_undo_plan
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.effects import effects_of_run
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.sync.undoing import UndoOptions, UndoRefusedError
from imagesync_pipelines_tests.connectors.edge.head_office import (
    FakeHeadOffice,
    api_for,
    head_office,
    row,
    store_of,
    uid,
)
from imagesync_pipelines_tests.connectors.edge.photos import picture, run_sql

PRODUCTS, PHOTOS = 2, 3
OURS = """
TRUNCATE imagesync.mirror, imagesync.cursor, imagesync.plan, imagesync.effect, imagesync.held, imagesync.removal,
    imagesync.handover CASCADE;
DELETE FROM imagesync.account_identity WHERE connector = 'edge';
DELETE FROM imagesync.target_memory WHERE target LIKE 'edge/%'
"""
STORES = "DROP TABLE IF EXISTS product_photo, imagesync_effect, imagesync_photo_kept, imagesync_store"
LOOK = "SELECT id::text, filename, sort_order, is_primary, checksum, md5(image_binary), sync_status FROM product_photo"


class Listed(NamedTuple):
    """A photo as the head office has it, beside its id: which picture, its place, whether it calls it primary."""

    picture: int
    order: int
    is_primary: bool


# Photos by product and number.
places = st.tuples(st.integers(0, PRODUCTS - 1), st.integers(0, PHOTOS - 1))
photos = st.builds(Listed, st.integers(0, 2), st.integers(0, 1), st.booleans())
listings = st.dictionaries(places, photos, max_size=PRODUCTS * PHOTOS)
others = st.lists(st.tuples(places, st.sampled_from(["gone", "other"])), max_size=2)


class DiedError(BaseException):
    """The process is gone."""


def id_of(place: tuple[int, int]) -> str:
    product, number = place
    return uid(1 + product * PHOTOS + number)


class World:
    """A store beside a head office that lists what a test says, as runs of this process."""

    def __init__(self, ours: sa.Engine, store: StoreDatabase, office: FakeHeadOffice, api: HeadOfficeApi, home: Path):
        self.ours, self.store, self.office, self.api, self.runs = ours, store, office, api, 0
        shared = Settings(_env_file=None, deletion_limit_bare=1000, deletion_limit_floor=1000)  # type: ignore[call-arg]
        self.installation = Installation(shared, Locations(home, home, UPath(home), "", "", {}), ours)

    def begin(self) -> None:
        """Nothing is known, and nothing is there."""
        with self.ours.begin() as connection:
            connection.execute(sa.text(OURS))
        run_sql(self.store, STORES)

    def run(self) -> StoreRun:
        """A run of its own; each photo is a commit of its own."""
        self.runs += 1
        chosen = EdgeSettings(_env_file=None, rows_per_commit=1, concurrency=1)
        account, run = store_of(self.office), Lineage(f"run-{self.runs}")
        context = RunContext(EDGE, account.name, run, self.installation, chosen, person="anna")
        return StoreRun(context, account, self.store, self.api, (account.name,))

    def offer(self, listing: Mapping[tuple[int, int], Listed]) -> None:
        """Let the head office have these photos."""
        self.office.photos, self.office.bodies = [], {}
        for (product, number), one in listing.items():
            body, photo = picture(one.picture), row(1 + product * PHOTOS + number)
            photo |= {"product_id": uid(1_000_000 + product), "product_sku": str(product), "size": len(body)}
            photo |= {"checksum": hashlib.md5(body).hexdigest(), "sort_order": one.order, "is_primary": one.is_primary}
            self.office.photos.append(photo)
            self.office.bodies[photo["id"]] = body

    def sync(self) -> str:
        """Bring what is listed, but what stays undone; gives the run."""
        run = self.run()
        take_photos(run, full=True, dry_run=False)
        make_plan(run, allow_mass_delete=False)
        self.apply(run, None)
        return run.context.run_id

    def apply(self, run: StoreRun, plan_id: int | None, *, dies_at: int = 0) -> None:
        """Carry a plan out. dies_at: before its nth commit, as after kill -9."""
        commits = 0

        def look() -> None:
            nonlocal commits
            commits += 1
            if dies_at and commits >= dies_at:
                raise DiedError

        with patch.object(RunContext, "check_locks", lambda _: look()):
            done = apply_plan(run, plan_id)
        assert done.summary is not None
        assert (done.summary.failed, done.summary.refused) == (0, 0), done.summary

    def plan_undo(self, undone: str) -> int | None:
        """Plan to take a run back; the plan's number, None where there is nothing to do."""
        result = make_undo_plan(self.run(), UndoOptions(run=undone))
        number = result.shown.get("plan_id")
        return None if number is None else int(str(number))

    def undo(self, undone: str, *, dies_at: int = 0, anew: bool = False) -> list[str]:
        """Take a run back, again where it died; gives the runs that did it, none where nothing was to do.

        anew: whoever asked asks again; else the run goes on, as Dagster starts it again.
        """
        number = self.plan_undo(undone)
        if number is None:
            return []
        run = self.run()
        try:
            self.apply(run, number, dies_at=dies_at)
        except DiedError:
            if anew:
                again = self.undo(undone)
                return [one for one in (run.context.run_id, *again) if self.touched_by(one)]
            self.apply(run, number)
        return [run.context.run_id]

    def photos(self) -> dict[str, tuple[Any, ...]]:
        """What the store has, by id."""
        with self.store.engine.connect() as connection:
            return {found[0]: tuple(found[1:]) for found in connection.execute(sa.text(LOOK))}

    def marks(self) -> set[str]:
        """The photos that stay undone."""
        return {one.key for one in held.entries(self.ours)}

    def touched_by(self, run: str) -> dict[str, set[str]]:
        """The photos that a run changed, by product."""
        found: dict[str, set[str]] = {}
        for effect in effects_of_run(self.ours, run):
            keys = {key for one in effect.rows if one.change in EFFECTS for key in (one.key, one.key_before or one.key)}
            found.setdefault(effect.group, set()).update(keys)
        return {group: keys for group, keys in found.items() if keys}

    def by_hand(self, photo_id: str, what: str) -> None:
        """Somebody else changes a row of the store, or takes it away."""
        change = "DELETE FROM product_photo" if what == "gone" else "UPDATE product_photo SET filename = 'by-hand.jpg'"
        run_sql(self.store, f"{change} WHERE id = CAST(:id AS uuid)", id=photo_id)


@pytest.fixture
def world(database: sa.Engine, store: StoreDatabase, tmp_path: Path) -> Iterator[World]:
    with head_office() as office, api_for(office) as api:
        yield World(database, store, office, api, tmp_path)


A, S = (0, 0), (0, 1)
FIRST, SECOND = Listed(0, 0, is_primary=True), Listed(1, 0, is_primary=True)
# A second photo is the primary in the place of the first, which stays: that gives way where the other is written.
ONE, BOTH, CHANGED = {A: FIRST}, {A: FIRST, S: SECOND}, {A: FIRST._replace(picture=2), S: SECOND}


class Case(NamedTuple):
    """What is listed first and second, what others change after that, and how the undo goes.

    dies_at: it dies before this commit, 0: not at all. anew: it is asked for again then; else its run goes on. rests: a
    synchronisation comes between it and its own undo.
    """

    first: Mapping[tuple[int, int], Listed]
    second: Mapping[tuple[int, int], Listed]
    changes: Sequence[tuple[tuple[int, int], str]] = ()
    dies_at: int = 0
    anew: bool = False
    rests: bool = False


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(ONE, CHANGED, dies_at=2, rests=True), id="all of this"),
        pytest.param(Case(ONE, BOTH, dies_at=2), id="it dies with one primary again", marks=pytest.mark.slow),
        pytest.param(Case(ONE, BOTH, rests=True), id="the other is still wanted", marks=pytest.mark.slow),
    ],
)
def test_the_law_of_a_second_primary(world: World, case: Case) -> None:
    """A dead undo goes on although the other gave way; what is undone of both stays so while the other is away."""
    obeys(world, case)


@pytest.mark.slow
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
)
@given(case=st.builds(Case, listings, listings, others, st.integers(0, 4), st.booleans(), st.booleans()))
def test_the_law(world: World, case: Case) -> None:
    obeys(world, case)


def obeys(world: World, case: Case) -> None:
    """Sync, others, undo: as before but for what others changed; the undo of the undo: as after the sync."""
    first, second, changes, dies_at, anew, rests = case
    world.begin()
    world.offer(first)
    world.sync()
    before = world.photos()
    world.offer(second)
    run = world.sync()
    after, of_run = world.photos(), world.touched_by(run)
    groups = {id_of(place): uid(1_000_000 + place[0]) for place in {**first, **second}}
    touched = {id_of(place) for place, _ in changes} & after.keys()
    for place, what in changes:
        if id_of(place) in touched:
            world.by_hand(id_of(place), what)
    between = world.photos()
    if not of_run:
        with pytest.raises(UndoRefusedError, match="Nothing is known of what run"):
            world.plan_undo(run)
        return
    refused = {group for group, keys in of_run.items() if keys & touched}
    theirs = {key for key, group in groups.items() if group in refused or key in touched}

    def expected(of: Mapping[str, Any]) -> dict[str, Any]:
        ours = {key: photo for key, photo in of.items() if key not in theirs}
        return ours | {key: photo for key, photo in between.items() if key in theirs}

    done = world.undo(run, dies_at=dies_at, anew=anew)
    assert world.photos() == expected(before)
    if rests and not touched:
        world.sync()
        assert world.photos() == expected(before), "no synchronisation does it again"
    for undo in reversed(done):
        world.undo(undo, dies_at=dies_at, anew=anew)
    assert world.photos() == expected(after)
    assert world.marks() == set()
    if not touched:
        world.sync()
        assert world.photos() == after
