"""Hand-overs between the steps of a run, found by its lineage: the plan to apply, and the notes of the steps before."""

from collections.abc import Mapping, Sequence

from upath import UPath

from imagesync_pipelines.storage.errors import NoPlanOfThisRunError
from imagesync_pipelines.storage.notes import N, NoteMissingError, notes_there, read_note
from imagesync_pipelines.storage.plans import WHOLE_CONNECTOR, PlanHeader, Plans
from imagesync_pipelines.sync.lineage import of_lineage

# In a plan's scope. Why the plan is carried out only when somebody names it, in words that fit "it was made for …".
ONLY_NAMED = "only_named"
DRY_RUN, CLEAN_UP = "a dry run", "a clean-up"
# In a plan's scope: made while another plan was being applied, for groups that had moved; that other one is the run's.
PIECE = "piece"


def only_named(*, dry_run: bool) -> dict[str, str]:
    """What the scope of a plan says of whether it is carried out only when somebody names it."""
    return {ONLY_NAMED: DRY_RUN} if dry_run else {}


def plan_to_apply(
    plans: Plans,
    connector: str,
    run_id: str,
    ancestors: Sequence[str],
    plan_id: int | None,
    part: Mapping[str, str] = WHOLE_CONNECTOR,
) -> PlanHeader:
    """The plan that is named, else the one that this run's lineage made, of this part of the connector.

    The plan of a dry run or of a clean-up must be named. Raises PlanMissingError, NoPlanOfThisRunError.
    """
    if plan_id is not None:
        return plans.asked(connector, plan_id, part)
    stored = plans.all(connector, part)
    found = _of_lineage(stored, run_id, ancestors)
    if found is None:
        raise NoPlanOfThisRunError(_refusal(connector, part, stored))
    if why := found.scope.get(ONLY_NAMED):
        raise NoPlanOfThisRunError(
            f"Plan {found.id} was made for {why}, so it is carried out only by its number: `imagesync apply {found.id}`"
            f" does it (`imagesync plan {found.id}` shows it first). Nothing was changed."
        )
    return found


def plan_to_look_at(plans: Plans, connector: str, run_id: str, ancestors: Sequence[str]) -> PlanHeader | None:
    """What a check looks at: the plan of its run's lineage, else, run by itself, the newest. None: there is no plan."""
    stored = plans.all(connector)
    return _of_lineage(stored, run_id, ancestors) or next(iter(stored), None)


def note_of(root: UPath, account: str, run_id: str, ancestors: Sequence[str], kind: type[N]) -> N | None:
    """The note that this run's lineage left for the account; None when it left none."""
    run = of_lineage(run_id, ancestors, notes_there(root, account, kind))
    return None if run is None else read_note(root, account, run, kind)


def need_note(root: UPath, account: str, run_id: str, ancestors: Sequence[str], kind: type[N]) -> N:
    """The note that this run's lineage left for the account. Raises NoteMissingError when it left none."""
    found = note_of(root, account, run_id, ancestors, kind)
    if found is None:
        raise NoteMissingError(
            f"Neither this run nor one that it re-executes has materialised {kind.connector}/{kind.asset} for {account}"
            f", and what another run found is not taken. Start the job {kind.connector}__sync, or "
            f"{kind.connector}__dry_run to look first. Nothing was changed."
        )
    return found


def newest_note(root: UPath, account: str, kind: type[N]) -> N | None:
    """The account's newest note, whoever left it: for what describes durable state, and for people. None: no note."""
    there = notes_there(root, account, kind)
    return read_note(root, account, there[0], kind) if there else None


def note_to_look_at(root: UPath, account: str, run_id: str, ancestors: Sequence[str], kind: type[N]) -> N:
    """What a check looks at: the note of its run's lineage, else, run by itself, the account's newest.

    Raises NoteMissingError when there is none at all.
    """
    found = note_of(root, account, run_id, ancestors, kind) or newest_note(root, account, kind)
    if found is None:
        raise NoteMissingError(
            f"{kind.connector}/{kind.asset} has not been materialised for {account} yet; do that first."
        )
    return found


def _of_lineage(stored: Sequence[PlanHeader], run_id: str, ancestors: Sequence[str]) -> PlanHeader | None:
    """Of these plans, the newest first, the one that a run's lineage made; pieces of another's application apart."""
    by_run: dict[str, PlanHeader] = {}
    for header in stored:
        if header.run_id is not None and not header.scope.get(PIECE):
            by_run.setdefault(header.run_id, header)
    run = of_lineage(run_id, ancestors, by_run)
    return None if run is None else by_run[run]


def _refusal(connector: str, part: Mapping[str, str], stored: Sequence[PlanHeader]) -> str:
    told = (
        "No plan belongs to this run: it made none itself and re-executes no run that made one, so nothing was changed."
        f" Start the job {connector}__sync, which plans first"
    )
    if not stored:
        return f"{told}."
    newest, name = stored[0].id, "/".join((connector, *part.values()))
    return (
        f"{told}, or apply a stored plan by its number: `imagesync apply N`. The newest of {name} is plan {newest}, "
        f"which `imagesync plan {newest}` shows."
    )
