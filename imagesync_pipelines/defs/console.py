"""What a run writes on standard error in Dagster's own processes: code servers and run workers."""

import logging

from dagster import colored_console_logger
from dagster._core.execution.context.logger import InitLoggerContext

from imagesync_pipelines import logs

_plain = colored_console_logger._logger_fn


def clean_console() -> None:
    """Let Dagster's console logger, and what no logger of this process handles, be clean, and JSON where that is asked.

    A run of Dagster's has that logger unless its own configuration names another, so it is changed and not replaced.
    """
    colored_console_logger._logger_fn = _cleaned
    if logs.is_json():
        logs.take_over()
    elif logging.lastResort is not None:
        logs.dress(logging.lastResort)


def _cleaned(context: InitLoggerContext) -> logging.Logger:
    logger = _plain(context)
    for handler in logger.handlers:
        logs.dress(handler)
    return logger
