"""`imagesync history`: past runs, from Dagster's own records."""

import click

from imagesync_pipelines.cli.output import print_table
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history as read_history


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
        numbers = (line.added, line.updated, line.deleted, line.products_affected)
        rows.append(
            (line.run_id[:8], line.job, line.partition, line.status, started, seconds, *numbers, line.error[:200])
        )
    print_table(f"the last {len(rows)} runs", columns, rows)
