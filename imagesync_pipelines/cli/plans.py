"""`imagesync plan`, `apply` and `history`: what is about to change, doing it later, and what runs changed."""

import click

from imagesync_pipelines.cli.output import print_outcome, print_plan_line, print_table, progress_bars
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history as read_history
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage import plans as stored
from imagesync_pipelines.sync.guard import held_rows

SHOWN = 40


@click.command("plan")
@click.argument("plan_id", type=int, required=False)
@click.option("--connector", "--room", "connector", default=DEFAULT_SOURCE, show_default=True, help="whose last plan")
def plan(plan_id: int | None, connector: str) -> None:
    """Print the last plan (or plan PLAN_ID): its numbers and the first rows that change."""
    with runs.opened() as (installation, _):
        plans = stored.Plans(installation.engine, installation.storage)
        found = plans.header(plan_id) if plan_id is not None else next(iter(plans.newest(1, connector)), None)
        if found is None:
            raise click.ClickException(f"{connector} has no plan yet; make one with --dry-run")
        rows = plans.load(found.id)
    click.secho(f"plan {found.id} of {found.connector}, made {found.created_at:%Y-%m-%d %H:%M:%S %Z}", bold=True)
    print_plan_line(found)
    changes = rows[(rows["change"] != "keep") | rows.index.isin(held_rows(rows).index)]
    # Where a connector has no other name for its products, they are the groups.
    changes = changes if "product" in changes else changes.assign(product=changes["group"])
    columns = ["change", "product", "key", "reason"]
    if len(changes):
        title = f"the first {min(SHOWN, len(changes))} of {len(changes)} rows that change"
        print_table(title, columns, changes.loc[:, columns].head(SHOWN).fillna("").values.tolist())


@click.command("apply")
@click.argument("plan_id", type=int, metavar="PLAN")
@click.option("--replan", is_flag=True, help="plan products again that moved since, instead of refusing them")
@click.pass_context
def apply(context: click.Context, plan_id: int, replan: bool) -> None:
    """Apply the stored plan PLAN (its number is printed by a dry run and by `imagesync plan`).

    What it shows as held back by the deletion limits is carried out too: naming the plan is a person's word.
    """
    with progress_bars() as progress:
        outcome = runs.apply_plan(plan_id, replan=replan, progress=progress)
    context.exit(print_outcome(outcome))


@click.command("history")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="how many runs")
@click.option("--connector", "--room", "connector", help="runs of this connector only")
def history(limit: int, connector: str | None) -> None:
    """Print past runs: when, how they ended, what they changed."""
    with runs.opened() as (_, instance):
        lines = read_history(instance, limit=limit, connector=connector)
    columns = ("run", "job", "of", "status", "started", "seconds", "added", "updated", "deleted", "products", "error")
    rows = []
    for line in lines:
        started = line.started.astimezone().strftime("%Y-%m-%d %H:%M:%S") if line.started else ""
        seconds = round((line.completed - line.started).total_seconds(), 1) if line.started and line.completed else None
        cells = (line.run_id[:8], line.job, line.partition, line.status, started, seconds, line.added, line.updated)
        rows.append((*cells, line.deleted, line.products_affected, line.error[:200]))
    print_table(f"the last {len(rows)} runs", columns, rows)
