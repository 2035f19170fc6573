"""docs/api.md: every example in it runs against the real API and does what the page says."""

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema_effects import effects_known
from imagesync_pipelines_tests.web.catalogue.api.calling import Caller
from imagesync_pipelines_tests.web.catalogue.world import World

PAGE = Path(__file__).parents[4] / "docs" / "api.md"


def examples(language: str) -> str:
    """All examples of one language, one after the other."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture
def product_id(world: World) -> int:
    """The product of the examples, with two images, and a history that began a day ago."""
    with world.engine.begin() as connection:
        connection.execute(sa.update(effects_known).values(since=sa.func.now() - timedelta(days=1)))
    made = world.product("803721")
    world.image(made, "930363", last_synced="2026-01-02")
    world.image(made, "930364", is_primary=False, priority=2, last_synced="2026-01-02")
    return made


def run(caller: Caller, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program with what the examples read from the environment."""
    environment = {**os.environ, "CATALOGUE_URL": caller.address, "API_KEY": caller.key}
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_the_curl_examples_work(caller: Caller, product_id: int, tmp_path: Path) -> None:
    result = run(caller, tmp_path, "bash", "-c", "set -eu\n" + examples("bash"))
    assert result.returncode == 0, result.stderr
    assert re.search(r"304$", result.stdout, re.MULTILINE)
    assert '"unknown":["999999"]' in result.stdout
    changed = re.search(r'\{"items":\[\{"product_id":.*?"has_more":false', result.stdout)
    assert changed is not None
    assert '"sku":"803721"' in changed[0]
    assert re.search(r'"external_id":"930364"[^{}]*"is_primary":true', result.stdout)
    assert caller.read(f"/products/{product_id}/primary")["external_id"] == "930363"
    assert len((tmp_path / "images.csv").read_text().splitlines()) == 3


def test_the_python_example_keeps_a_copy_fresh(world: World, caller: Caller, product_id: int, tmp_path: Path) -> None:
    for _ in range(2):
        world.product(f"9{_}", updated_at="2026-01-01")
        result = run(caller, tmp_path, sys.executable, "-c", examples("python"))
        assert result.returncode == 0, result.stderr
    copy = json.loads((tmp_path / "images.kept.json").read_text())["images"]
    assert [len(images) for images in (copy["803721"], copy["90"])] == [2, 0]


def test_the_answer_on_the_page_has_the_fields_of_a_real_one(caller: Caller, product_id: int) -> None:
    shown, real = json.loads(examples("json")), caller.read("/lookup", sku=["803721", "999999"])
    assert shown.keys() == real.keys()
    assert shown["unknown"] == real["unknown"]
    assert shown["items"][0].keys() == real["items"][0].keys()
    assert shown["items"][0]["images"][0].keys() == real["items"][0]["images"][0].keys()
