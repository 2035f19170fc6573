"""Jobs made from the declarations of connectors: Dagster assets that run together, and steps that are none."""

from inspect import cleandoc
from typing import Any

import dagster as dg

from imagesync_pipelines.defs.assets import config_schema_of, partitions_def, retry_policy, run_step
from imagesync_pipelines.defs.shown import result_metadata
from imagesync_pipelines.sync.connector import Connector, Job, Step
from imagesync_pipelines.sync.job_runs import job_name, op_name


def build_jobs(connector: Connector) -> list[Any]:
    """All jobs of a connector; all of them run in one process."""
    return [
        _alone(connector, job, job.alone) if job.alone is not None else _of_assets(connector, job)
        for job in connector.jobs
    ]


def _of_assets(connector: Connector, job: Job) -> Any:
    names = [step.name for step in connector.steps] if job.steps is None else job.steps
    presets = {op_name(connector, connector.step(name)): {"config": dict(job.presets[name])} for name in job.presets}
    return dg.define_asset_job(
        job_name(connector, job),
        selection=dg.AssetSelection.assets(*(dg.AssetKey([connector.name, name]) for name in names)),
        config={"ops": presets} if presets else None,
        description=job.description,
    )


def _alone(connector: Connector, job: Job, step: Step) -> dg.JobDefinition:
    """A job of one op, whose events are shown with the Dagster asset that it looks after."""

    def work(context: dg.OpExecutionContext) -> None:
        about = dg.AssetKey([connector.name, job.about or connector.steps[-1].name])
        result = run_step(context, connector, step, about)
        if job.about:
            account = context.partition_key if context.has_partition_key else None
            observed = dg.AssetObservation(asset_key=about, partition=account, metadata=dict(result_metadata(result)))
            context.log_event(observed)

    decorate: Any = dg.op(
        name=step.name,
        description=cleandoc(step.description),
        pool=step.pool or None,
        retry_policy=retry_policy(step),
        config_schema=config_schema_of(step),
        required_resource_keys={"installation", connector.name, "progress"},
    )
    op = decorate(work)

    @dg.job(
        name=job_name(connector, job),
        partitions_def=partitions_def(connector, step),
        executor_def=dg.in_process_executor,
        description=job.description,
    )
    def alone() -> None:
        op()

    return alone
