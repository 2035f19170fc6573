"""Proves the two steps to an image's bytes, the links that end, the public host, and the small pictures."""

import time
from io import BytesIO

import pytest
import requests
from PIL import Image

from imagesync_pipelines.sandbox.moysklad.making import jpeg, png
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller, Json, code_of, encoded, id_of, image


@pytest.fixture
def row(caller: Caller, product: str) -> Json:
    """The row of an image."""
    return caller.sent(product, [image("подушка.jpg")])[0]


def fetch(url: str, method: str = "GET", **headers: str) -> requests.Response:
    """A call to the other hosts, without credentials unless named."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, headers=headers, timeout=10, allow_redirects=False)


def location(caller: Caller, row: Json, **headers: str) -> str:
    """Where the API sends to."""
    answer = caller.ask("GET", row["meta"]["downloadHref"], headers=headers)
    assert (answer.status_code, answer.content) == (302, b"")
    return answer.headers["Location"]


def test_the_bytes_are_on_another_host_which_refuses_credentials(caller: Caller, row: Json) -> None:
    url = location(caller, row)
    assert url.startswith(caller.sandbox.storage_url)
    good = fetch(url)
    assert (good.status_code, good.content, good.headers["Content-Type"]) == (200, jpeg("подушка.jpg"), "image/jpeg")
    refused = fetch(url, Authorization=f"Bearer {caller.account.token}")
    assert (refused.status_code, refused.headers["Content-Type"].split(";")[0]) == (400, "application/xml")
    assert b"Unsupported Authorization Type" in refused.content
    assert caller.sandbox.storage_ledger.as_json() == {"storage": {"200": 1, "400": 1}}


LIVES = {"a minute": ({}, 60), "an hour": ({"x": "3600"}, 3600), "a day at most": ({"x": "999999"}, 86_400)}


@pytest.mark.parametrize(("asked", "seconds"), LIVES.values(), ids=LIVES)
def test_a_link_ends(caller: Caller, row: Json, asked: dict[str, str], seconds: int) -> None:
    headers = {"X-Lognex-Download-Expiration-Seconds": asked["x"]} if asked else {}
    url = location(caller, row, **headers)
    caller.sandbox.clock.move(seconds - 2)
    assert fetch(url).status_code == 200
    caller.sandbox.clock.move(3)
    assert (fetch(url).status_code, fetch(url).content[:5]) == (403, b"<?xml")
    assert fetch(location(caller, row)).status_code == 200


def test_a_link_with_another_signature_or_method_is_refused(caller: Caller, row: Json) -> None:
    url = location(caller, row)
    assert fetch(url.replace("temp_url_sig=", "temp_url_sig=0")).status_code == 403
    assert fetch(url, "HEAD").status_code == 403


@pytest.mark.parametrize(("method", "code"), [("POST", 44000), ("PUT", 44001), ("DELETE", 44002)])
def test_download_is_for_reading(caller: Caller, row: Json, method: str, code: int) -> None:
    answer = caller.ask(method, row["meta"]["downloadHref"])
    assert (answer.status_code, code_of(answer)) == (405, code)


def test_what_is_no_image_any_more_is_not_found_unless_the_switch_says_so(
    caller: Caller, row: Json, product: str
) -> None:
    caller.ask("DELETE", f"entity/product/{product}/images/{id_of(row)}")
    assert code_of(caller.ask("GET", row["meta"]["downloadHref"])) == 1021
    caller.sandbox.switches.old_images_downloadable = True
    assert fetch(location(caller, row)).status_code == 200


def test_head_tells_no_size_and_its_status_is_a_switch(caller: Caller, row: Json) -> None:
    assert caller.ask("HEAD", row["meta"]["downloadHref"]).headers["Content-Length"] == "0"
    caller.sandbox.switches.head_of_download = 405
    assert caller.ask("HEAD", row["meta"]["downloadHref"]).status_code == 405


def test_a_download_costs_units_unless_the_switch_says_so(caller: Caller, row: Json) -> None:
    caller.sandbox.clock.move(3)
    left = [caller.ask("GET", row["meta"]["downloadHref"]).headers["X-RateLimit-Remaining"] for _ in range(2)]
    assert left == ["44", "43"]
    caller.sandbox.switches.download_costs = False
    assert caller.ask("GET", row["meta"]["downloadHref"]).headers["X-RateLimit-Remaining"] == "43"


def test_a_permanent_link_needs_no_call_and_does_not_end(caller: Caller, row: Json, product: str) -> None:
    caller.account.account.permanent_links = True
    shown = caller.rows(f"entity/product/{product}/images", fields="downloadPermanentHref", limit=10)
    calls = caller.sandbox.calls("main")
    caller.sandbox.clock.move(10**7)
    assert fetch(shown[0]["meta"]["downloadPermanentHref"]).content == jpeg("подушка.jpg")
    assert caller.sandbox.calls("main") == calls
    caller.account.set_images(product, [])
    assert fetch(shown[0]["meta"]["downloadPermanentHref"]).status_code == 404
    # A call is counted once its answer is out, which may be a moment after the caller has it.
    ends = time.monotonic() + 30
    while caller.sandbox.cdn_ledger.as_json() != {"cdn": {"200": 1, "404": 1}}:
        assert time.monotonic() < ends, caller.sandbox.cdn_ledger.as_json()
        time.sleep(0.01)


def test_small_pictures_are_other_pictures(caller: Caller, product: str) -> None:
    row = caller.sent(product, [{"filename": "a.png", "content": encoded(png("a", 300))}])[0]
    miniature = fetch(caller.ask("GET", row["miniature"]["href"]).headers["Location"])
    after = caller.images(product)[0]
    for url, side in ((row["tiny"]["href"], 40), (after["miniature"]["downloadHref"], 200)):
        with Image.open(BytesIO(fetch(url).content)) as small:
            assert (small.format, max(small.size)) == ("PNG", side)
    assert miniature.content == fetch(after["miniature"]["downloadHref"]).content
