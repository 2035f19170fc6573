"""A stage records its summary whether it succeeds or fails, and its error is for people and without secrets."""

import json
from collections.abc import Callable

import dagster as dg
import pytest
from pydantic import SecretStr

from imagesync_pipelines.defs.metadata import SUMMARY_KEY, error_text, summary_metadata
from imagesync_pipelines.defs.work import Stage, is_permanent, stage
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.upstream.errors import CredentialsError, UnavailableError
from imagesync_pipelines_tests.defs.fakes import a_summary

CANARY = "canary-7f3a"
SECRETS = (SecretStr(CANARY),)


def run(
    instance: dg.DagsterInstance, work: Callable[[Stage], None], retries: int = 0
) -> tuple[dg.ExecuteInProcessResult, list[dict[str, object]]]:
    """Run one asset around `work`; the result, and the summaries that were observed."""

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=retries) if retries else None)
    def product_images(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with stage(context, context.asset_key, SECRETS) as current:
            work(current)
        return dg.MaterializeResult()

    result = dg.materialize([product_images], instance=instance, raise_on_error=False)
    observed = instance.fetch_observations(dg.AssetKey("product_images"), limit=10).records
    return result, [record.asset_observation.metadata[SUMMARY_KEY].value for record in observed]  # type: ignore[misc, union-attr]


def stored_text(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.to_json() for entry in instance.all_logs(run_id))


def test_a_summary_becomes_json_status_numbers_and_escaped_warnings() -> None:
    values = summary_metadata(a_summary(warnings=("deletion_limits: **12** removals held back",)))
    assert values[SUMMARY_KEY].value["images_added"] == 3  # type: ignore[index, call-overload]
    assert values["status"].value == "completed"
    assert values["images/added"].value == 3
    assert "\\*\\*12\\*\\*" in str(values["warnings"].value)
    assert "error_message" not in values


def test_a_stage_that_succeeds_observes_nothing(instance: dg.DagsterInstance) -> None:
    result, observed = run(instance, lambda current: None)
    assert result.success
    assert observed == []


def test_a_stage_that_fails_leaves_its_numbers_and_its_error(instance: dg.DagsterInstance) -> None:
    def work(current: Stage) -> None:
        current.summary = a_summary(images_added=5)
        raise ValueError("row 7 has no key")

    result, observed = run(instance, work)
    assert not result.success
    assert len(observed) == 1
    assert observed[0]["status"] == "failed"
    assert observed[0]["images_added"] == 5
    assert observed[0]["error_message"] == "ValueError: row 7 has no key"
    assert str(observed[0]["started_at"]) <= str(observed[0]["completed_at"])


def test_a_stage_that_fails_before_it_counted_reports_zeros(instance: dg.DagsterInstance) -> None:
    def work(current: Stage) -> None:
        raise UnavailableError("no answer", host="api.example", path="/images")

    _, observed = run(instance, work)
    assert [observed[0][name] for name in ("images_added", "images_deleted", "products_affected")] == [0, 0, 0]
    assert observed[0]["error_message"] == "api.example/images: no answer"


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        pytest.param(CredentialsError("refused", host="api.example"), 1, id="refused credentials"),
        pytest.param(SettingsError("IMAGE_API_URL: missing"), 1, id="wrong setting"),
        pytest.param(dg.Failure("bad", allow_retries=False), 1, id="a Failure that says so"),
        pytest.param(dg.DagsterExecutionInterruptedError(), 1, id="stopped by somebody"),
        pytest.param(UnavailableError("no answer", host="api.example"), 2, id="no answer"),
        pytest.param(RuntimeError("broke"), 2, id="a step that broke"),
    ],
)
def test_only_what_may_help_is_tried_again(instance: dg.DagsterInstance, error: BaseException, attempts: int) -> None:
    def work(current: Stage) -> None:
        raise error

    _, observed = run(instance, work, retries=1)
    assert len(observed) == attempts


@pytest.mark.parametrize(
    "text", [CANARY, f"https://host/?token={CANARY}", f"postgresql://user:{CANARY}@host/db", "https://x:y-canary@h/"]
)
def test_no_secret_reaches_an_event(instance: dg.DagsterInstance, text: str) -> None:
    def work(current: Stage) -> None:
        try:
            raise ValueError(f"inner {text}")
        except ValueError as inner:
            raise RuntimeError(f"outer {text}") from inner

    result, observed = run(instance, work)
    stored = stored_text(instance, result.run_id)
    assert "canary" not in json.dumps(observed)
    assert "canary" not in stored
    assert "RuntimeError" in stored


def test_the_cause_of_a_clean_error_is_kept(instance: dg.DagsterInstance) -> None:
    def work(current: Stage) -> None:
        raise RuntimeError("broke")

    result, _ = run(instance, work)
    failure = result.failure_data_for_node("product_images")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == "RuntimeError: broke"
    assert failure.user_failure_data.metadata["error_class"].value == "RuntimeError"
    assert "broke" in stored_text(instance, result.run_id)


def test_an_interrupted_stage_says_that_it_was_stopped(instance: dg.DagsterInstance) -> None:
    def work(current: Stage) -> None:
        raise dg.DagsterExecutionInterruptedError

    result, observed = run(instance, work)
    assert not result.success
    assert "Stopped" in str(observed[0]["error_message"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(ValueError("  two\nlines "), "ValueError: two lines", id="foreign error, one line"),
        pytest.param(KeyError(), "KeyError", id="no text"),
        pytest.param(SettingsError("A: missing"), "A: missing", id="ours is written for people"),
    ],
)
def test_an_error_is_one_line_for_people(error: Exception, text: str) -> None:
    assert error_text(error) == text
    assert len(error_text(ValueError("x" * 5000))) == 500


def test_an_error_that_says_nothing_about_itself_is_not_permanent() -> None:
    assert not is_permanent(ValueError())
