"""The runs that a run re-executes, as Dagster's tags tell them."""

from dataclasses import dataclass

import dagster as dg
import pytest

from imagesync_pipelines.defs.work import ancestors_of


@dg.job
def nothing() -> None:
    """A job whose runs are only recorded here."""


@dataclass(frozen=True)
class Step:
    """What a step knows of its run."""

    run: dg.DagsterRun
    instance: dg.DagsterInstance


def run_of(instance: dg.DagsterInstance, parent: str | None = None, root: str | None = None) -> str:
    """Record a run with the tags of a re-execution; its id."""
    tags = {"dagster/parent_run_id": parent, "dagster/root_run_id": root}
    made = instance.create_run_for_job(nothing, tags={name: run for name, run in tags.items() if run is not None})
    return made.run_id


def ancestors(instance: dg.DagsterInstance, run_id: str) -> tuple[str, ...]:
    """What a step of the run is told."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return ancestors_of(Step(run, instance))  # type: ignore[arg-type]


def test_a_run_of_its_own_has_no_ancestors() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert ancestors(instance, run_of(instance)) == ()


def test_a_run_that_was_re_executed_again_and_again_has_all_of_them_the_nearest_first() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        root = run_of(instance)
        second = run_of(instance, root, root)
        third = run_of(instance, second, root)
        assert ancestors(instance, second) == (root,)
        assert ancestors(instance, run_of(instance, third, root)) == (third, second, root)


def test_a_re_execution_by_the_python_api_is_known_by_its_record() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        root = run_of(instance)
        again = instance.create_run_for_job(nothing, parent_run_id=root, root_run_id=root)
        assert again.tags.get("dagster/parent_run_id") is None
        assert ancestors(instance, again.run_id) == (root,)


def test_the_root_is_known_when_a_run_in_between_was_deleted() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        root = run_of(instance)
        second = run_of(instance, root, root)
        third = run_of(instance, second, root)
        instance.delete_run(second)
        assert ancestors(instance, third) == (second, root)


@pytest.mark.parametrize("length", [1, 2])
def test_tags_that_lead_in_a_circle_end(length: int) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        first = run_of(instance)
        last = first if length == 1 else run_of(instance, first)
        instance.add_run_tags(first, {"dagster/parent_run_id": last})
        assert set(ancestors(instance, first)) <= {first, last}
