"""`imagesync alert …`: The messages that tell people what went wrong: try them, and see what waits."""

import socket

import click

from imagesync_pipelines.cli.output import print_table, say
from imagesync_pipelines.languages import _, ngettext, pgettext, retold, told
from imagesync_pipelines.settings import Settings, SettingsError, load_settings


@click.command("test")
@click.pass_context
def test(context: click.Context) -> None:
    """Send a message to every target of IMAGESYNC_ALERT_URLS and say of each whether it went out.

    The exit code is 1 when one of them was not reached. No daemon and no database is needed.
    """
    from imagesync_pipelines.defs.alerts import send_each

    settings = load_settings(Settings)
    if not settings.alert_urls:
        raise SettingsError(
            "IMAGESYNC_ALERT_URLS: empty, so nobody is told of anything; name targets as apprise writes them, such as "
            "mailtos://user:password@mail.example.com?to=you@example.com"
        )
    body = told(f"Sent by `imagesync alert test` on {socket.gethostname()}. Alerts of imagesync arrive here.")
    outcomes = send_each(settings.alert_urls, told("imagesync: a test"), body, True)
    for name, problem in outcomes:
        say(problem or _("{target}: sent").format(target=retold(name)), fg="red" if problem else "green")
    context.exit(1 if any(problem for _, problem in outcomes) else 0)


@click.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_alerts(limit: int) -> None:
    """Print what was told and is not over, and what waits to be sent."""
    from imagesync_pipelines.storage.alerts import kept_alerts
    from imagesync_pipelines.storage.installation import open_installation

    with open_installation() as place:
        found = kept_alerts(place.engine)
    rows = [
        (
            f"{one.noted_at:%Y-%m-%d %H:%M}",
            "/".join(part for part in (one.connector, one.partition) if part),
            retold(one.title).removeprefix("imagesync: "),
            one.more,
            f"{one.sent_at:%Y-%m-%d %H:%M}" if one.sent_at else "",
            f"{one.due_at:%Y-%m-%d %H:%M}" if one.due_at else "",
        )
        for one in found[:limit]
    ]
    columns = (
        _("last at"),
        pgettext("whose", "of"),
        _("what"),
        pgettext("how often again", "more"),
        _("sent"),
        _("waits until"),
    )
    title = ngettext("{n} alert", "{n} alerts", len(found)).format(n=len(found))
    print_table(title, columns, rows)
