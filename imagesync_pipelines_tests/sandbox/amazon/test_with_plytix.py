"""Proves that the sandbox's Plytix gets pictures of the sandbox's Amazon by their real addresses."""

import hashlib
from collections.abc import Iterator

import pytest
import requests

from imagesync_pipelines.sandbox.amazon.pictures import draw
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, plytix_sandbox
from imagesync_pipelines_tests.sandbox import mishaps

pytestmark = pytest.mark.slow


@pytest.fixture
def plytix(amazon: AmazonSandbox) -> Iterator[PlytixSandbox]:
    with plytix_sandbox(fetch=amazon.fetch) as sandbox:
        yield sandbox


def upload(plytix: PlytixSandbox, url: str) -> requests.Response:
    credentials = {"api_key": plytix.api_key, "api_password": plytix.api_password}
    token = requests.post(f"{plytix.auth_url}/auth/api/get-token", json=credentials, timeout=10).json()
    headers = {"Authorization": f"Bearer {token['data'][0]['access_token']}"}
    return requests.post(f"{plytix.url}/api/v1/assets", json={"url": url}, headers=headers, timeout=10)


def test_a_picture_is_uploaded_by_its_real_address_and_known_the_second_time(
    amazon: AmazonSandbox, plytix: PlytixSandbox
) -> None:
    picture = next(listing for listing in amazon.listings if listing.images).images[0].picture
    stored = upload(plytix, picture.url())
    assert stored.status_code == 201
    assert plytix.assets()[0].sha256 == hashlib.sha256(draw(picture)[0]).hexdigest()
    assert plytix.assets()[0].filename == picture.name()
    again = upload(plytix, picture.url())
    assert (again.status_code, again.json()["error"]["errors"][0]["field"]) == (409, "asset.id")
    assert amazon.ledger.count("image") == 2


def test_what_amazon_does_not_give_is_not_stored(amazon: AmazonSandbox, plytix: PlytixSandbox) -> None:
    picture = next(listing for listing in amazon.listings if listing.images).images[0].picture
    for fault in (mishaps.missing_image(), mishaps.html_image(), mishaps.truncated_image()):
        amazon.faults.add(fault)
        assert upload(plytix, picture.url()).status_code == 422
    assert upload(plytix, "https://pictures.example.com/uploads/cushion.jpg").status_code == 422
    assert plytix.assets() == ()
