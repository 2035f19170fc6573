"""Dagster's webserver over HTTP: which jobs and partitions it knows, starting a run, the state of a run.

Dagster as a library is not needed for it, and past runs are read from its records instead (defs/history.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync.job_runs import JobRun
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy, UpstreamSession

# A person waits for the page; loading what a job may be launched with takes Dagster a second or two.
DEADLINE_SECONDS = 30.0
MAX_BYTES = 16 * 1024 * 1024

# Dagster's words for the state of a run, in ours; every other one is of a run that is being prepared.
ENDED = {"SUCCESS": N_("completed"), "FAILURE": N_("failed"), "CANCELED": N_("cancelled")}
UNDER_WAY = {"QUEUED": N_("queued"), "STARTED": N_("running"), "CANCELING": N_("cancelling")}

_JOBS = """
query Jobs { repositoriesOrError {
  __typename
  ... on Error { message }
  ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
} }
"""
_PARTITIONS = """
query Partitions($params: PipelineSelector!) { pipelineOrError(params: $params) {
  __typename
  ... on Error { message }
  ... on Pipeline { partitionKeysOrError { partitionKeys } }
} }
"""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on LaunchRunSuccess { run { runId } }
} }
"""
_RUN = """
query Run($id: ID!) { runOrError(runId: $id) {
  __typename
  ... on Error { message }
  ... on Run { runId jobName status startTime endTime tags { key value } }
} }
"""


class DagsterUnreachableError(Exception):
    """Dagster's webserver cannot be asked, or it refused; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """A run now. state: queued, starting, running, cancelling, completed, failed, cancelled; times are UTC."""

    job: str
    state: str
    has_ended: bool
    started: datetime | None
    ended: datetime | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Dagster:
    """Dagster's webserver at an address, such as http://127.0.0.1:3000. All calls raise DagsterUnreachableError."""

    address: str

    def partitions(self, jobs: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The partitions of jobs in their order: blocks of pages, accounts, stores; empty for a job without."""
        found = {}
        for job, place in self._places(jobs).items():
            params = {"params": {**place, "pipelineName": job}}
            answer = self._ask(_PARTITIONS, params, "pipelineOrError", "Pipeline")
            found[job] = tuple(map(str, answer["partitionKeysOrError"]["partitionKeys"]))
        return found

    def launch(self, run: JobRun, tags: Mapping[str, str]) -> str:
        """Start a run and give its id; `tags` are put on it beside its own."""
        selector: dict[str, Any] = {**self._places([run.job])[run.job], "jobName": run.job}
        all_tags = [{"key": key, "value": value} for key, value in {**run.tags, **tags}.items()]
        about = {"runConfigData": dict(run.run_config), "executionMetadata": {"tags": all_tags}}
        answer = self._ask(_LAUNCH, {"params": {"selector": selector, **about}}, "launchRun", "LaunchRunSuccess")
        return str(answer["run"]["runId"])

    def run(self, run_id: str) -> Run | None:
        """A run as it is now; None when Dagster has no record of it."""
        answer = self._ask(_RUN, {"id": run_id}, "runOrError", "Run", none="RunNotFoundError")
        if answer is None:
            return None
        status, moments = answer["status"], (answer["startTime"], answer["endTime"])
        started, ended = (None if at is None else datetime.fromtimestamp(at, UTC) for at in moments)
        state = ENDED.get(status) or UNDER_WAY.get(status, N_("starting"))
        tags = {tag["key"]: tag["value"] for tag in answer["tags"]}
        return Run(answer["jobName"], state, status in ENDED, started, ended, tags)

    def _places(self, jobs: Sequence[str]) -> dict[str, dict[str, str]]:
        """Where jobs are: the name of a code location depends on how the webserver was started."""
        answer = self._ask(_JOBS, {}, "repositoriesOrError", "RepositoryConnection")
        places = {
            job["name"]: {"repositoryName": one["name"], "repositoryLocationName": one["location"]["name"]}
            for one in answer["nodes"]
            for job in one["jobs"]
        }
        for job in jobs:
            if job not in places:
                raise DagsterUnreachableError(
                    f"Dagster at {self.address} does not know the job {job}. Its code location may still be loading, "
                    "or be broken: look at Deployment in the Dagster UI."
                )
        return {job: places[job] for job in jobs}

    def _ask(self, query: str, variables: Mapping[str, Any], field: str, wanted: str, none: str = "") -> Any:
        """The field of the answer, when it is of the wanted type; None when it is of the type `none`."""
        policy = SessionPolicy(self.address, total_deadline=DEADLINE_SECONDS, max_bytes=MAX_BYTES, tries=1)
        asked = {"query": query, "variables": dict(variables)}
        request = ApiRequest("POST", "graphql", json=asked, expect_json=True, accept=frozenset({400}))
        try:
            with UpstreamSession(policy) as session:
                answer: Any = session.call(request).data["data"][field]  # type: ignore[index]
            kind = answer["__typename"]
        except UpstreamError as error:
            if error.ambiguous:
                raise DagsterUnreachableError(
                    f"Dagster at {self.address} was asked and gave no good answer. If this was to start a run, it may "
                    "have started: look at the history before you start it again."
                ) from error
            raise DagsterUnreachableError(
                f"Dagster's webserver at {self.address} does not answer. Nothing was started. Is it running, and is "
                "IMAGESYNC_WEBSERVER_URL its address?"
            ) from error
        except (KeyError, TypeError, IndexError):
            raise DagsterUnreachableError(f"What answers at {self.address} does not seem to be Dagster.") from None
        if kind == none:
            return None
        if kind != wanted:
            reasons = [str(one.get("message", "")) for one in answer.get("errors", ())]
            why = answer.get("message") or "; ".join(reasons) or kind
            raise DagsterUnreachableError(f"Dagster refused: {why}")
        return answer
