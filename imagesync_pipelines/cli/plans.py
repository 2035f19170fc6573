"""`imagesync plan`, `apply` and `history`: what is about to change, doing it later, and what runs changed."""

import getpass
from collections.abc import Sequence

import click
import sqlalchemy as sa

from imagesync_pipelines.cli.output import print_outcome, print_plan_line, print_table, progress_bars, say
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history as read_history
from imagesync_pipelines.languages import _, ngettext, retold
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
    with runs.opened() as (installation, _instance):
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
    made = f"{found.created_at:%Y-%m-%d %H:%M:%S %Z}"
    say(_("plan {id} of {connector}, made {at}").format(id=found.id, connector=found.connector, at=made), bold=True)
    print_plan_line(found)
    for word in words:
        comment = f": {word.comment}" if word.comment else ""
        said = _("{word} by {person}, {at}")
        at = f"{word.said_at:%Y-%m-%d %H:%M %Z}"
        say("  " + said.format(word=retold(word.word), person=word.said_by, at=at) + comment)
    if lines:
        title = ngettext(
            "the first {shown} of {n} rows that change", "the first {shown} of {n} rows that change", len(changes)
        )
        rows_shown = [
            (
                retold(one.change),
                one.product,
                one.shown.image,
                one.shown.size,
                _("refused now: {why}").format(why=retold(one.stale)) if one.stale else retold(one.reason),
            )
            for one in lines
        ]
        columns = [_("change"), _("product"), _("picture"), _("size"), _("reason")]
        print_table(title.format(shown=len(lines), n=len(changes)), columns, rows_shown)


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
    with runs.opened() as (_place, instance):
        lines = read_history(instance, limit=limit, connector=connector)
    titles = {one.name: one.title for one in connectors()}
    columns = [
        _("run"), _("what"), _("status"), _("started"), _("seconds"), _("added"), _("updated"), _("deleted"),
        _("products"),
    ]  # fmt: skip
    rows = []
    for line in lines:
        started = line.started.astimezone().strftime("%Y-%m-%d %H:%M") if line.started else ""
        seconds = round((line.completed - line.started).total_seconds(), 1) if line.started and line.completed else None
        of = "/".join(filter(None, (retold(titles.get(line.connector or "", "")), line.partition)))
        what_ran = "\n".join(filter(None, (retold(job_words(line.job)), of)))
        about = (line.run_id[:8], what_ran, retold(line.status.replace("_", " ")), started, seconds)
        rows.append((*about, line.added, line.updated, line.deleted, line.products_affected))
    title = ngettext("the last {n} run", "the last {n} runs", len(rows)).format(n=len(rows))
    print_table(title, columns, rows, whole=(_("run"), _("status"), _("started")))
    for line in lines:
        if line.error:
            say(f"  {line.run_id[:8]}: {retold(line.error)}")


def told_of(what: str, limit: int, connector: str | None, image: str = "") -> None:
    """Print what was done to a product or by a run, the newest first. Raises ClickException for what is neither.

    image: only what was done to this picture.
    """
    names = set[str]()
    with runs.opened() as (place, _instance):
        engine = place.engine
        # A picture of a product is looked for among all that was done to that one.
        effects = _effects_of_product(engine, what, None if image else limit, connector)
        title, is_newest = _("what was done to {what}").format(what=what), effects is not None
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
            title = ngettext("what run {run} did, in {n} product", "what run {run} did, in {n} products", groups)
            title = title.format(run=run, n=groups)
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
    say(title, bold=True)
    lines = [line for line in lines_of(effects, now) if not image or line.image in names]
    for line in lines[:limit] if image else lines:
        at = line.at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if line.at else ""
        of = f"{line.connector}/{line.account}" if line.account else line.connector
        name = skus.get(line.group, line.group) if line.connector in ours else line.group
        done = _("picture {image} {what}").format(image=line.image, what=retold(line.what))
        say(f"{at}  {retold(line.who)}  {of} {name}: {done}")
        before, after = (retold(one) if one else _("nothing") for one in (line.before, line.after))
        pictures = f"{before} → {after}: " if line.before or line.after else ""
        say(f"    {pictures}{retold(line.why)}")
        if line.lost:
            say("    " + _("it cannot be brought back: {why}").format(why=retold(line.lost)))


def _effects_of_product(
    engine: sa.Engine, sku: str, limit: int | None, connector: str | None
) -> Sequence[Effect] | None:
    """The newest effects on the products with a SKU; None when there is none."""
    chosen = [one for one in connectors() if connector in (None, one.name)]
    with engine.connect() as connection:
        products = connection.scalars(sa.select(product.c.id).where(product.c.sku == sku)).all()
        groups = [group for one in products for group in groups_about(connection, chosen, one, sku)]
        return effects_about(connection, list(dict.fromkeys(groups)), limit=limit) if products else None
