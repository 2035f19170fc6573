"""`imagesync webhook`: a receiver is added, listed, paused, resumed, rotated and removed; its secret is shown once."""

from pathlib import Path

import pytest

from imagesync_pipelines_tests.cli.terminals import Ended, call


def test_a_receiver_is_added_looked_at_and_removed(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def webhook(*words: str, **more: str) -> Ended:
        variables = {"IMAGESYNC_DATABASE_URL": database_url, "IMAGESYNC_DAGSTER_URL": database_url, **more}
        allowed = {"WEBHOOKS_OUT_ALLOWED_HOSTS": "127.0.0.1", "COLUMNS": "300"}
        return call(None, capsys, "webhook", *words, IMAGESYNC_HOME=str(tmp_path), **allowed, **variables)

    refused = webhook("add", "shop", "--url", "http://127.0.0.1:9/in", "--secret", "env:IMAGESYNC_DATABASE_URL")
    assert (refused.code, "IMAGESYNC_WEBHOOK_" in refused.err) == (1, True)
    made = webhook("add", "shop", "--url", "http://127.0.0.1:9/in?q=1", "--sku", "80*", "--event", "image.added")
    assert made.code == 0, made.err
    assert "IMAGESYNC_WEBHOOK_SHOP_SECRET=whsec_" in made.out
    secret = made.out.partition("SHOP_SECRET=")[2].split()[0]

    listed = webhook("list").out
    assert "http://127.0.0.1:9/in" in listed
    assert "SKU 80*" in listed
    assert "q=1" not in listed
    assert secret not in listed

    assert webhook("pause", "shop").out.strip() == "shop is paused"
    assert "paused" in webhook("list").out
    assert webhook("resume", "shop").out.strip() == "shop goes on"
    rotated = webhook("rotate", "shop", IMAGESYNC_WEBHOOK_SHOP_SECRET=secret).out
    assert "IMAGESYNC_WEBHOOK_SHOP_SECRET_2=whsec_" in rotated
    assert "IMAGESYNC_WEBHOOK_SHOP_SECRET signs too until" in rotated

    assert "the last 0 deliveries to shop" in webhook("log", "shop").out
    assert "0 events are looked at again" in webhook("replay", "shop", "--from", "1").out
    assert webhook("remove", "shop").code == 0
    assert "0 webhooks" in webhook("list").out
    gone = webhook("remove", "shop")
    assert (gone.code, "There is no webhook 'shop'" in gone.err) == (1, True)
