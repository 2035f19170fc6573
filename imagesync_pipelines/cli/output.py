"""How the terminal shows things, in the language that is spoken: a line, a question, a progress bar, a table."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from imagesync_pipelines.defs.runs import RunOutcome, Status
from imagesync_pipelines.languages import ENGLISH, N_, _, current, pgettext, retold
from imagesync_pipelines.languages.current import MARKED
from imagesync_pipelines.languages.numbers import rewritten
from imagesync_pipelines.logs import about, is_json
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.sync.excluding import EXCLUDED
from imagesync_pipelines.sync.steps import Progress

# The worst first.
EXIT_CODES = {Status.FAILED: 1, Status.PARTIAL: 3, Status.COMPLETED: 0}
COLOURS = {Status.FAILED: "red", Status.PARTIAL: "yellow", Status.COMPLETED: "green"}
# Numbers of a run's summary, and what they are called.
_NUMBERS = {
    "images_added": N_("images added"), "images_updated": N_("images updated"), "images_deleted": N_("images deleted"),
    "kept": N_("kept"), "rejected": N_("rejected"), "held_back": N_("held back"), "refused": N_("refused"),
    "products_affected": N_("products affected"), "api_calls": N_("api calls"), "seconds": N_("seconds"),
}  # fmt: skip


def say(text: str = "", *, err: bool = False, **how: Any) -> None:
    """Print a text for people that is in their language already, in the colours of `how` (click's).

    All that a command says to people goes through here; what programs read (--json, identifiers, addresses) is printed
    with click.echo. It is not looked into any more: a product may be called as a sentence of ours is.
    """
    click.secho(text, err=err, **how)


def retell(text: str, *, err: bool = False, **how: Any) -> None:
    """As `say`, of a sentence that was told in English by deeper code."""
    say(retold(text), err=err, **how)


def figures(english: str) -> str:
    """A number that is written as English does, such as 1,234.5, as the language that is spoken writes it."""
    return english if current() in (ENGLISH, MARKED) else rewritten(english)


def confirm(question: str) -> None:
    """Ask, and raise click.Abort unless the answer is yes, in the language that is spoken or in English."""
    yes, no = pgettext("what is typed for yes", "y"), pgettext("what is typed for no", "n")
    answers = dict.fromkeys(("y", "yes", yes.lower(), _("yes").lower()), True)
    answers |= dict.fromkeys(("", "n", "no", no.lower(), _("no").lower()), False)
    asked = f"{question} [{yes}/{no.upper()}]"
    while (answer := answers.get(click.prompt(asked, default="", show_default=False).strip().lower())) is None:
        say(_("Error: invalid input"))
    if not answer:
        raise click.Abort


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on standard error, one per stage of the run; nothing where standard error is not a terminal."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    terminal = Console(stderr=True)
    with Bars(*columns, console=terminal, transient=True, disable=not terminal.is_terminal or is_json()) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(retold(stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], whole: Collection[str] = ()
) -> None:
    """Print rows as a table, as wide as the terminal, 120 columns where there is none; numbers to the right.

    Names of columns are retold; what is in the cells is data, and retold by who knows that it is a sentence. Decimals
    are written as the language does: a program reads --json.

    whole: the columns of which no cell is broken in two lines.
    """
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(retold(name), justify="right" if numeric else "left", overflow="fold", no_wrap=name in whole)
    for row in rows:
        # Names of sections, [edge.head_office], are no markup.
        table.add_row(*(escape(_cell(cell)) for cell in row))
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


def _cell(value: object) -> str:
    """What stands in a cell: of numbers only those behind the point change, as 0.4 does; nothing for None."""
    return "" if value is None else figures(str(value)) if isinstance(value, float) else str(value)


def print_plan_line(plan: PlanHeader) -> None:
    """Print a plan's numbers, and how to apply it when nobody has."""
    counts = ", ".join(f"{retold(name)} {number}" for name, number in plan.counts.items())
    said = _("plan {id}: {counts}; nothing is written yet, apply it with: imagesync apply {id}")
    if plan.applied_at is not None:
        said = _("plan {id}: {counts}; applied {at}")
    at = f"{plan.applied_at:%Y-%m-%d %H:%M:%S %Z}" if plan.applied_at is not None else ""
    say("  " + said.format(id=plan.id, counts=counts, at=at))
    if EXCLUDED in plan.scope:
        say(f"  {retold(str(plan.scope[EXCLUDED]))}")


def print_outcome(outcome: RunOutcome) -> int:
    """Print how a run ended, its numbers, warnings and error; returns the process's exit code."""
    summary = outcome.summary
    if is_json():
        return _log_outcome(outcome)
    said = _("{status}: run {run}").format(status=retold(outcome.status), run=outcome.run_id)
    say(said, fg=COLOURS[outcome.status], bold=True)
    if "said" in summary:
        say(f"  {retold(str(summary['said']))}")
    numbers = [(retold(told), summary[name]) for name, told in _NUMBERS.items() if name in summary]
    if numbers:
        say("  " + ", ".join(f"{name} {_cell(value)}" for name, value in numbers))
    if outcome.plan is not None and outcome.plan.applied_at is None:
        print_plan_line(outcome.plan)
    for warning in summary.get("warnings", ()):
        say("  " + _("warning: {warning}").format(warning=retold(warning)), fg="yellow")
    if outcome.error:
        say("  " + _("error: {error}").format(error=retold(outcome.error)), fg="red")
    url = f"{load_settings(Settings).webserver_url}/runs/{outcome.run_id}"
    say("  " + _("in the UI: {url}").format(url=url))
    return EXIT_CODES[outcome.status]


def _log_outcome(outcome: RunOutcome) -> int:
    """How a run ended as a line of the log: a process that writes JSON writes nothing else."""
    levels = {Status.FAILED: logging.ERROR, Status.PARTIAL: logging.WARNING, Status.COMPLETED: logging.INFO}
    plan = {} if outcome.plan is None else {"plan": outcome.plan.id, "connector": outcome.plan.connector}
    told = {"run_id": outcome.run_id, **plan, "summary": dict(outcome.summary)}
    if outcome.error:
        told["error"] = outcome.error
    logging.getLogger("imagesync").log(levels[outcome.status], "run ended: %s", outcome.status, extra=told)
    return EXIT_CODES[outcome.status]


def print_outcomes(kind: str, outcomes: Iterable[tuple[str, RunOutcome]]) -> int:
    """Print the outcome of every account or store (`kind`) as it comes; the exit code is that of the worst."""
    codes = []
    for name, outcome in outcomes:
        with about(account=name):
            if not is_json():
                say(f"{retold(kind)} {name}", bold=True)
            codes.append(print_outcome(outcome))
    return worst(codes)


def worst(codes: Iterable[int]) -> int:
    """Of exit codes that of the worst outcome, 0 without any."""
    found = set(codes)
    return next((code for code in EXIT_CODES.values() if code in found), 0)
