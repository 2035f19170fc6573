"""`imagesync plan`, `apply` and `history`: what is about to change, doing it later, and what runs changed."""

import getpass
from collections.abc import Sequence

import click
import sqlalchemy as sa

from imagesync_pipelines.cli.output import print_outcome, print_plan_line, print_table, progress_bars
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history as read_history
from imagesync_pipelines.products.past import images_now
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage import plans as stored
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.effects import (
    Effect,
    effects_about,
    effects_of_run,
    effects_on_picture,
    runs_beginning,
)
from imagesync_pipelines.storage.plan_words import words_of
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.sync.choosing import our_product
from imagesync_pipelines.sync.job_runs import job_words
from imagesync_pipelines.sync.plan_rows import changing_rows, excluded_since, newer_plans, plan_lines, stale_by
from imagesync_pipelines.sync.timeline import called, groups_about, lines_of

SHOWN = 40


@click.command("plan")
@click.argument("plan_id", type=int, required=False)
@click.option("--connector", "--room", "connector", default=DEFAULT_SOURCE, show_default=True, help="whose last plan")
def plan(plan_id: int | None, connector: str) -> None:
    """Print the last plan (or plan PLAN_ID): its numbers and the first rows that change, removals first.

    Products are called as on the pages; what a newer plan judges otherwise says so.
    """
    with runs.opened() as (installation, _):
        plans = stored.Plans(installation.engine, installation.storage)
        found = plans.header(plan_id) if plan_id is not None else next(iter(plans.newest(1, connector)), None)
        if found is None:
            raise click.ClickException(f"{connector} has no plan yet; make one with --dry-run")
        rows = plans.load(found.id)
        declared = next((one for one in connectors() if one.name == found.connector), None)
        changes, stale = changing_rows(rows), stale_by(plans, found, newer_plans(plans, found), rows)
        stale = {**excluded_since(installation.engine, found, declared, rows), **stale}
        place = (installation.engine, installation.storage)
        lines = plan_lines(*place, found, declared, changes.head(SHOWN), stale)
        words = words_of(installation.engine, found.id)
    click.secho(f"plan {found.id} of {found.connector}, made {found.created_at:%Y-%m-%d %H:%M:%S %Z}", bold=True)
    print_plan_line(found)
    for word in words:
        said = f": {word.comment}" if word.comment else ""
        click.echo(f"  {word.word} by {word.said_by}, {word.said_at:%Y-%m-%d %H:%M %Z}{said}")
    if lines:
        title = f"the first {len(lines)} of {len(changes)} rows that change"
        told = [
            (
                one.change,
                one.product,
                one.shown.image,
                one.shown.size,
                f"refused now: {one.stale}" if one.stale else one.reason,
            )
            for one in lines
        ]
        print_table(title, ["change", "product", "picture", "size", "reason"], told)


@click.command("apply")
@click.argument("plan_id", type=int, metavar="PLAN")
@click.option("--replan", is_flag=True, help="plan products again that moved since, instead of refusing them")
@click.pass_context
def apply(context: click.Context, plan_id: int, replan: bool) -> None:
    """Apply the stored plan PLAN (its number is printed by a dry run and by `imagesync plan`).

    What it shows as held back by the deletion limits is carried out too: naming the plan is a person's word.
    """
    with progress_bars() as progress:
        outcome = runs.apply_plan(plan_id, replan=replan, progress=progress, person=getpass.getuser())
    context.exit(print_outcome(outcome))


