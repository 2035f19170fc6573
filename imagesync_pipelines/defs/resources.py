"""The resources of a run: this installation, and the settings of each connector with typed fields that the UI shows.

A secret is shown by the name of its variable only, and read at run time.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import Field, PrivateAttr, SecretStr, create_model

from imagesync_pipelines import logs
from imagesync_pipelines.defs.liveness import holding_lock
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.errors import TransactionPoolerError
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.job_runs import PARTITION_TAG
from imagesync_pipelines.telemetry import spans

_logger = logging.getLogger("imagesync")


class InstallationResource(dg.ConfigurableResource):
    """This installation, read from IMAGESYNC_* when a run needs it; a run holds its lock as long as it has this."""

    # What is open until the run ends, and the installation as soon as a step has asked for it.
    _of_run: ExitStack | None = PrivateAttr(None)
    _opened: Installation | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """The resource itself, while the lock of the run is held.

        Raises TransactionPoolerError. What else is wrong with the installation, the first step tells.
        """
        run = context.run
        with ExitStack() as stack, logs.about(**_named(run) if run is not None else {}), _traced(run):
            try:
                stack.enter_context(holding_lock(context.instance, context.run))
            except TransactionPoolerError:
                raise
            except ImagesyncError as error:
                _logger.warning("The run holds no lock: %s", error)
            self._of_run = stack
            try:
                yield self
            finally:
                self._of_run = self._opened = None

    def open(self) -> AbstractContextManager[Installation]:
        """The installation, for the length of a `with` block: opened by a run's first step, and closed with the run.

        Raises SettingsError naming the wrong variable, and StorageError.
        """
        if self._of_run is None:
            return open_installation(load_settings(Settings))
        if self._opened is None:
            self._opened = self._of_run.enter_context(open_installation(load_settings(Settings)))
        return nullcontext(self._opened)


@contextmanager
def _traced(run: dg.DagsterRun | None) -> Iterator[None]:
    """A run as a span below what started it. What was traced is sent at its end: its process may end without a word."""
    spans.begin()
    if run is None:
        yield
        return
    about = {f"imagesync__{name}": value for name, value in _named(run).items() if value}
    try:
        with spans.span(f"run {run.job_name}", parent=run.tags.get(spans.PARENT_TAG, ""), **about):
            yield
    finally:
        spans.send()


def _named(run: dg.DagsterRun) -> dict[str, str]:
    """A run as every line of a log names it."""
    connector = next((key.path[0] for key in sorted(run.asset_selection or ())), run.job_name.partition("__")[0])
    return {"run_id": run.run_id, "connector": connector, "account": run.tags.get(PARTITION_TAG, "")}


class SettingsResource(dg.ConfigurableResource):
    """The settings of one connector, as the environment has them when a run starts."""


def settings_resource(connector: Connector) -> SettingsResource:
    """A resource with a field for every plain setting of the connector and the variable's name for every secret.

    The values are those of this process, for the UI; a step reads the settings anew. Raises
    SettingsError naming the variable that is wrong.
    """
    settings = load_settings(connector.settings)
    prefix = str(connector.settings.model_config.get("env_prefix") or "")
    fields: dict[str, Any] = {}
    for name, info in connector.settings.model_fields.items():
        value = getattr(settings, name)
        text = info.description or ""
        if isinstance(value, SecretStr) or "SecretStr" in str(info.annotation):
            fields[f"{name}_variable"] = (str, Field((prefix + name).upper(), description=f"variable of: {text}"))
        elif isinstance(value, str | int | float | bool):
            fields[name] = (type(value), Field(value, description=text))
        elif value is None or isinstance(value, Path):
            fields[name] = (str, Field("" if value is None else str(value), description=text))
    title = "".join(word.capitalize() for word in connector.name.split("_"))
    kind = create_model(f"{title}Settings", __base__=SettingsResource, __doc__=connector.settings.__doc__, **fields)
    return kind()
