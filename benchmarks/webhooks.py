"""What telling receivers costs: beginning with a large catalogue, finding what changed, telling it, finding nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from benchmarks.before import Rounds, measured
from benchmarks.measuring import Stopwatch

PRODUCTS, CHANGED, ROUNDS = 50_000, 2_000, 3
# What each step is counted by.
STEPS = {
    "begin": ("remembering what a product shows, once", PRODUCTS),
    "tell": ("finding a changed product and telling it over HTTP", CHANGED),
    "look": ("looking where nothing changed", 1),
}


def webhooks(console: Console) -> None:
    """Print what a product, a message and a look cost."""
    found = Rounds(tuple(measured("benchmarks.webhooks", products=PRODUCTS) for _ in range(ROUNDS)))
    title = f"Webhooks out: {CHANGED:,} of {PRODUCTS:,} products changed"
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("processor µs each", justify="right")
    for at, (name, number) in enumerate(STEPS.values()):
        table.add_row(name, f"{found.median('spans', at, 'processor') / number * 1e6:,.0f}")
    console.print(table)


def measure(home: Path, products: int) -> dict[str, Any]:
    """Begin, change pictures and tell a receiver on loopback, then look again."""
    from benchmarks.catalogue_world import fill, settings_of
    from imagesync_pipelines.sandbox.receivers import receiver
    from imagesync_pipelines.storage.installation import open_installation
    from imagesync_pipelines.storage.subscriptions import NewSubscription
    from imagesync_pipelines.upstream.signing import new_secret
    from imagesync_pipelines.web.webhooks_out import managing
    from imagesync_pipelines.web.webhooks_out.collecting import has_news
    from imagesync_pipelines.web.webhooks_out.delivering import Sender, deliver
    from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

    watch, secret = Stopwatch(), new_secret().get_secret_value()
    some = "SELECT min(id) FROM imagesync.product_image GROUP BY product_id ORDER BY 1 LIMIT :changed"
    changed = (
        "UPDATE imagesync.product_image SET fingerprint = 'other', "
        f"last_synced = clock_timestamp() - interval '2 seconds' WHERE id IN ({some})"
    )
    with open_installation(settings_of(home)) as place, receiver() as shop:
        fill(place, products)
        settings = WebhooksOutSettings(allowed_hosts=("127.0.0.1",))  # type: ignore[call-arg]
        sender = Sender(place.engine, place.settings, settings, variables=lambda: {"IMAGESYNC_WEBHOOK_SHOP": secret})
        with watch.step("begin"):
            managing.add(sender, NewSubscription("shop", "standard", shop.url, "env:IMAGESYNC_WEBHOOK_SHOP"))
        with place.engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_sleep(3)"))
            connection.execute(sa.text(changed), {"changed": CHANGED})
        with watch.step("tell"):
            deliver(sender, 600)
        with watch.step("look"):
            news = has_news(place.engine)
        if news or len(shop.told) < CHANGED:
            raise AssertionError(f"{len(shop.told)} messages came for {CHANGED} changed products")
    return {"spans": watch.as_json(), "told": len(shop.told)}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(Path(given["home"]), given["products"])))
