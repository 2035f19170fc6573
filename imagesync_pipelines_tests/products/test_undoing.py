"""The law of undo in a real database: sync, others change something, undo; kill -9 on the way; the undo of the undo."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from upath import UPath

from imagesync_pipelines.products import applying
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.products.showing import pictures_of_rows
from imagesync_pipelines.products.undoing import undo, undo_choice
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.effects import TAKEN_AWAY, Author, effects_of_run
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.liveness import alive
from imagesync_pipelines.storage.plans import Lineage, Plans
from imagesync_pipelines.storage.schema import product as table
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.carry_out import load_plan
from imagesync_pipelines.sync.choosing import our_products
from imagesync_pipelines.sync.excluding import Channel, exclude, include
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.planned import limits_of
from imagesync_pipelines.sync.steps import RunContext, StepResult
from imagesync_pipelines.sync.undoing import TakeAwayOptions, UndoOptions, UndoRefusedError
from imagesync_pipelines_tests.products.rows import WHOLE, Picture, Wanted, add_products, images, plan, primaries
from imagesync_pipelines_tests.products.test_applying_histories import PRODUCTS, chosen, places, wholes

pytestmark = pytest.mark.slow

NONE = "TRUNCATE imagesync.product_image, imagesync.pin, imagesync.product, imagesync.effect, imagesync.held CASCADE"
# Of a row, all but when it was written and which one it is.
COLUMNS = (
    "fingerprint", "image_url", "thumbnail_url", "image_type", "is_front", "priority", "alt_text", "metadata",
    "original_url", "newest_export", "matched_by", "chosen_because", "width", "height", "image_format",
)  # fmt: skip
others = st.lists(st.tuples(places, st.sampled_from(["gone", "other"])), max_size=2)


class World:
    """An installation whose images come from `image_db`, as runs of this process."""

    def __init__(self, database: sa.Engine, home: Path) -> None:
        self.database, self.runs = database, 0
        shared = Settings(_env_file=None, deletion_limit_bare=1000, deletion_limit_floor=1000)  # type: ignore[call-arg]
        self.installation = Installation(shared, Locations(home, home, UPath(home), "", "", {}), database)

    def context(self) -> RunContext[Settings]:
        """A run of its own."""
        self.runs += 1
        run = Lineage(f"run-{self.runs}")
        place = self.installation
        return RunContext("image_db", "", run, place, place.settings, person="anna", groups_by_sku=our_products)

    def sync(self, wanted: Wanted) -> str:
        """Bring what is wanted, but what stays undone; gives the run."""
        context = self.context()
        planned = plan(self.database, wanted)
        guarded = guard(planned.rows, WHOLE, limits_of(context, lifted=False))
        held.settle(context, guarded.plan, guarded.held, guarded.owned, 0)
        with self.database.begin() as connection:
            number = connection.scalar(sa.text("SELECT nextval(pg_get_serial_sequence('imagesync.plan', 'id'))"))
        by = Author(context.run_id, plan_id=number)
        done = type(planned)(guarded.plan, planned.states, wanted).apply(self.database, by=by)
        assert done.errors == ()
        return context.run_id

    def wants(self, wanted: Wanted) -> set[str]:
        """The products in which a synchronisation would change something."""
        rows = guard(plan(self.database, wanted).rows, WHOLE, limits_of(self.context(), lifted=False)).plan
        return set(rows.loc[rows["change"].isin(EFFECTS), "group"])

    def plan_undo(self, run: str, *skus: str) -> tuple[StepResult, int | None]:
        """Plan to take back a run; its number, None where there is nothing to do."""
        result = undo(self.context(), UndoOptions(run=run, skus=list(skus)))
        number = result.shown.get("plan_id")
        return result, None if number is None else int(str(number))

    def plan_taking_away(self, *skus: str) -> StepResult:
        """Plan to take away all that is there of excluded products."""
        return undo(self.context(), TakeAwayOptions(skus=list(skus)))

    def apply(self, plan_id: int, *, dies_at: int = 0) -> str:
        """Carry a plan out, in batches of one product; gives the run. dies_at: at its nth batch."""
        context, batches = self.context(), 0

        def die() -> None:
            nonlocal batches
            batches += 1
            if batches == dies_at:
                raise KeyboardInterrupt

        none: Callable[[Any], Any] = lambda _: nullcontext()  # noqa: E731 - an undo asks for no payload of its maker
        with (
            patch.object(applying, "ROWS_PER_BATCH", 1),
            patch.object(applying, "WRITERS", 1),
            patch.object(RunContext, "check_locks", lambda _: die()),
        ):
            applying.apply_images(context, load_plan(context, plan_id), lambda _: (), none)
        return context.run_id

    def undo(self, run: str, *, dies_at: int = 0) -> str:
        """Take a run back, again when it died on the way; gives the run that did it, '' where nothing was to do."""
        _, number = self.plan_undo(run)
        if number is None:
            return ""
        if dies_at:
            try:
                return self.apply(number, dies_at=dies_at)
            except KeyboardInterrupt:
                self.runs -= 1  # the same run, as Dagster starts it again
        return self.apply(number)

    def rows(self) -> Mapping[tuple[int, str], tuple[Any, ...]]:
        """What products show, without the order of writing."""
        return images(self.database, *COLUMNS)


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    return World(database, tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=7, deadline=None)
@given(first=wholes, second=wholes, pinned=places, changes=others, dies_at=st.integers(0, 3))
def test_the_law(
    world: World, first: Any, second: Any, pinned: Any, changes: list[tuple[Any, str]], dies_at: int
) -> None:
    database = world.database
    with database.begin() as connection:
        connection.execute(sa.text(NONE))
    products = add_products(database, PRODUCTS)
    wanted = [{(products[at], key): row for (at, key), row in some.items()} for some in (first, second)]
    world.sync(wanted[0])
    pin = (products[pinned[0]], pinned[1])
    if pin in wanted[0]:
        pin_image(database, pin[0], "image_db", pin[1], "anna")
    before, shown = world.rows(), primaries(database)
    run = world.sync(wanted[1])
    after = world.rows()
    of_run = {
        (int(effect.group), key.partition("/")[2])
        for effect in effects_of_run(database, run)
        for row in effect.rows
        if row.change in EFFECTS
        for key in (row.key, row.key_before or row.key)
    }
    touched = set()
    for (at, key), what in changes:
        place = (products[at], key)
        if place in after:
            touched.add(place)
            by_hand(database, place, what)
    between = world.rows()
    if not of_run:
        with pytest.raises(UndoRefusedError, match="Nothing is known of what run"):
            world.plan_undo(run)
        return
    done = world.undo(run, dies_at=dies_at)
    refused = {product for product, key in touched if (product, key) in of_run}

    def expected(of: Mapping[tuple[int, str], Any]) -> dict[tuple[int, str], Any]:
        ours = {at: row for at, row in of.items() if at[0] not in refused and at not in touched}
        return ours | {at: row for at, row in between.items() if at[0] in refused or at in touched}

    assert world.rows() == expected(before)
    if not touched:
        assert primaries(database) == shown
    elif done:
        assert primaries(database) == chosen(database, current_pins(database), {})[0]
    # No synchronisation does it again, but for what others did.
    assert world.wants(wanted[1]) <= {str(product) for product, _ in touched}
    if done:
        world.undo(done, dies_at=dies_at)
    assert world.rows() == expected(after)
    assert held.entries(database) == []


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
)
@given(
    syncs=st.lists(wholes, min_size=2, max_size=3),
    then=st.lists(st.one_of(wholes, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=6),
)
def test_whatever_is_undone_in_whatever_order_no_synchronisation_does_it_again(
    world: World, syncs: list[Any], then: list[Any]
) -> None:
    """All runs are taken back from the last, and these undos from the last give the runs again; then as it comes."""
    database = world.database
    with database.begin() as connection:
        connection.execute(sa.text(NONE))
    products = add_products(database, PRODUCTS)
    wanted: dict[tuple[int, str], Picture] = {}

    def sync(whole: Any) -> str:
        nonlocal wanted
        wanted = {(products[at], key): row for (at, key), row in whole.items()}
        return world.sync(wanted)

    def undone(run: str) -> list[str]:
        try:
            done = world.undo(run)
        except UndoRefusedError:
            done = ""
        assert world.wants(wanted) == set()
        return [done] if done else []

    runs, shown, undos = list[str](), [world.rows()], list[list[str]]()
    for whole in syncs:
        runs.append(sync(whole))
        shown.append(world.rows())
    for run, before in zip(reversed(runs), shown[-2::-1], strict=True):
        undos.append(undone(run))
        assert world.rows() == before
    for done, after in zip(reversed(undos), shown[1:], strict=True):
        for run in done:
            undone(run)
        assert world.rows() == after
    assert held.entries(database) == []
    known = [*runs, *(run for done in undos for run in done)]
    for what in then:
        known += undone(known[what % len(known)]) if isinstance(what, int) else [sync(what)]


def test_what_an_undo_brings_back_stays_though_its_source_has_dropped_it_since(world: World) -> None:
    """While it was away, no plan had a row of it."""
    (product,) = add_products(world.database, 1)
    at, other = (product, "1"), {(product, "2"): Picture()}
    first, second = ({at: Picture(version=version)} for version in "12")
    world.sync({**first, **other})
    gone = world.sync(other)
    away = world.undo(world.sync({**second, **other}))
    nothing = "nothing until its source has it again"
    for wanted, said in ((other, nothing), ({**second, **other}, "add"), (other, nothing)):
        world.sync(wanted)
        assert at not in world.rows()
        (mark,) = held.entries(world.database)
        assert (mark.key, held.would(mark.kind, mark.change)) == (f"{product}/1", said)
    for again, there in ((away, second), (gone, first)):
        undo = world.undo(again)
        assert world.wants(other) == set()
        world.sync(other)
        assert world.rows()[at][0] == there[at].fingerprint()
        if again == away:
            world.undo(undo)
            world.sync(other)
    assert world.wants({**second, **other}) == {str(product)}
    world.sync({**first, **other})
    assert held.entries(world.database) == []


def by_hand(database: sa.Engine, place: tuple[int, str], what: str) -> None:
    """Somebody else changes a row, or takes it away."""
    mine = "WHERE product_id = :product AND external_id = :image"
    statement = f"DELETE FROM imagesync.product_image {mine}"
    if what != "gone":
        statement = f"UPDATE imagesync.product_image SET fingerprint = 'others', alt_text = 'others' {mine}"
    with database.begin() as connection:
        connection.execute(sa.text(statement), {"product": place[0], "image": place[1]})


def current_pins(database: sa.Engine) -> dict[int, str]:
    """The pinned image of each product that has a pin."""
    with database.connect() as connection:
        rows = connection.execute(sa.text("SELECT product_id, external_id FROM imagesync.pin")).all()
    return {row[0]: row[1] for row in rows}


def test_a_run_that_has_not_ended_is_not_taken_back(world: World, database_url: str) -> None:
    (product,) = add_products(world.database, 1)
    run = world.sync({(product, "1"): Picture()})
    with alive(database_url, run), pytest.raises(UndoRefusedError, match=f"Run {run} has not ended"):
        world.plan_undo(run)
    assert world.plan_undo(run)[1] is not None


def test_a_picture_whose_address_ended_comes_back_and_that_is_told(world: World) -> None:
    (product,) = add_products(world.database, 1)
    over = {"image_url": "https://media.example.com/1.jpg?Expires=1700000000&Signature=x"}
    both = {(product, "1"): Picture(more=over), (product, "2"): Picture()}
    world.sync(both)
    result, number = world.plan_undo(world.sync({}))
    assert number is not None
    assert [one for one in result.warnings if "address" in one] == [
        f"1 images come back with an address that expired, such as {product}/1: only their source can give a new one."
    ]


def test_others_are_refused_by_name_and_chosen_products_alone_are_given_back(world: World) -> None:
    first, second, third = add_products(world.database, 3)
    places = [(one, key) for one in (first, second, third) for key in "12"]
    world.sync(dict.fromkeys(places, Picture()))
    run = world.sync(dict.fromkeys(places, Picture(version="2")))
    other = world.sync({**dict.fromkeys(places, Picture(version="2")), (second, "1"): Picture(version="3")})
    by_hand(world.database, (first, "1"), "other")
    result, number = world.plan_undo(run)
    assert number is not None
    (told,) = [one for one in result.warnings if "left as they are" in one]
    assert told.startswith("2 products are left as they are: 0: ")
    who = [str(text).partition(" was changed since by ")[2] for text in result.shown["refused"].items]  # type: ignore[union-attr]
    assert who == ["somebody else", f"run {other}"]
    stored = Plans(world.database, world.installation.storage)
    header, rows = stored.header(number), stored.load(number)
    assert header.scope["only_named"] == f"the undo of run {run[:8]}"
    changing = rows[rows["change"].isin(EFFECTS)]
    assert set(changing["reason"]) == {f"undo of run {run[:8]}"}
    assert set(changing["product"]) == {"2 "}
    shown = pictures_of_rows(
        world.database, world.installation.storage, header, changing.to_dict(orient="records"), lambda *_: {}
    )
    assert all(one.before and one.after for one in shown)
    with pytest.raises(UndoRefusedError, match="No product has the SKU 4711"):
        world.plan_undo(run, "4711")
    assert world.plan_undo(run, "0")[1] is None
    world.apply(number)
    again, nothing = world.plan_undo(run)
    assert (nothing, again.shown["taken_back_before"]) == (None, 1)
    assert any("left as they are" in one and one.startswith("2 products") for one in again.warnings)
    assert world.rows()[third, "1"][0] == Picture().fingerprint()


def test_what_is_there_of_an_excluded_product_goes_but_for_what_a_person_keeps_and_his_choice_waits(
    world: World,
) -> None:
    database, channel = world.database, Channel("image_db", "", our_products)
    first, second = add_products(database, 2)
    wanted = {(one, key): Picture() for one in (first, second) for key in "123"}
    world.sync(wanted)
    pin_image(database, first, "image_db", "2", "anna")
    before, shown = world.rows(), primaries(database)
    kept = f"{first}/3"
    with pytest.raises(UndoRefusedError, match="0 is not excluded from image_db; only"):
        world.plan_taking_away("0")
    exclude(database, channel, ["0"], "anna")
    held.hold(database, "image_db", "", held.GUARD, [held.HeldRow(kept, str(first), "f", held.LIMIT, "many", "remove")])
    held.decide(database, [one.id for one in held.entries(database)], held.KEEP, "anna")
    number, late = (int(str(world.plan_taking_away("0").shown["plan_id"])) for _ in range(2))
    header = Plans(database, world.installation.storage).header(number)
    assert header.scope["only_named"] == "taking away what is there of excluded products"
    run = world.apply(number)
    left = {place: row for place, row in before.items() if place[0] == second or place == (first, "3")}
    assert world.rows() == left
    assert current_pins(database) == {first: "2"}
    assert primaries(database) - shown == {(first, "3")}
    assert {row.reason for one in effects_of_run(database, run) for row in one.rows if row.change in EFFECTS} == {
        TAKEN_AWAY
    }
    back = world.undo(run)
    assert (world.rows(), primaries(database)) == (before, shown)
    world.undo(world.undo(world.undo(back)))
    assert world.rows() == left
    assert [(one.key, one.decision) for one in held.entries(database)] == [(kept, held.KEEP)], "it needs no marks"
    assert world.wants(wanted) == set()
    include(database, channel, ["0"], "anna")
    assert world.wants(wanted) == {str(first)}
    world.sync(wanted)
    assert (world.rows(), primaries(database)) == (before, shown)
    world.apply(late)
    assert world.rows() == before, "it is excluded no more"


def test_a_choice_of_primary_is_taken_back_and_again(world: World) -> None:
    (product,) = add_products(world.database, 1)
    world.sync({(product, "1"): Picture(), (product, "2"): Picture()})
    with pytest.raises(UndoRefusedError, match="No choice of a picture or an order is known"):
        undo_choice(world.database, "0", "bert")
    pin_image(world.database, product, "image_db", "2", "anna")
    assert undo_choice(world.database, "0", "bert") == "0: the rules choose the primary picture again"
    assert primaries(world.database) == {(product, "1")}
    with world.database.begin() as connection:  # others with the SKU: one has left, one is no variant
        left = {"kind": "variant", "erp_id": "left", "sku": "0", "left_erp_at": sa.func.now()}
        connection.execute(
            table.insert().values([{"kind": "parent", "erp_id": "p", "sku": "0", "left_erp_at": None}, left])
        )
        connection.execute(table.update().where(table.c.id == product).values(name="written anew, so read last"))
    assert undo_choice(world.database, "0", "bert") == "0: 2 is the primary picture again"
    assert primaries(world.database) == {(product, "2")}
