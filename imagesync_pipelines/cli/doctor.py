"""`imagesync doctor`: what is wrong with this installation and the systems around it, a line each."""

import json

import click

from imagesync_pipelines.cli.output import say
from imagesync_pipelines.defs.doctor import look, nothing_is_set_up
from imagesync_pipelines.languages import N_, retold
from imagesync_pipelines.registry import CONNECTORS
from imagesync_pipelines.sync.health import EXIT_CODES, State, worst

_COLOURS = {State.FINE: "green", State.OFF: "bright_black", State.WARNING: "yellow", State.UNKNOWN: "yellow"}
_MARK_WIDTH = 11
_NEXT = N_("""Nothing is set up yet, and nothing is wrong. What comes next:
  imagesync demo    shows everything on made-up systems, which are started here
  .env              copy .env.example, and name your systems there (docs/getting-started.md)
  imagesync doctor  then says of each of them whether it answers""")


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of lines; for monitoring")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Look at every upstream, database, bucket, account and store, and say what to do; nothing is changed.

    Each system is asked once: whether it answers and lets us in, whose account it is, how its clock goes, how much
    space is left. Ends with 0 when nothing is wrong, 1 when something is, 2 when something could not be checked, 3 when
    there are warnings only.
    """
    found = look()
    state = worst(found)
    if as_json:
        findings = [one._asdict() for one in found]
        click.echo(json.dumps({"state": state, "exit_code": EXIT_CODES[state], "findings": findings}, indent=1))
        context.exit(EXIT_CODES[state])
    # A connector is called `folder` in every language.
    parts = [one.part if one.part in CONNECTORS else retold(one.part) for one in found]
    marks = {one: retold(one) for one in State}
    widest, mark_width = max(map(len, parts)), max(_MARK_WIDTH, *map(len, marks.values()))
    for part, one in zip(parts, found, strict=True):
        mark = click.style(f"{marks[one.state]:<{mark_width}}", fg=_COLOURS.get(one.state, "red"))
        say(f"{mark}  {part:<{widest}}  {retold(one.check)}: {retold(one.said)}")
        if one.todo:
            say(f"{'':<{widest + mark_width + 4}}→ {retold(one.todo)}")
    if nothing_is_set_up(found) and state in (State.FINE, State.OFF):
        say(f"\n{retold(_NEXT)}")
    context.exit(EXIT_CODES[state])
