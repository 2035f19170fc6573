"""`imagesync moysklad …`: Requests for the МойСклад connector: which entities are to be synchronised soon."""

from datetime import UTC, datetime
from typing import BinaryIO

import click

from imagesync_pipelines import logs
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import EXIT_CODES, print_table, say
from imagesync_pipelines.connectors.moysklad.accounts import moysklad_accounts
from imagesync_pipelines.connectors.moysklad.incoming import names_of, open_receiver, read_payloads
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, State, UnreadableRequest
from imagesync_pipelines.connectors.moysklad.settings import MoyskladWebhookSettings
from imagesync_pipelines.defs.runs import Status
from imagesync_pipelines.errors import BadBodyError
from imagesync_pipelines.languages import N_, _, ngettext, retold, told
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.web import service
from imagesync_pipelines.web.webhooks.app import build_app

LOOPBACK = "127.0.0.1"
REASONS_SHOWN = 20
_STATES = {
    State.PENDING: N_("pending"),
    State.RUNNING: N_("running"),
    State.DONE: N_("done"),
    State.FAILED: N_("failed"),
    State.SET_ASIDE: N_("set aside"),
}


@click.command("enqueue")
@click.argument("file", type=click.File("rb"), default="-")
@click.pass_context
def enqueue(context: click.Context, file: BinaryIO) -> None:
    """Queue the requests in FILE (default: standard input): JSON, one payload, an array, or one per line."""
    names = names_of(moysklad_accounts(load_accounts(load_settings(Settings))))
    try:
        requests = read_payloads(file.read(), names)
    except BadBodyError as error:
        raise click.ClickException(str(error)) from None
    with open_installation() as place:
        Queue(place.engine).add(requests, datetime.now(UTC))
    aside = [request for request in requests if isinstance(request, UnreadableRequest)]
    queued = sum(isinstance(request, NewRequest) for request in requests)
    said = ngettext("{n} request queued, {aside} set aside", "{n} requests queued, {aside} set aside", queued)
    say(said.format(n=queued, aside=len(aside)))
    reasons = [_("set aside: {reason}").format(reason=retold(request.reason)) for request in aside]
    reasons += [retold(request.note) for request in requests if isinstance(request, NewRequest) and request.note]
    for reason in reasons[:REASONS_SHOWN]:
        say(f"  {reason}", fg="yellow")
    if len(reasons) > REASONS_SHOWN:
        say("  " + _("and {n} more").format(n=len(reasons) - REASONS_SHOWN), fg="yellow")
    context.exit(EXIT_CODES[Status.PARTIAL if aside else Status.COMPLETED])


@click.command("queue")
def queue() -> None:
    """Print how many requests wait, failed or were set aside, and the newest errors."""
    with open_installation() as place:
        view = Queue(place.engine).view()
    rows = [
        (child or _("(nobody's)"), *(numbers.get(state, 0) for state in State))
        for child, numbers in view.counts.items()
    ]
    waiting, failed = view.total(State.PENDING), view.total(State.FAILED)
    columns = (_("account"), *(retold(_STATES[state]) for state in State))
    title = ngettext("{n} request waits, {failed} failed", "{n} requests wait, {failed} failed", waiting)
    print_table(title.format(n=waiting, failed=failed), columns, rows)
    if view.errors:
        wrong = [
            (one.id, one.child, one.entity, retold(_STATES[State(one.state)]), one.attempts,
             f"{one.changed_at:%Y-%m-%d %H:%M}", one.error and retold(one.error))
            for one in view.errors
        ]  # fmt: skip
        columns = ("id", _("account"), _("entity"), _("state"), _("attempts"), _("when"), _("error"))
        print_table(_("Newest errors"), columns, wrong)


@click.command("webhooks")
@click.option("--host", default=LOOPBACK, show_default=True, help="address to listen on; put a TLS proxy in front")
@click.option("--port", type=click.IntRange(1, 65535), help="default: MOYSKLAD_WEBHOOK_PORT")
def webhooks(host: str, port: int | None) -> None:
    """Take МойСклад's webhooks and requests of others until Ctrl-C."""
    settings = load_settings(MoyskladWebhookSettings)
    chosen = port or settings.port
    spans.begin()
    with open_receiver(settings) as receiver:
        url = f"http://{host}:{chosen}/webhooks/moysklad/<MOYSKLAD_WEBHOOK_SECRET>"
        logs.say(told(f"Webhooks: {url}   (Ctrl-C stops it)"))
        service.serve(build_app("moysklad", receiver), host, chosen)
