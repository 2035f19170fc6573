"""How long work tells how far it is, without knowing who watches."""

from typing import Protocol


class Progress(Protocol):
    """Called with a stage's name, how much is done and, where it is known, of how much."""

    def __call__(self, stage: str, done: int, total: int | None) -> None: ...


def silent(stage: str, done: int, total: int | None) -> None:
    """A progress report that nobody sees; the default in Dagster's own workers, where the UI shows the steps."""
