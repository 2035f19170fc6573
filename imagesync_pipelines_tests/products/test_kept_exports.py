"""The exports as files: written when a row changed or when they are not what was written, and not otherwise."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.products import kept_exports
from imagesync_pipelines.products.exports import Format, export, kind_of
from imagesync_pipelines.products.kept_exports import FOLDER, NOTE, Written, write_exports
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines_tests.web.catalogue.world import World, open_world


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    """A parent with two pictures, a variant that shows them, and one with a picture of its own."""
    world = open_world(database, tmp_path)
    parent = world.product("P1", kind="parent")
    world.image(parent, "1")
    world.image(parent, "2", is_primary=False)
    world.image(world.product("100", parent=parent), "3")
    world.product("101", parent=parent)
    return world


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Each file with what another one in its place would not have."""
    found = {path.name: path.stat() for path in (root / FOLDER).iterdir()}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in found.items()}


def written(world: World, root: Path, **options: bool) -> Written:
    return write_exports(world.engine, UPath(root), **options)


def test_files_are_not_written_again_while_no_row_changed_and_the_same_is_told_of_them(
    world: World, tmp_path: Path
) -> None:
    first = written(world, tmp_path)
    before = stamps(tmp_path)
    assert before.keys() == {NOTE, *(kind_of(wanted).file_name for wanted in Format)}
    assert first.anew
    assert first.sizes == {
        f"{FOLDER}/{name}": (tmp_path / FOLDER / name).stat().st_size for name in before.keys() - {NOTE}
    }
    assert written(world, tmp_path) == first._replace(anew=False)
    assert stamps(tmp_path) == before


def executed(world: World, statement: sa.Executable) -> None:
    with world.engine.begin() as connection:
        connection.execute(statement)


CHANGES: dict[str, Callable[[World, Path], object]] = {
    "a name": lambda world, _: executed(world, product.update().where(product.c.sku == "101").values(name="Fuchs")),
    "a product that left": lambda world, _: executed(
        world, product.update().where(product.c.sku == "100").values(left_erp_at=sa.func.now())
    ),
    "a new image": lambda world, _: world.image(1, "9", is_primary=False),
    "a changed image": lambda world, _: executed(world, product_image.update().values(alt_text="from the side")),
    "an image that is gone": lambda world, _: executed(
        world, product_image.delete().where(product_image.c.external_id == "2")
    ),
    "a missing file": lambda _, root: (root / FOLDER / "product_images.csv").unlink(),
    "a file that was cut": lambda _, root: (root / FOLDER / "merchant_feed.xml").write_text("<?xml"),
    "a file of the same length": lambda _, root: (root / FOLDER / "product_images.ndjson").write_bytes(
        (root / FOLDER / "product_images.ndjson").read_bytes().replace(b"Engel", b"Enkel")
    ),
    "a missing note": lambda _, root: (root / FOLDER / NOTE).unlink(),
    "a damaged note": lambda _, root: (root / FOLDER / NOTE).write_text("{"),
    "a note of other files": lambda _, root: (root / FOLDER / NOTE).write_text(
        (root / FOLDER / NOTE).read_text().replace("merchant_feed.xml", "another.xml")
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_all_files_are_written_anew_when_anything_that_is_in_them_changed_or_they_are_not_what_was_written(
    world: World, tmp_path: Path, change: str
) -> None:
    written(world, tmp_path)
    CHANGES[change](world, tmp_path)
    assert written(world, tmp_path).anew
    for wanted in set(Format) - {Format.PARQUET}:
        body = (tmp_path / FOLDER / kind_of(wanted).file_name).read_bytes()
        assert body == b"".join(export(world.engine, wanted))
    rows = (tmp_path / FOLDER / "product_images.ndjson").read_bytes().count(b"\n")
    assert pq.read_table(tmp_path / FOLDER / "product_images.parquet").num_rows == rows
    assert not written(world, tmp_path).anew


def test_another_setting_and_another_recipe_write_the_files_anew(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(world, tmp_path)
    assert written(world, tmp_path, own_images_first=True).anew
    monkeypatch.setattr(kept_exports, "RECIPE", kept_exports.RECIPE + 1)
    assert written(world, tmp_path, own_images_first=True).anew
    monkeypatch.setattr(kept_exports, "version", lambda package: "99")
    assert written(world, tmp_path, own_images_first=True).anew
    assert not written(world, tmp_path, own_images_first=True).anew
