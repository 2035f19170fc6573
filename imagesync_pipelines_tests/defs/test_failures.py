"""The real reason of a failed run is found, however Dagster wrapped it."""

from collections.abc import Callable

import dagster as dg
import pytest

from imagesync_pipelines.defs.history import FAILURE_EVENTS, RunFailure, run_failure


def failure_of(instance: dg.DagsterInstance, run_id: str) -> RunFailure | None:
    records = instance.get_records_for_run(run_id, of_type=set(FAILURE_EVENTS)).records
    events = [record.event_log_entry.dagster_event for record in records]
    return run_failure([event for event in events if event is not None])


def plain() -> None:
    raise KeyError("sku")


def silent() -> None:
    raise RuntimeError


def failure_with_cause() -> None:
    try:
        raise OSError("disk full")
    except OSError as error:
        raise dg.Failure("The plan could not be stored.") from error


def failure_alone() -> None:
    raise dg.Failure("The plan could not be stored.")


@pytest.mark.parametrize("retries", [0, 1], ids=["no retries", "after a retry"])
@pytest.mark.parametrize(
    ("work", "error_class", "message"),
    [
        pytest.param(plain, "KeyError", "KeyError: 'sku'", id="an exception"),
        pytest.param(silent, "RuntimeError", "RuntimeError", id="an exception without text"),
        pytest.param(failure_with_cause, "OSError", "The plan could not be stored.", id="a Failure with its cause"),
        pytest.param(failure_alone, "Failure", "The plan could not be stored.", id="a Failure alone"),
    ],
)
def test_the_error_of_a_step_is_the_one_that_started_it(
    instance: dg.DagsterInstance, work: Callable[[], None], error_class: str, message: str, retries: int
) -> None:
    @dg.asset(key=["image_db", "plan"], retry_policy=dg.RetryPolicy(max_retries=retries) if retries else None)
    def plan() -> dg.MaterializeResult:
        work()
        return dg.MaterializeResult()

    result = dg.materialize([plan], instance=instance, raise_on_error=False)
    assert failure_of(instance, result.run_id) == RunFailure(("image_db/plan",), error_class, message)


def test_a_resource_that_does_not_start_is_told_though_no_step_failed(instance: dg.DagsterInstance) -> None:
    @dg.resource
    def broken() -> None:
        raise ValueError("IMAGE_API_URL is missing")

    @dg.op(required_resource_keys={"broken"})
    def work() -> None:
        """Never reached."""

    @dg.job(resource_defs={"broken": broken}, executor_def=dg.in_process_executor)
    def image_db__sync() -> None:
        work()

    result = image_db__sync.execute_in_process(instance=instance, raise_on_error=False)
    failure = failure_of(instance, result.run_id)
    assert failure is not None
    assert (failure.error_class, failure.message) == ("ValueError", "IMAGE_API_URL is missing")


def test_a_run_that_did_not_fail_has_no_failure() -> None:
    assert run_failure([]) is None
