"""`imagesync sync NAME` as it is made from a declaration: the names of its options, what they take, what they ask."""

import re
from pathlib import Path

import click
import pytest
from PIL import Image

from imagesync_pipelines.cli.sync import sync_command
from imagesync_pipelines.registry import CONNECTORS, connectors
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.installations import world

Shown = pytest.CaptureFixture[str]

MASS_DELETE = {"--allow-mass-delete", "--lift-brake"}
OPTIONS = {
    "image_db": {
        "--dry-run", "--limit", "--page-size", "--skip-pages", "--force", "--sku", "--allow-products-gone",
        *MASS_DELETE,
    },
    "moysklad": {"--account", "--entity-type", "--entity", "--sku", "--full", "--dry-run", *MASS_DELETE},
    "edge": {"--store", "--sku", "--full", "--dry-run", *MASS_DELETE},
    "folder": {"--sku", "--dry-run", "--force", *MASS_DELETE},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_have_the_names_that_people_know(name: str) -> None:
    made = sync_command(name)
    assert {word for one in made.params for word in (*one.opts, *one.secondary_opts)} == OPTIONS[name]
    assert all(isinstance(one, click.Option) and one.help for one in made.params)


def test_the_registry_names_each_connector_as_it_names_itself() -> None:
    assert [one.name for one in connectors()] == list(CONNECTORS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("image-db", "--limit", "0"), "'--limit': 0 is not in the range x>=1"),
        (("image-db", "--skip-pages", "-1"), "'--skip-pages': -1 is not in the range x>=0"),
        (("moysklad", "--entity-type", "person"), "'person' is not one of 'product', 'bundle', 'variant'"),
        (("edge", "--entity", "1"), "No such option"),
    ],
    ids=["no page", "fewer than no page", "no type", "another connector's option"],
)
def test_what_no_run_can_be_asked_is_refused_before_anything_starts(
    tmp_path: Path, capsys: Shown, words: tuple[str, ...], said: str
) -> None:
    shown = call(None, capsys, "sync", *words, IMAGESYNC_HOME=str(tmp_path))
    assert shown.code == 2
    assert said in re.sub(r"\s+", " ", shown.err)
    assert not (tmp_path / "postgres").exists()


def test_a_folder_is_synchronised_from_the_terminal(server: EmbeddedServer, tmp_path: Path, capsys: Shown) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with world(server, tmp_path / "place") as place:
        place.sync()
        ((sku,),) = place.rows("SELECT sku FROM imagesync.product WHERE is_active ORDER BY id LIMIT 1")
        Image.new("RGB", (30, 20)).save(pictures / f"{sku}.jpg")
        where = {"FOLDER_PATH": str(pictures), "FOLDER_URL": "https://images.example.com"}
        dry = call(place, capsys, "sync", "folder", "--dry-run", **where)
        assert dry.code == 0, dry.out + dry.err
        assert "add 1" in dry.out
        done = call(place, capsys, "sync", "folder", **where)
        assert done.code == 0, done.out + done.err
        assert "images added 1" in done.out
        assert "images added 0" in call(place, capsys, "sync", "folder", **where).out
