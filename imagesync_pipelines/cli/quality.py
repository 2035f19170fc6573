"""`imagesync quality`: how good the main pictures are, by the rules of marketplaces."""

import getpass
import json

import click
import sqlalchemy as sa

from imagesync_pipelines.cli.output import EXIT_CODES, confirm, print_outcome, print_table, progress_bars, retell, say
from imagesync_pipelines.defs import runs
from imagesync_pipelines.languages import _, ngettext, pgettext, retold, told
from imagesync_pipelines.products import pins_by_rule
from imagesync_pipelines.quality import alike, queries, running
from imagesync_pipelines.quality.better import better_mains
from imagesync_pipelines.quality.queries import Asked
from imagesync_pipelines.quality.rules import REFUSED, SEVERITIES, TO_DO, RuleSet, read_rules
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.installation import open_installation

_STEPS, _SUGGESTIONS, _AT_ONCE = 10, 50, 1_000


@click.command("quality")
@click.argument("action", type=click.Choice(["measure", "alike", "better"]), required=False)
@click.option("--worst", type=click.IntRange(min=1), metavar="N", help="the worst N pictures with why, instead")
@click.option("--channel", default="", metavar="CONNECTOR[/ACCOUNT]", help="of this connector or account only")
@click.option("--rule-set", default="", metavar="ID", help="by this rule set only, e.g. amazon")
@click.option("--rule", default="", metavar="ID", help="with --worst: pictures that break this rule")
@click.option("--apply", is_flag=True, help="with better: make these pins after asking, in your name")
@click.option("--yes", is_flag=True, help="with --apply: do not ask; for scripts")
@click.option("--dismiss", nargs=2, metavar="SHA256 SHA256", help="with alike: dismiss what is said of the two")
@click.option("--dismissed", is_flag=True, help="with alike: what people dismissed, instead")
@click.option(
    "--restore", nargs=2, metavar="SHA256 SHA256", help="with alike: suggest again what was dismissed of the two"
)
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of lines")
@click.pass_context
def quality(
    context: click.Context,
    action: str | None,
    worst: int | None,
    channel: str,
    rule_set: str,
    rule: str,
    apply: bool,
    yes: bool,
    dismiss: tuple[str, str] | None,
    dismissed: bool,
    restore: tuple[str, str] | None,
    as_json: bool,
) -> None:
    """Print how the main pictures of every channel stand, where that goes, and what to do next.

    A score of 50 or less: the marketplace refuses the picture. See docs/quality.md for the rules. `imagesync quality
    measure` looks first at what the channels show now: it measures the pictures that changed, judges, and compares.
    `alike` lists where the same picture stands in several places, `better` the products of which another picture would
    be the better main one.
    """
    if ((apply or yes) and action != "better") or ((dismiss or dismissed or restore) and action != "alike"):
        raise click.UsageError(
            "--apply belongs to `imagesync quality better`, --dismiss, --dismissed and --restore to "
            "`imagesync quality alike`"
        )
    if dismiss and restore:
        raise click.UsageError("--dismiss and --restore are two commands")
    if dismiss or restore:
        _say_of_alike(dismiss, restore, as_json=as_json)
        return
    if action == "alike":
        _alike(dismissed=dismissed, as_json=as_json)
        return
    if action == "better":
        if apply and as_json and not yes:
            raise click.UsageError("--apply with --json wants --yes: nobody is asked")
        _better(apply=apply, yes=yes, as_json=as_json)
        return
    run = _measure() if action else None
    code = EXIT_CODES[run.status] if run is not None else 0
    if run is not None and not as_json:
        print_outcome(run)
    known, problems = read_rules(load_settings(QualitySettings))
    if rule_set and rule_set not in known:
        raise click.ClickException(f"there is no rule set {rule_set}; there are {', '.join(sorted(known))}")
    if rule and not any(one.rule(rule) for one in known.values()):
        raise click.ClickException(told(f"no rule set has a rule {rule!r}; docs/quality.md has them all"))
    connector, _slash, account = channel.partition("/")
    if connector:
        try:
            connector_named(connector)
        except LookupError as error:
            raise click.ClickException(str(error)) from None
    asked = Asked(rule_set, connector, account, rule=rule)
    with open_installation() as place, place.engine.connect() as connection:
        if worst or rule:
            shown = _pictures(connection, known, asked, worst or _STEPS, as_json=as_json)
        else:
            shown = _summary(connection, known, asked, as_json=as_json)
    if as_json:
        ended = {"run": {"id": run.run_id, "status": run.status, "error": run.error, **run.summary}} if run else {}
        click.echo(json.dumps({**ended, **shown, "problems": problems}, indent=1, default=str))
    elif run is None:
        for problem in problems:
            say(_("warning: {warning}").format(warning=retold(problem)), fg="yellow")
    context.exit(code)


