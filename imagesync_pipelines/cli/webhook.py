"""`imagesync webhook …`: Receivers that are told of changes: signed messages, purges of CDNs, pages made anew."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from imagesync_pipelines.cli.output import print_table, retell, say
from imagesync_pipelines.languages import _, ngettext, pgettext, retold
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.subscriptions import NewSubscription
from imagesync_pipelines.upstream.purging import FORMS
from imagesync_pipelines.web.webhooks_out import delivering, managing, rules
from imagesync_pipelines.web.webhooks_out.delivering import Sender

_NAME = click.argument("name")
_SECRET = click.option(
    "--secret", default="", metavar="env:NAME", help="the variable that holds its secret, IMAGESYNC_WEBHOOK_…"
)
_OF_ALL = "may be repeated; without it all"


@contextmanager
def _sender() -> Iterator[Sender]:
    with open_installation() as place:
        yield managing.sender_of(place)


@click.command("add")
@_NAME
@click.option("--url", default="", help="the address that is told; that of a CDN's API is known")
@click.option("--form", type=click.Choice(list(FORMS)), default="standard", show_default=True, help="what is sent")
@click.option(
    "--connector",
    "connectors",
    multiple=True,
    help="changes of this one's images; may be repeated; without it image_db's and folder's",
)
@click.option("--event", "events", type=click.Choice(rules.EVENTS), multiple=True, help=_OF_ALL)
@click.option("--sku", "skus", multiple=True, metavar="PATTERN", help=f"such as 'A-1*'; {_OF_ALL}")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="what its form needs, such as zone=…")
@_SECRET
def add(
    name: str,
    url: str,
    form: str,
    connectors: tuple[str, ...],
    events: tuple[str, ...],
    skus: tuple[str, ...],
    options: tuple[str, ...],
    secret: str,
) -> None:
    """Tell a receiver of every change from now on; a secret that is made is shown this once."""
    given = dict(one.partition("=")[::2] for one in options)
    with _sender() as sender:
        made = managing.add(sender, NewSubscription(name, form, url, secret, connectors, events, skus, given))
    say(_("{name} is told of changes from now on").format(name=name))
    _print_todo(made.todo)


@click.command("list")
def list_webhooks() -> None:
    """Print every receiver, how far it is, and what is wrong with it."""
    with _sender() as sender:
        found = subscriptions.every(sender.engine)
        rows = [
            (
                one.name,
                one.form,
                managing.shown_address(one.url, whole=True),
                retold(managing.wanted_by(one)),
                retold(managing.state_of(one)),
                one.cursor,
                subscriptions.behind(sender.engine, one),
                f"{one.delivered_at:%Y-%m-%d %H:%M %Z}" if one.delivered_at else _("never"),
            )
            for one in found
        ]
    columns = (
        _("name"), _("form"), _("address"), _("wants"), _("state"), _("event"), pgettext("so many events", "behind"),
        _("last accepted"),
    )  # fmt: skip
    print_table(ngettext("{n} webhook", "{n} webhooks", len(found)).format(n=len(found)), columns, rows)


@click.command("pause")
@_NAME
def pause(name: str) -> None:
    """Send it nothing until it is resumed; what happens meanwhile is kept."""
    with _sender() as sender:
        subscriptions.pause(sender.engine, name, managing.PAUSED)
    say(_("{name} is paused").format(name=name))


@click.command("resume")
@_NAME
def resume(name: str) -> None:
    """Go on where it was, at once; also after it was disabled."""
    with _sender() as sender:
        said = managing.resume(sender, name)
    say(_("{name} goes on").format(name=name) + retold(said))


@click.command("rotate")
@_NAME
@_SECRET
@click.option("--hours", type=click.FloatRange(min=0), help="how long the old one signs too")
def rotate(name: str, secret: str, hours: float | None) -> None:
    """Sign with another secret from now on, and with the old one too for a while."""
    with _sender() as sender:
        made = managing.rotate(sender, name, secret, hours)
    variable = made.subscription.secret.removeprefix("env:")
    say(_("{name} is signed with {variable} from now on").format(name=name, variable=variable))
    _print_todo(made.todo)


@click.command("log")
@_NAME
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def log(name: str, limit: int) -> None:
    """Print what was sent to it, the newest first, and what came of it."""
    with _sender() as sender:
        found = subscriptions.log_of(sender.engine, subscriptions.named(sender.engine, name), limit)
    columns = (
        _("event"), _("product"), pgettext("when", "at"), _("attempt"), _("status"), _("seconds"), _("message"),
        _("said"),
    )  # fmt: skip
    rows = [
        (
            _("test") if one.event_id is None else one.event_id,
            one.sku,
            f"{one.at:%Y-%m-%d %H:%M:%S %Z}",
            one.attempt,
            _("accepted") if one.accepted and one.status is None else one.status,
            one.seconds,
            one.message_id,
            one.said and retold(one.said),
        )
        for one in found
    ]
    title = ngettext("the last {n} delivery to {name}", "the last {n} deliveries to {name}", len(found))
    print_table(title.format(n=len(found), name=name), columns, rows)


@click.command("replay")
@_NAME
@click.option("--from", "first", required=True, metavar="EVENT", help="number of an event, or the moment of a change")
def replay(name: str, first: str) -> None:
    """Send everything again from an event on, in order; each message has the id that it had."""
    with _sender() as sender:
        ahead = subscriptions.replay(sender.engine, name, managing.first_of(sender, first))
    said = ngettext(
        "{name} goes on at event {event}: {n} events are looked at again",
        "{name} goes on at event {event}: {n} events are looked at again",
        ahead,
    )
    say(said.format(name=name, event=first, n=ahead))


@click.command("test")
@_NAME
@click.pass_context
def test(context: click.Context, name: str) -> None:
    """Send it one message that says that it is a test; the exit code is 1 where it is not accepted."""
    with _sender() as sender:
        outcome = managing.test(sender, name)
    accepted = _("accepted (HTTP {status})").format(status=outcome.status)
    say(f"{name}: {retold(outcome.said) if outcome.said else accepted}")
    context.exit(1 if outcome.said else 0)


@click.command("remove")
@_NAME
def remove(name: str) -> None:
    """Tell it nothing any more, and forget its log."""
    with _sender() as sender:
        managing.remove(sender, name)
    say(_("{name} is removed").format(name=name))


@click.command("deliver")
@click.option("--seconds", type=click.FloatRange(min=0), default=600, show_default=True, help="the longest it works")
def deliver(seconds: float) -> None:
    """Tell receivers now, without waiting for Dagster's daemon to start it."""
    with _sender() as sender:
        retell(f"{delivering.deliver(sender, seconds)}")


def _print_todo(sentences: Sequence[str]) -> None:
    for one in sentences:
        retell(one)
