"""`imagesync moysklad …`: Requests for the МойСклад connector: which entities are to be synchronised soon."""

from datetime import UTC, datetime
from typing import BinaryIO

import click

from imagesync_pipelines import logs
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import EXIT_CODES, print_table
from imagesync_pipelines.connectors.moysklad.accounts import moysklad_accounts
from imagesync_pipelines.connectors.moysklad.incoming import names_of, open_receiver, read_payloads
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, State, UnreadableRequest
from imagesync_pipelines.connectors.moysklad.settings import MoyskladWebhookSettings
from imagesync_pipelines.defs.runs import Status
from imagesync_pipelines.errors import BadBodyError
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.web import service
from imagesync_pipelines.web.webhooks.app import build_app

LOOPBACK = "127.0.0.1"
REASONS_SHOWN = 20


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
    click.echo(f"{queued} requests queued, {len(aside)} set aside")
    reasons = [f"set aside: {request.reason}" for request in aside]
    reasons += [request.note for request in requests if isinstance(request, NewRequest) and request.note]
    for reason in reasons[:REASONS_SHOWN]:
        click.secho(f"  {reason}", fg="yellow")
    if len(reasons) > REASONS_SHOWN:
        click.secho(f"  and {len(reasons) - REASONS_SHOWN} more", fg="yellow")
    context.exit(EXIT_CODES[Status.PARTIAL if aside else Status.COMPLETED])


@click.command("queue")
def queue() -> None:
    """Print how many requests wait, failed or were set aside, and the newest errors."""
    with open_installation() as place:
        view = Queue(place.engine).view()
    rows = [
        (child or "(nobody's)", *(numbers.get(state, 0) for state in State)) for child, numbers in view.counts.items()
    ]
    waiting, failed = view.total(State.PENDING), view.total(State.FAILED)
    columns = ("account", *(state.replace("_", " ") for state in State))
    print_table(f"{waiting} requests wait, {failed} failed", columns, rows)
    if view.errors:
        wrong = [
            (one.id, one.child, one.entity, one.state.replace("_", " "), one.attempts,
             f"{one.changed_at:%Y-%m-%d %H:%M}", one.error)
            for one in view.errors
        ]  # fmt: skip
        print_table("Newest errors", ("id", "account", "entity", "state", "attempts", "when", "error"), wrong)


@click.command("webhooks")
@click.option("--host", default=LOOPBACK, show_default=True, help="address to listen on; put a TLS proxy in front")
@click.option("--port", type=click.IntRange(1, 65535), help="default: MOYSKLAD_WEBHOOK_PORT")
def webhooks(host: str, port: int | None) -> None:
    """Take МойСклад's webhooks and requests of others until Ctrl-C."""
    settings = load_settings(MoyskladWebhookSettings)
    chosen = port or settings.port
    spans.begin()
    with open_receiver(settings) as receiver:
        logs.say(f"Webhooks: http://{host}:{chosen}/webhooks/moysklad/<MOYSKLAD_WEBHOOK_SECRET>   (Ctrl-C stops it)")
        service.serve(build_app("moysklad", receiver), host, chosen)
