"""Running the endpoints that take requests until they are stopped.

What belongs here: opening what they work with, and the process. What does not: the application (app.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import uvicorn

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.moysklad.incoming import names_of
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.web.webhooks.app import Desk, build_app
from imagesync_pipelines.web.webhooks.settings import WebhookSettings

STOP_SECONDS = 5


@contextmanager
def open_desk(settings: WebhookSettings) -> Iterator[Desk]:
    """What the endpoints work with, on this installation.

    Raises SettingsError without a secret, and without the main account's own id, by which events name it.
    """
    if settings.secret is None:
        raise SettingsError(
            "MOYSKLAD_WEBHOOK_SECRET is not set; without a secret requests of strangers would be taken, "
            "so nothing is served."
        )
    accounts = load_accounts(load_settings(Settings))
    if accounts.moysklad_main is None or not accounts.moysklad_main.account_id:
        raise SettingsError(
            "[moysklad.main] account_id is not set in the accounts file; events name their account by it, "
            "so without it none could be told from those of another account."
        )
    with open_installation() as place:
        yield Desk(Queue(place.engine), names_of(accounts), settings.secret, lambda: datetime.now(UTC))


def serve(desk: Desk, host: str, port: int) -> None:
    """Take requests on host and port until a signal ends it. No line is logged per call: the URL holds the secret."""
    config = uvicorn.Config(
        build_app(desk),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run()
