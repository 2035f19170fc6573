"""Taking back what a run changed, from Python and from the terminal: the plan of it, then its application.

And the plan that takes away what is there of excluded products, which a person looks at and applies.
"""

from collections.abc import Iterator, Sequence

from imagesync_pipelines.defs import runs
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.effects import Touched, touched_by
from imagesync_pipelines.sync.connector import TAKE_AWAY, UNDO
from imagesync_pipelines.sync.steps import Progress, silent
from imagesync_pipelines.sync.undoing import UndoRefusedError, nothing_known


def undo(
    run: str,
    skus: Sequence[str] = (),
    *,
    dry_run: bool = False,
    person: str = "",
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Iterator[runs.RunOutcome]:
    """Plan to take back what a run changed, and carry that out, unless the deletion limits hold anything of it back.

    run: its id, or how that begins. Gives the outcome of planning, then that of the application. Raises
    UndoRefusedError when nothing of it can be taken back; what happens in a run itself is in its RunOutcome.
    """
    touched = undoable(run, settings)
    connector = connector_named(touched.connector)
    accounts = [touched.account] if touched.account else []
    asked = {"run": touched.run_id, "skus": list(skus)}
    planned = runs.only(
        runs.run_job(connector.name, UNDO, accounts, settings=settings, progress=progress, person=person, **asked)
    )
    yield planned
    plan = planned.plan
    if not dry_run and plan is not None and not plan.scope["held_back"]:
        yield runs.apply_plan(plan.id, settings=settings, progress=progress, person=person)


def take_away(
    connector: str,
    account: str,
    skus: Sequence[str],
    *,
    person: str = "",
    settings: Settings | None = None,
    progress: Progress = silent,
) -> runs.RunOutcome:
    """Plan to take away everything of ours of products that are excluded from an account ('': there are none).

    `runs.apply_plan` carries it out. What happens in the run is in its RunOutcome.
    """
    accounts, asked = [account] if account else [], {"skus": list(skus)}
    found = runs.run_job(connector, TAKE_AWAY, accounts, settings=settings, progress=progress, person=person, **asked)
    return runs.only(found)


def undoable(run: str, settings: Settings | None = None) -> Touched:
    """Whose images a run changed. Raises UndoRefusedError."""
    with runs.opened(settings) as (installation, _):
        with installation.engine.connect() as connection:
            found = touched_by(connection, run)
        if len({one.run_id for one in found}) > 1:
            several = ", ".join(sorted(one.run_id for one in found))
            raise UndoRefusedError(f"Several runs begin with {run}: {several}. Write more of its id.")
        if found:
            return found[0]
        raise nothing_known(run, installation.settings.undo_days)
