"""A run to start, as a connector describes it to whoever starts it.

What belongs here: the description. What does not: which runs there are (the connectors' automation.py), starting them
(runs.py, Dagster's daemon).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class JobRun:
    """A run to start: its job, configuration, tags, and the Dagster assets when not all of the job's."""

    job: str
    run_config: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    assets: Sequence[tuple[str, str]] = ()
