"""docs/ho-api.md: every example in it runs against the real service and does what the page says."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import PASSWORD, USERNAME, Client, Shop

PAGE = Path(__file__).parents[3] / "docs" / "ho-api.md"
BODY = b"a picture of soup"


def examples(language: str) -> str:
    """All examples of one language, one after the other."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture
def photo_id(office: HeadOffice, shop: Shop) -> UUID:
    return operators.put_photo(office, shop.product, BODY, filename="soup.jpg")


@pytest.fixture
def environment(client: Client) -> dict[str, str]:
    """What the examples read from the environment."""
    names = {"HO_URL": client.url, "HO_USERNAME": USERNAME, "HO_PASSWORD": PASSWORD, "STORE_ID": str(client.store)}
    return {**os.environ, **names}


def health_of(client: Client) -> dict[str, object]:
    stores = client.get("/api/v1/sync/health/").json()["data"]["stores"]
    return next(one for one in stores if one["store_id"] == str(client.store))


def test_the_curl_examples_work(client: Client, environment: dict[str, str], photo_id: UUID, tmp_path: Path) -> None:
    script = "set -eu\n" + examples("bash")
    result = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "photo.jpg").read_bytes() == BODY
    assert (tmp_path / "rest.jpg").read_bytes() == BODY[3:]
    assert result.stdout.count(hashlib.md5(BODY).hexdigest()) >= 3
    assert "Sync status updated for 1 photos" in result.stdout
    assert health_of(client)["synced"] == 1


def test_the_python_example_works(client: Client, environment: dict[str, str], photo_id: UUID, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", examples("python")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout.strip() == "1 photos, 1 good", result.stderr
    assert health_of(client)["synced"] == 1


def test_the_listing_on_the_page_has_the_fields_of_a_real_one(client: Client, photo_id: UUID) -> None:
    shown = json.loads(examples("json"))["data"]
    real = client.page(since="2000-01-01T00:00:00Z")
    assert {*shown} == {*real}
    assert {*shown["photos"][0]} == {*real["photos"][0]}