def _say_of_alike(dismissed: tuple[str, str] | None, restored: tuple[str, str] | None, *, as_json: bool) -> None:
    """Dismiss what is said of two pictures, or suggest it again."""
    with open_installation() as place, place.engine.begin() as connection:
        if dismissed and not alike.dismiss(connection, *dismissed, getpass.getuser()):
            raise click.ClickException("nothing is suggested of these two, or somebody dismissed it before")
        if restored and not alike.restore(connection, *restored):
            raise click.ClickException("nobody dismissed what is said of these two, or it is suggested again already")
    stays = told("Dismissed; it stays so until one of the two is another picture, or until --restore.")
    said = stays if dismissed else told("It is suggested again.")
    if as_json:
        click.echo(json.dumps({"said": said}))
    else:
        retell(said)


def _alike(*, dismissed: bool, as_json: bool) -> None:
    """Print what is suggested, or what was dismissed."""
    with open_installation() as place, place.engine.connect() as connection:
        found, after = alike.suggestions(connection, limit=_SUGGESTIONS, dismissed=dismissed)
    if as_json:
        names = ("kind", "sentence", "sha256", "other_sha256", "dismissed_by", "dismissed_at")
        shown = [{name: getattr(one, name) for name in names} for one in found]
        click.echo(json.dumps({"suggestions": shown, "more": after is not None}, indent=1, default=str))
        return
    for one in found:
        by = " " + _("Dismissed by {person}.").format(person=one.dismissed_by) if one.dismissed_by else ""
        option = "--restore" if one.dismissed_by else "--dismiss"
        say(f"{retold(one.sentence)}{by}")
        say(f"       {option} {one.sha256} {one.other_sha256}")
    none = _("Nothing was dismissed.") if dismissed else _("Nothing is suggested.")
    say(_("There are more.") if after else _("That is all.") if found else none)


def _better(*, apply: bool, yes: bool, as_json: bool) -> None:
    """Print the plan of pins that quality proposes; carry out exactly this plan when asked to.

    What a person pinned is left alone, and counted.
    """
    with open_installation() as place:
        plan = _better_pins(place.engine)
        pins = [(choice.sku, choice.before, choice.after, why) for choice, why in plan if not choice.pinned_by]
        pinned = len(plan) - len(pins)
        if not as_json:
            for sku, before, after, why in pins:
                said = _("{sku}: picture {after} instead of {before}, because {why}.")
                say(said.format(sku=sku, after=after, before=before, why=retold(why)))
            if pinned:
                said = ngettext(
                    "{n} more have a picture that a person chose, and are left alone.",
                    "{n} more have a picture that a person chose, and are left alone.",
                    pinned,
                )
                say(said.format(n=pinned))
        if apply and pins and not yes:
            question = ngettext(
                "Choose the primary pictures of {n} products", "Choose the primary pictures of {n} products", len(pins)
            )
            confirm(question.format(n=len(pins)))
        pairs = ((one.product_id, one.before, one.after, one.stamp) for one, _why in plan if not one.pinned_by)
        done, moved = pins_by_rule.carry_out(place.engine, pairs, getpass.getuser()) if apply else (0, 0)
    if as_json:
        shown = [dict(zip(("sku", "before", "after", "because"), pin, strict=True)) for pin in pins]
        click.echo(json.dumps({"pins": shown, "made": done, "left": moved, "pinned": pinned}, indent=1))
        return
    if not apply:
        say(_("Nothing was changed; --apply makes these pins.") if pins else _("No better picture is known."))
        return
    ended = _("Primary pictures chosen: {n}.").format(n=done)
    if moved:
        left = ngettext(
            "{n} changed meanwhile and were left alone.", "{n} changed meanwhile and were left alone.", moved
        )
        ended += " " + left.format(n=moved)
    say(ended)


def _better_pins(engine: sa.Engine) -> list[tuple[pins_by_rule.Choice, str]]:
    """What would be pinned, and why, of all refused products; some at a time are looked at."""
    known, _problems = read_rules(load_settings(QualitySettings))
    with engine.connect() as connection:
        refused = connection.scalars(running.products_refused().distinct()).all()
    plan = []
    for start in range(0, len(refused), _AT_ONCE):
        with engine.connect() as connection:
            better = better_mains(connection, known, refused[start : start + _AT_ONCE])
        chosen = {product_id: one.after for product_id, one in better.items()}
        choices = pins_by_rule.plan_choices(engine, list(chosen), pins_by_rule.BETTER, chosen)
        plan += [(one, better[one.product_id].why) for one in choices if not one.why]
    return sorted(plan, key=lambda pin: (pin[0].sku, pin[0].product_id))


