"""Asset checks made from the true sentences that connectors declare."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from imagesync_pipelines.defs.assets import at_work_for_check, partitions_def
from imagesync_pipelines.defs.shown import shown_metadata
from imagesync_pipelines.sync.connector import Check, Connector
from imagesync_pipelines.sync.steps import CheckResult


def build_checks(connector: Connector) -> list[Any]:
    """All checks of a connector; those of a step with a partition per account look at one account."""
    return [_several(connector, check) if check.group else _single(connector, check) for check in connector.checks]


def _single(connector: Connector, check: Check) -> Any:
    (name, text), *more = check.sentences.items()
    if more:
        raise ValueError(f"{connector.name}: a check of several sentences needs a group, {sorted(check.sentences)}")

    def look(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return _result(check, name, _answers(context, connector, check)[name], None)

    decorate: Any = dg.asset_check(
        asset=dg.AssetKey([connector.name, check.step]),
        name=name,
        description=text,
        blocking=check.blocking,
        partitions_def=partitions_def(connector, connector.step(check.step)),
        required_resource_keys={"installation", connector.name, "progress"},
    )
    return decorate(look)


def _several(connector: Connector, check: Check) -> Any:
    key = dg.AssetKey([connector.name, check.step])
    held = partitions_def(connector, connector.step(check.step))
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=text, blocking=check.blocking, partitions_def=held)
        for name, text in check.sentences.items()
    ]

    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        found = _answers(context, connector, check)
        for selected in sorted(context.selected_asset_check_keys):
            yield _result(check, selected.name, found[selected.name], key)

    decorate: Any = dg.multi_asset_check(
        name=f"{connector.name}__{check.group}",
        specs=specs,
        can_subset=True,
        required_resource_keys={"installation", connector.name, "progress"},
    )
    return decorate(look)


def _answers(context: dg.AssetCheckExecutionContext, connector: Connector, check: Check) -> Mapping[str, CheckResult]:
    with at_work_for_check(context, connector, connector.step(check.step)) as run:
        return check.run(run)


def _result(check: Check, name: str, found: CheckResult, key: dg.AssetKey | None) -> dg.AssetCheckResult:
    severe = check.severe if found.severe is None else found.severe
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name if key is not None else None,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=found.description,
        metadata=dict(shown_metadata(found.shown)),
    )
