"""The page of webhooks: added, tried, paused, rotated, replayed and removed by an admin; a secret is shown once."""

import re

import pytest

from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.subscriptions import NewSubscription
from imagesync_pipelines_tests.web.catalogue.admin.browsing import Browser
from imagesync_pipelines_tests.web.catalogue.world import World
from imagesync_pipelines_tests.web.webhooks_out.receivers import receiver

PAGE = "/admin/webhooks"


def test_an_admin_does_everything_with_a_webhook(world: World, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOKS_OUT_ALLOWED_HOSTS", "127.0.0.1")
    with receiver() as shop:
        typed = {"name": "shop", "url": shop.url, "skus": "80* 81*", "events": ["image.added"]}
        text = admin.send_form(PAGE, PAGE, **typed).text
        (secret,) = re.findall(r"IMAGESYNC_WEBHOOK_SHOP_SECRET=(whsec_[\w+/=]+)", text)
        assert secret not in admin.get(PAGE).text
        one = subscriptions.named(world.engine, "shop")
        assert (list(one.skus), list(one.events), one.secret) == (
            ["80*", "81*"],
            ["image.added"],
            "env:IMAGESYNC_WEBHOOK_SHOP_SECRET",
        )
        assert "is not set where runs work" in admin.send_form(PAGE, f"{PAGE}/shop/test").text
        monkeypatch.setenv("IMAGESYNC_WEBHOOK_SHOP_SECRET", secret)
        assert "it accepted the test (HTTP 204)" in admin.send_form(PAGE, f"{PAGE}/shop/test").text
        assert [message["type"] for message in shop.verified(secret)] == ["webhook.test"]
    log = admin.get(f"{PAGE}/shop").text
    assert log.count("a test") == 2
    assert "anna paused it" in admin.send_form(PAGE, f"{PAGE}/shop/pause").text
    assert "goes on where it was" in admin.send_form(PAGE, f"{PAGE}/shop/resume").text
    for _ in range(2):
        assert "IMAGESYNC_WEBHOOK_SHOP_SECRET_2=whsec_" in admin.send_form(PAGE, f"{PAGE}/shop/rotate").text
    monkeypatch.setenv("IMAGESYNC_WEBHOOK_SHOP_SECRET_2", secret)
    monkeypatch.setenv("IMAGESYNC_WEBHOOK_SHOP_SECRET_3", secret)
    page = admin.send_form(PAGE, f"{PAGE}/shop/rotate")
    assert "The variable IMAGESYNC_WEBHOOK_SHOP_SECRET_3 is set." in page.text
    assert page.history, "no secret is shown: loading the page anew sends no form again"
    assert "0 events are looked at again" in admin.send_form(f"{PAGE}/shop", f"{PAGE}/shop/replay", first="1").text
    for first in ("soon", "0001-01-01T00:00"):
        wrong = admin.send_form(f"{PAGE}/shop", f"{PAGE}/shop/replay", first=first)
        assert (wrong.status_code, "Replay from the number of an event" in wrong.text) == (409, True)
    assert "shop is removed" in admin.send_form(PAGE, f"{PAGE}/shop/remove").text
    assert "Nobody is told" in admin.get(PAGE).text


def test_what_is_wrong_with_a_new_webhook_is_said_and_what_was_typed_stays(world: World, admin: Browser) -> None:
    page = admin.send_form(PAGE, PAGE, name="shop", url="http://10.1.2.3/<x>")
    assert page.status_code == 409
    assert "WEBHOOKS_OUT_ALLOWED_HOSTS" in page.text
    assert 'value="http://10.1.2.3/&lt;x&gt;"' in page.text
    assert subscriptions.every(world.engine) == []
    assert admin.get(f"{PAGE}/other").status_code == 409


def test_a_viewer_sees_no_path_of_an_address(world: World, admin: Browser, viewer: Browser) -> None:
    there = NewSubscription("s", "standard", "https://hooks.example.com/services/canary", "env:IMAGESYNC_WEBHOOK_S")
    subscriptions.add(world.engine, there)
    for path in (PAGE, f"{PAGE}/s"):
        assert "https://hooks.example.com/services/canary" in admin.get(path).text
        text = viewer.get(path).text
        assert "https://hooks.example.com/…" in text
        assert "canary" not in text


@pytest.mark.parametrize(
    ("secret", "name", "is_taken"),
    [
        ("env:CATALOGUE_SESSION_SECRET", "mine", False),
        ("env:IMAGESYNC_DATABASE_URL", "mine", False),
        ("env:IMAGESYNC_WEBHOOK_CDN_TOKEN", "mine", False),
        ("env:IMAGESYNC_WEBHOOK_A_B_SECRET", "mine", False),
        ("", "a_b", False),
        ("env:IMAGESYNC_WEBHOOK_MINE_SECRET_X_SECRET", "mine", False),
        ("env:IMAGESYNC_WEBHOOK_MINE_SECRET_2", "mine", True),
    ],
)
def test_on_the_page_a_webhook_has_no_secret_but_its_own(
    world: World, admin: Browser, monkeypatch: pytest.MonkeyPatch, secret: str, name: str, is_taken: bool
) -> None:
    """A form may send the secret itself to the address that was typed, so no other one may be named."""
    monkeypatch.setenv("WEBHOOKS_OUT_ALLOWED_HOSTS", "127.0.0.1")
    there = NewSubscription("a-b", "standard", "http://127.0.0.1:1/", "env:IMAGESYNC_WEBHOOK_A_B_SECRET")
    subscriptions.add(world.engine, there)
    page = admin.send_form(PAGE, PAGE, name=name, form="revalidate", url="http://127.0.0.1:1/", secret=secret)
    assert page.status_code == (200 if is_taken else 409)
    assert [one.name for one in subscriptions.every(world.engine)] == (["a-b", "mine"] if is_taken else ["a-b"])