def _measure() -> runs.RunOutcome:
    """Run the job, and give how it ended."""
    with progress_bars() as progress:
        return runs.measure_quality(progress=progress, person=getpass.getuser())


def _pictures(
    connection: sa.Connection, known: dict[str, RuleSet], asked: Asked, count: int, *, as_json: bool
) -> dict[str, object]:
    found, _more = queries.pictures(connection, known, asked, limit=count)
    if not as_json:
        print_pictures(found, known)
    return {"pictures": [queries.as_json(one) for one in found]}


def print_pictures(found: list[queries.JudgedPicture], known: dict[str, RuleSet]) -> None:
    """Print pictures with their score and why."""
    if not found:
        say(_("No picture of these was judged."))
    for one in found:
        place, name = one.place, f" {one.name}" if one.name else ""
        by = known[place.rule_set].name if place.rule_set in known else place.rule_set
        colour = "red" if place.score <= REFUSED else "yellow" if one.why else "green"
        score = click.style(f"{place.score:>3}", fg=colour)
        say(f"{score}  {place.code}{name} ({_channel(place.connector, place.account)}, {retold(by)})")
        for why in one.why:
            say(f"       {retold(SEVERITIES[why.severity])}: {retold(why.sentence)}")
        if one.not_looked_at:
            what = ", ".join(map(retold, one.not_looked_at))
            say("       " + _("not looked at: {what}").format(what=what))


def _summary(connection: sa.Connection, known: dict[str, RuleSet], asked: Asked, *, as_json: bool) -> dict[str, object]:
    def is_asked(connector: str, account: str) -> bool:
        return asked.connector in ("", connector) and asked.account in ("", account)

    channels = [
        one
        for one in queries.summary(connection)
        if asked.rule_set in ("", one.rule_set) and is_asked(one.connector, one.account)
    ]
    steps = [
        one
        for one in queries.what_next(connection, known, asked.connector, asked.account)
        if asked.rule_set in ("", one.rule_set)
    ]
    missing = [one for one in queries.not_measured(connection) if is_asked(one.connector, one.account)]
    if not as_json:
        print_summary(channels, steps, missing)
    return {
        "channels": [
            one._asdict() | {"now": one.now._asdict(), "before": one.before and one.before._asdict()}
            for one in channels
        ],
        "to_do": [one._asdict() | {"title": TO_DO[one.to_do]} for one in steps],
        "not_measured": [one._asdict() for one in missing],
    }


def print_summary(
    channels: list[queries.ChannelScore], steps: list[queries.Step], missing: list[queries.NotMeasured]
) -> None:
    """Print how channels stand, and what to do next."""
    if not channels:
        say(_("No main picture was judged yet."))
    else:
        columns = (
            _("channel"), pgettext("whose", "of"), pgettext("the rules of", "by"), _("score"), _("before"),
            _("refused"), _("pictures"),
        )  # fmt: skip
        rows = [
            (
                _channel(one.connector, one.account), retold(one.kind), one.rule_set, round(one.now.score, 1),
                one.before and round(one.before.score, 1), one.now.failing, one.now.pictures,
            )
            for one in channels
        ]  # fmt: skip
        print_table(_("Main pictures, judged on {day}").format(day=channels[0].now.day), columns, rows)
    if steps:
        told_steps = [(retold(TO_DO[one.to_do]), one.rule_set, one.frees, one.listings) for one in steps[:_STEPS]]
        of_steps = (_("what"), pgettext("the rules of", "by"), _("frees"), _("listings"))
        print_table(_("What to do next"), of_steps, told_steps)
    for one in missing:
        said = ngettext(
            "{channel}: {n} main pictures are not measured",
            "{channel}: {n} main pictures are not measured",
            one.pictures,
        )
        if one.failed:
            said = ngettext(
                "{channel}: {n} main pictures are not measured; {failed} could not be, e.g. {problem}",
                "{channel}: {n} main pictures are not measured; {failed} could not be, e.g. {problem}",
                one.pictures,
            )
        channel, problem = _channel(one.connector, one.account), retold(str(one.problem))
        say(said.format(channel=channel, n=one.pictures, failed=one.failed, problem=problem))


def _channel(connector: str, account: str) -> str:
    return f"{connector}/{account}" if account else connector