@click.command("history")
@click.argument("what", metavar="[SKU|RUN]", default="")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="how many runs, or products")
@click.option("--connector", "--room", "connector", help="of this connector only")
@click.option("--image", default="", help="with a SKU or a run: only what was done to the picture that is called so")
def history(what: str, limit: int, connector: str | None, image: str) -> None:
    """Print past runs: when, how they ended, what they changed.

    With a SKU: all that was done to the pictures of that product, in every system. With a run, or the beginning of its
    id: all that it did.
    """
    if image and not what:
        raise click.UsageError("--image: name the SKU of its product too")
    if what:
        told_of(what, limit, connector, image)
        return
    with runs.opened() as (_, instance):
        lines = read_history(instance, limit=limit, connector=connector)
    titles = {one.name: one.title for one in connectors()}
    columns = ["run", "what", "status", "started", "seconds", "added", "updated", "deleted", "products"]
    rows = []
    for line in lines:
        started = line.started.astimezone().strftime("%Y-%m-%d %H:%M") if line.started else ""
        seconds = round((line.completed - line.started).total_seconds(), 1) if line.started and line.completed else None
        of = "/".join(filter(None, (titles.get(line.connector or "", ""), line.partition)))
        about = (line.run_id[:8], "\n".join(filter(None, (job_words(line.job), of))), line.status, started, seconds)
        rows.append((*about, line.added, line.updated, line.deleted, line.products_affected))
    print_table(f"the last {len(rows)} runs", columns, rows, whole=("run", "status", "started"))
    for line in lines:
        if line.error:
            click.echo(f"  {line.run_id[:8]}: {line.error}")


def told_of(what: str, limit: int, connector: str | None, image: str = "") -> None:
    """Print what was done to a product or by a run, the newest first. Raises ClickException for what is neither.

    image: only what was done to this picture.
    """
    names = set[str]()
    with runs.opened() as (place, _):
        engine = place.engine
        # A picture of a product is looked for among all that was done to that one.
        effects = _effects_of_product(engine, what, None if image else limit, connector)
        title, is_newest = f"what was done to {what}", effects is not None
        names = called(effects, image) if image and effects is not None else names
        if effects is None:
            found = runs_beginning(engine, what)
            if len(found) > 1:
                raise click.ClickException(f"several runs begin with {what}: {', '.join(sorted(found)[:5])}")
            if not found:
                raise click.ClickException(
                    f"{what} is neither the SKU of a product nor a run that changed an image in the last "
                    f"{place.settings.undo_days} days (IMAGESYNC_UNDO_DAYS)"
                )
            ((run, groups),) = found.items()
            title = f"what run {run} did, in {groups} products"
            if image:
                effects, names = effects_on_picture(engine, run, image, limit)
            else:
                effects = effects_of_run(engine, run, limit)
        # With what is there now the newest lines say what came of them; those of a run may be followed by others.
        ours = {one.name for one in connectors() if one.groups_of is our_product}
        ids = {int(one.group) for one in effects if one.connector in ours}
        with engine.connect() as connection:
            named = connection.execute(sa.select(product.c.id, product.c.sku).where(among(product.c.id, ids)))
            skus = {str(row.id): row.sku for row in named}
            now = images_now(connection, ids) if is_newest else {}
    click.secho(title, bold=True)
    lines = [line for line in lines_of(effects, now) if not image or line.image in names]
    for line in lines[:limit] if image else lines:
        at = line.at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if line.at else ""
        of = f"{line.connector}/{line.account}" if line.account else line.connector
        name = skus.get(line.group, line.group) if line.connector in ours else line.group
        click.echo(f"{at}  {line.who}  {of} {name}: picture {line.image} {line.what}")
        pictures = f"{line.before or 'nothing'} → {line.after or 'nothing'}: " if line.before or line.after else ""
        click.echo(f"    {pictures}{line.why}")
        if line.lost:
            click.echo(f"    it cannot be brought back: {line.lost}")


def _effects_of_product(
    engine: sa.Engine, sku: str, limit: int | None, connector: str | None
) -> Sequence[Effect] | None:
    """The newest effects on the products with a SKU; None when there is none."""
    chosen = [one for one in connectors() if connector in (None, one.name)]
    with engine.connect() as connection:
        products = connection.scalars(sa.select(product.c.id).where(product.c.sku == sku)).all()
        groups = [group for one in products for group in groups_about(connection, chosen, one, sku)]
        return effects_about(connection, list(dict.fromkeys(groups)), limit=limit) if products else None
