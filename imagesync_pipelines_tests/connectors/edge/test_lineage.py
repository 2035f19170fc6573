"""Whose listing and whose plan a run of a store goes on with: the run's that it re-executes, never a stranger's."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.applying import apply_plan
from imagesync_pipelines.connectors.edge.reading import make_plan, take_photos
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import NoPlanOfThisRunError
from imagesync_pipelines.sync.excluding import Channel, exclude
from imagesync_pipelines.sync.steps import StepResult, Summary
from imagesync_pipelines_tests.edge_installations import STORE, EdgeWorld, another, edge_world, head_office

PHOTOS = 40


@pytest.fixture
def world(server: EmbeddedServer, tmp_path: Path) -> Iterator[EdgeWorld]:
    """A store that has everything that its head office has."""
    with (
        head_office(server, tmp_path / "ho", photos=PHOTOS) as office,
        edge_world(server, tmp_path / "world", office) as made,
    ):
        made.run(full=True)
        yield made


def vanish(world: EdgeWorld, share: float) -> list[str]:
    """Photos vanish at the head office without a word, as the original one does it."""
    gone = sorted(world.photos())[: int(len(world.photos()) * share)]
    with world.office.office.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM head_office.photo WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": gone})
    return gone


def plan(
    world: EdgeWorld, *, full: bool = True, dry_run: bool = False, allow_mass_delete: bool = False
) -> tuple[str, int]:
    """A run up to its plan: its id, and the number of the plan."""
    with world.at_store() as run:
        take_photos(run, full=full, dry_run=dry_run)
        made = make_plan(run, allow_mass_delete=allow_mass_delete, dry_run=dry_run)
        return run.context.run_id, number_of(made)


def apply(world: EdgeWorld, ancestors: Sequence[str] = (), plan_id: int | None = None) -> tuple[Sequence[str], Summary]:
    """A run that begins with applying: its lines, and its summary."""
    with world.at_store() as run:
        done = apply_plan(another(run, ancestors), plan_id)
    assert done.summary is not None
    return done.lines, done.summary


def number_of(made: StepResult) -> int:
    """The number of the plan that a step made."""
    number = made.shown["plan_id"]
    assert isinstance(number, int)
    return number


def test_the_photos_alone_are_refused_and_a_dry_run_is_carried_out_by_its_number_only(world: EdgeWorld) -> None:
    before = world.photos()
    vanish(world, 0.5)
    dry, number = plan(world, dry_run=True, allow_mass_delete=True)
    with pytest.raises(NoPlanOfThisRunError, match=f"edge/{STORE} is plan {number}"):
        apply(world)
    with pytest.raises(NoPlanOfThisRunError, match=f"made for a dry run.*`imagesync apply {number}`"):
        apply(world, [dry])
    assert world.photos() == before
    assert apply(world, plan_id=number)[1].images_deleted == len(before) // 2


def test_a_whole_listing_keeps_its_proof_when_a_listing_of_changes_comes_in_between(world: EdgeWorld) -> None:
    (gone,) = vanish(world, 1 / PHOTOS)
    with world.at_store() as daily:
        take_photos(daily, full=True, dry_run=False)
        world.office.mutate("add")
        assert take_photos(another(daily), full=False, dry_run=False).new == 1
        made = make_plan(daily, allow_mass_delete=False)
        again = make_plan(another(daily, [daily.context.run_id]), allow_mass_delete=False)
        plans = [daily.context.plans.load(number_of(one)) for one in (made, again)]
    for rows in plans:
        assert list(rows.loc[rows["change"] == "remove", "key"]) == [gone]


def test_a_run_that_goes_on_with_one_that_had_nothing_to_do_has_nothing_to_do(world: EdgeWorld) -> None:
    with world.at_store() as run:
        assert take_photos(run, full=False, dry_run=False).quiet
    vanish(world, 0.5)
    plan(world, dry_run=True, allow_mass_delete=True)
    lines, done = apply(world, [run.context.run_id])
    assert (lines, done.api_calls, done.images_deleted) == ([f"{STORE}: nothing was to be done."], 0, 0)


def test_a_new_photo_of_an_excluded_product_is_not_announced_in_the_store(world: EdgeWorld) -> None:
    before = world.photos()
    world.office.mutate("add")
    (new,) = world.listed().keys() - before.keys()
    with world.office.office.engine.connect() as connection:
        of_photo = "SELECT p.sku FROM head_office.product p JOIN head_office.photo o ON o.product_id = p.id"
        sku = connection.scalar(sa.text(f"{of_photo} WHERE o.id = CAST(:id AS uuid)"), {"id": new})
    with world.at_store() as run:
        channel = Channel("edge", STORE, lambda connection, account, skus: [(sku, sku) for sku in skus])
        assert exclude(run.engine, channel, [sku], "anna") == [sku]
        assert take_photos(run, full=False, dry_run=False).new == 1
    assert world.photos() == before


def test_a_plan_by_itself_is_made_from_the_mirror(world: EdgeWorld) -> None:
    with world.at_store() as run:
        made = make_plan(run, allow_mass_delete=False)
    assert number_of(made) > 0
    assert made.numbers["plan/keep"] == len(world.photos())
