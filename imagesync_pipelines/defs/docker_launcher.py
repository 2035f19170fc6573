"""Runs as containers of Docker: Dagster's launcher, which also knows runs that commands have started.

By itself it gives a container only the variables that dagster.yaml lists, and a rule that is missing there, such as a
limit of deletions, would silently be the default in every run.

Named by dagster.yaml (deploy/dagster/docker.yaml).
"""

import os
from collections.abc import Mapping
from contextlib import suppress

from dagster import DagsterRun
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext
from pydantic_settings import BaseSettings

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.defs.launchers import CheckedByLock
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings


class CheckedDockerRunLauncher(CheckedByLock, DockerRunLauncher):
    """A run is alive while its container is, or while it holds its lock in our database."""

    def get_container_context(self, dagster_run: DagsterRun) -> DockerContainerContext:
        """What a run's container is made of, with the variables of this process that a run reads."""
        ours = DockerContainerContext(env_vars=variables_of_runs(os.environ))
        # What dagster.yaml or a job says comes last, and wins.
        return ours.merge(super().get_container_context(dagster_run))


def variables_of_runs(environment: Mapping[str, str]) -> list[str]:
    """The names of those variables that a run reads: of all settings, OpenTelemetry's, and what the accounts file
    names."""
    kinds: list[type[BaseSettings]] = [*(one.settings for one in connectors()), QualitySettings, WebhooksOutSettings]
    known = {
        f"{kind.model_config.get('env_prefix') or ''}{name}".upper() for kind in kinds for name in kind.model_fields
    }
    named: set[str] = set()
    # A run meets the same error, and tells it.
    with suppress(SettingsError):
        named = load_accounts(load_settings(Settings)).named_variables()
    return sorted(
        name
        for name in environment
        if name.upper().startswith(("IMAGESYNC_", "OTEL_")) or name.upper() in known or name in named
    )
