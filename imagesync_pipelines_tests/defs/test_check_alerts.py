"""A check that fails without failing its run reaches the alert targets: once, with its reason, and only errors do."""

from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.defs.alerts import build_failed_check_alert
from imagesync_pipelines_tests.defs.conftest import Receiver


class CheckConfig(dg.Config):
    """How the fake checks end."""

    passed: bool = False
    severity: str = "ERROR"


@dg.asset(key=["edge", "photos"])
def photos() -> dg.MaterializeResult:
    """A Dagster asset."""
    return dg.MaterializeResult()


@dg.asset_check(asset=photos, name="few_photos_fail")
def few_photos_fail(config: CheckConfig) -> dg.AssetCheckResult:
    """A check that does not block."""
    return dg.AssetCheckResult(
        passed=config.passed, severity=dg.AssetCheckSeverity[config.severity], description="30 of 100 photos failed"
    )


@dg.asset_check(asset=photos, name="every_photo_has_a_product", blocking=True)
def every_photo_has_a_product() -> dg.AssetCheckResult:
    """A check that blocks: its run fails, and that is told by the other sensor."""
    return dg.AssetCheckResult(passed=False, description="blocked")


def check(instance: dg.DagsterInstance, **config: Any) -> str:
    """A run of the asset with the check that does not block; returns its id."""
    ops = {"edge__photos_few_photos_fail": {"config": config}}
    result = dg.materialize([photos, few_photos_fail], instance=instance, run_config={"ops": ops}, raise_on_error=False)
    assert result.success
    return result.run_id


def tick(instance: dg.DagsterInstance, cursor: str | None) -> tuple[str, str]:
    """What the sensor says and remembers after one tick."""
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        data = build_failed_check_alert().evaluate_tick(context)
    return data.skip_message or "", data.cursor or ""


def test_a_failed_check_is_told_once_with_its_reason_and_a_link(
    instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    _, cursor = tick(instance, None)
    run_id = check(instance)
    said, cursor = tick(instance, cursor)
    assert said == "1 check evaluations, 1 messages sent."
    assert receiver.messages[0]["title"] == "imagesync: few_photos_fail is not true"
    for part in ("few_photos_fail of edge/photos", "30 of 100", f"https://dagster.example/runs/{run_id}"):
        assert part in receiver.messages[0]["message"]
    assert tick(instance, cursor)[0] == "0 check evaluations, 0 messages sent."
    check(instance)
    _, cursor = tick(instance, cursor)
    assert len(receiver.messages) == 1, "the same failure within the hour is counted, not sent"
    check(instance, passed=True)
    tick(instance, cursor)
    assert receiver.titles()[1:] == ["imagesync: over: few_photos_fail is not true"]
    assert "and 1 times more that were not sent" in receiver.messages[1]["message"]


@pytest.mark.parametrize(
    "config",
    [pytest.param({"passed": True}, id="passed"), pytest.param({"severity": "WARN"}, id="a warning is for the UI")],
)
def test_what_is_no_error_is_not_sent(instance: dg.DagsterInstance, receiver: Receiver, config: dict[str, Any]) -> None:
    _, cursor = tick(instance, None)
    check(instance, **config)
    assert tick(instance, cursor)[0] == "1 check evaluations, 0 messages sent."
    assert receiver.messages == []


def test_a_blocking_check_is_left_to_the_alert_of_its_failed_run(
    instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    _, cursor = tick(instance, None)
    result = dg.materialize([photos, every_photo_has_a_product], instance=instance, raise_on_error=False)
    assert not result.success
    tick(instance, cursor)
    assert receiver.messages == []


def test_what_happened_before_the_sensor_was_switched_on_is_not_told(
    instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    check(instance)
    said, cursor = tick(instance, None)
    assert "from now on" in said
    tick(instance, cursor)
    assert receiver.messages == []


def test_a_partition_is_named_and_has_a_memory_of_its_own(instance: dg.DagsterInstance, receiver: Receiver) -> None:
    _, cursor = tick(instance, None)
    for store in ("harbour", "airport"):
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["edge", "photos"]),
            check_name="every_run_ends_in_time",
            passed=False,
            description="late",
            partition=store,
        )
        instance.report_runless_asset_event(evaluation)
    tick(instance, cursor)
    assert [title.rpartition(" ")[2] for title in sorted(receiver.titles())] == ["airport", "harbour"]
    assert "view=checks" in receiver.messages[0]["message"], "a sensor's own evaluation has no run to look at"


def test_nobody_to_tell_moves_on(instance: dg.DagsterInstance) -> None:
    _, cursor = tick(instance, None)
    check(instance)
    said, after = tick(instance, cursor)
    assert "IMAGESYNC_ALERT_URLS is empty" in said
    assert int(after) > int(cursor)
