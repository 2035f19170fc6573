"""A run of an account or store, as schedules and sensors ask Dagster's daemon for it.

What belongs here: the request. What does not: the description of the run (launching.py), when it is asked for (the
connectors' schedules and sensors).
"""

from collections.abc import Mapping

import dagster as dg

from imagesync_pipelines.defs.launching import JobRun
from imagesync_pipelines.defs.partitions import PARTITION_TAG


def request_of(run: JobRun, key: str | None = None, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    """The request for a run; for one `key` and account there is only one run. tags: on it, beside its partition."""
    account = run.tags[PARTITION_TAG]
    run_key = None if key is None else f"{key} {account}"
    return dg.RunRequest(run_key=run_key, run_config=dict(run.run_config), partition_key=account, tags=tags)
