"""МойСклад's part of `imagesync demo`: a main account to two children, some changes, the children again."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from imagesync_pipelines.cli.output import print_table, progress_bars
from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.moysklad import server
from imagesync_pipelines.sandbox.moysklad.making import MAIN, catalogue
from imagesync_pipelines.sandbox.moysklad.mutation import night
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox

COLUMNS = (
    "run", "account", "mode", "added", "updated", "removed", "images there", "calls", "the earlier way", "status"
)  # fmt: skip


@dataclass(frozen=True)
class MoyskladLine:
    """One run into a child account: how many images the account has after it, and the calls that it made.

    earlier: how many calls the system before this one would have made for the same entities.
    """

    name: str
    account: str
    outcome: runs.RunOutcome
    there: int
    calls: int
    earlier: int

    def cells(self) -> tuple[object, ...]:
        """The run as a row of the table."""
        summary = self.outcome.summary
        numbers = [summary.get(name, 0) for name in ("images_added", "images_updated", "images_deleted")]
        mode = server.MODES[self.account]
        return (
            self.name, self.account, mode, *numbers, self.there, self.calls, self.earlier, str(self.outcome.status)
        )  # fmt: skip


def moysklad_runs() -> list[MoyskladLine]:
    """Everything into both child accounts, then what changed in the main account, then nothing."""
    with moysklad_sandbox(
        accounts=catalogue(), port=server.PORT, storage_port=server.STORAGE_PORT, cdn_port=server.CDN_PORT
    ) as sandbox:
        click.echo(
            f"A made-up МойСклад: a main account with {len(sandbox.account(MAIN).entities())} entities, two children."
        )
        lines = _run("everything", sandbox, full=True)
        changes = night(sandbox.account(MAIN))
        lines += _run(f"after {len(changes)} changes", sandbox, full=False)
        lines += _run("nothing changed", sandbox, full=False)
    return lines


def print_lines(lines: Sequence[MoyskladLine]) -> None:
    """Print the runs as a table."""
    print_table("main account of МойСклад → child accounts", COLUMNS, [line.cells() for line in lines])


def _run(name: str, sandbox: MoyskladSandbox, *, full: bool) -> list[MoyskladLine]:
    click.echo(f"  {name} …")
    lines = []
    sandbox.ledger.clear()
    with progress_bars() as progress:
        for account, outcome in runs.sync("moysklad", full=full, progress=progress):
            there = sum(len(entity.images) for entity in sandbox.account(account).entities())
            earlier = int(outcome.plan.scope["earlier_calls"]) if outcome.plan is not None else 0
            lines.append(MoyskladLine(name, account, outcome, there, sandbox.calls(), earlier))
            sandbox.ledger.clear()
    return lines
