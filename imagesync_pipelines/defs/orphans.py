"""Runs that were started in a process of their own, on a terminal or from a script, and died with it."""

import os
import socket

import dagster as dg
import psutil  # type: ignore[import-untyped]

from imagesync_pipelines.defs.partitions import IN_FLIGHT

HOST_TAG = "imagesync/host"
PROCESS_TAG = "imagesync/process"


def process_tags() -> dict[str, str]:
    """The tags of a run of this process: the host, and the process with the moment it started (numbers are reused)."""
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: _name(psutil.Process(os.getpid()))}


def close_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the unfinished runs of this host whose process is gone; returns their ids.

    Without this a run killed with kill -9 shows as running for ever and holds its place in the pools.
    """
    mine = dg.RunsFilter(statuses=list(IN_FLIGHT), tags={HOST_TAG: socket.gethostname()})
    closed = []
    for run in instance.get_runs(mine):
        if not _is_alive(run.tags.get(PROCESS_TAG, "")):
            instance.report_run_failed(run, "The process of this run was killed; what it had written is kept.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed.append(run.run_id)
    return closed


def _is_alive(name: str) -> bool:
    number = name.partition("/")[0]
    try:
        return number.isdecimal() and _name(psutil.Process(int(number))) == name
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    return f"{process.pid}/{process.create_time():.0f}"
