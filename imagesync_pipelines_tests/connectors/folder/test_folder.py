"""The folder connector on a real folder: what it shows on products, what it sets aside, what it never takes away."""

import errno
import hashlib
import io
import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from PIL import Image
from upath import UPath

from imagesync_pipelines.connectors.folder.connector import CONNECTOR
from imagesync_pipelines.connectors.folder.model import FolderError
from imagesync_pipelines.connectors.folder.reading import files
from imagesync_pipelines.connectors.folder.settings import FolderSettings
from imagesync_pipelines.connectors.folder.steps import FolderPlanOptions, plan, plan_files, product_images
from imagesync_pipelines.defs.work import is_permanent
from imagesync_pipelines.products import applying
from imagesync_pipelines.products.article_rules import add_rule
from imagesync_pipelines.products.rules import StoredProduct
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.contents import Contents, own_address, own_source, own_source_at
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.plans import Lineage, Plans
from imagesync_pipelines.storage.schema import product, product_image, unmatched_article
from imagesync_pipelines.sync.carry_out import ApplyOptions
from imagesync_pipelines.sync.connector import NoOptions, RowPictures
from imagesync_pipelines.sync.steps import RunContext, StepResult, Summary

SKUS = ("10", "10_2", "Bär", "20", "30", "40")
URL = "https://images.example.com"


def picture(colour: int = 0, kind: str = "JPEG") -> bytes:
    """A picture of 30 × 20 pixels, another one for every colour."""
    out = io.BytesIO()
    Image.new("RGB", (30, 20), (colour, 0, 0)).save(out, kind)
    return out.getvalue()


class World:
    """A folder beside an installation that has the products SKUS."""

    def __init__(self, database: sa.Engine, folder: Path, home: Path, **limits: Any) -> None:
        self.folder, self.runs = folder, 0
        shared = Settings(_env_file=None, **limits)  # type: ignore[call-arg]
        self.installation = Installation(shared, Locations(home, home, UPath(home), "", "", {}), database)
        self.settings = FolderSettings(_env_file=None, path=str(folder), url=URL)  # type: ignore[call-arg]
        rows = [{"kind": "variant", "erp_id": str(n), "sku": sku, "name": f"No {sku}"} for n, sku in enumerate(SKUS)]
        with database.begin() as connection:
            connection.execute(product.insert(), rows)

    def put(self, **bodies: bytes) -> None:
        """Put files into the folder; in a keyword `__` stands for the ending."""
        for name, body in bodies.items():
            (self.folder / name.replace("__", ".")).write_bytes(body)

    def context(self) -> RunContext[FolderSettings]:
        """A run of its own."""
        self.runs += 1
        return RunContext(CONNECTOR.name, "", Lineage(f"run-{self.runs}"), self.installation, self.settings)

    def sync(self, **options: Any) -> tuple[StepResult, StepResult, StepResult]:
        """A whole run: the results of its three steps."""
        run = self.context()
        return files(run, NoOptions()), plan(run, FolderPlanOptions(**options)), product_images(run, ApplyOptions())

    def images(self) -> dict[str, tuple[str, bool, int]]:
        """By path: the SKU of its product, whether it is the primary, its priority."""
        image = product_image.c
        query = sa.select(image.external_id, product.c.sku, image.is_primary, image.priority)
        with self.installation.engine.connect() as connection:
            rows = connection.execute(query.join(product).where(image.source == "folder")).all()
        return {row[0]: tuple(row[1:]) for row in rows}

    def scalars(self, column: sa.ColumnElement[Any]) -> list[Any]:
        """All values of a column."""
        with self.installation.engine.connect() as connection:
            return list(connection.scalars(sa.select(column)))


def pictures_of_newest(world: World) -> Sequence[RowPictures]:
    """What the page of the newest plan shows of its rows that change."""
    place = world.installation
    plans = Plans(place.engine, place.storage)
    header = plans.newest(1, CONNECTOR.name)[0]
    rows = plans.load(header.id)
    changing: list[Any] = rows[rows["change"] != "keep"].to_dict(orient="records")
    return CONNECTOR.pictures_of(place.engine, place.storage, header, changing)


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> World:
    (tmp_path / "pictures").mkdir()
    return World(database, tmp_path / "pictures", tmp_path / "home")


def changes(result: StepResult) -> dict[str, int]:
    """How many rows a plan changes, without those that are kept."""
    counted = {name.removeprefix("plan/"): int(number) for name, number in result.numbers.items() if "plan/" in name}
    return {name: number for name, number in counted.items() if number and name != "keep"}


def test_names_say_whose_picture_it_is_and_a_name_that_is_a_sku_is_that_products(world: World) -> None:
    (world.folder / "new").mkdir()
    world.put(**{"10__jpg": picture(1), "10_2__png": picture(2, "PNG"), "20-front__jpg": picture(3)})
    world.put(**{"20_3__webp": picture(4, "WEBP"), "new/30-back__jpg": picture(5), "10_7__gif": picture(6, "GIF")})
    world.put(**{unicodedata.normalize("NFD", "Bär") + "__jpg": picture(7)})
    world.sync()
    assert world.images() == {
        "10.jpg": ("10", True, 1),
        "10_7.gif": ("10", False, 7),
        "10_2.png": ("10_2", True, 1),
        "20-front.jpg": ("20", True, 1),
        "20_3.webp": ("20", False, 3),
        "new/30-back.jpg": ("30", True, 2),
        "Bär.jpg": ("Bär", True, 1),
    }


def test_the_bytes_are_kept_under_an_address_of_ours_with_their_measures(world: World) -> None:
    world.put(**{"10__jpg": picture(9)})
    world.sync()
    image = product_image.c
    query = sa.select(image.image_url, image.width, image.height, image.image_format, image.source)
    with world.installation.engine.connect() as connection:
        url, *facts = connection.execute(query).one()
    assert facts == [30, 20, "jpeg", "folder"]
    source = own_source_at(url)
    assert url.startswith(f"{URL}/images/content/")
    assert source is not None
    contents = Contents(world.installation.engine, world.installation.storage)
    assert contents.read(contents.find([source])[source]) == picture(9)


def test_a_second_run_reads_and_writes_nothing(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "20__jpg": picture(2)})
    world.sync()
    read, planned, applied = world.sync()
    assert (read.numbers["files/read"], changes(planned)) == (0, {})
    assert applied.summary is not None
    assert (applied.summary.images_added, applied.summary.images_updated, applied.summary.images_deleted) == (0, 0, 0)


def test_a_new_time_alone_changes_nothing_and_other_bytes_do(world: World) -> None:
    world.put(**{"10__jpg": picture(1)})
    world.sync()
    os.utime(world.folder / "10.jpg", (1, 1))
    read, planned, _ = world.sync()
    assert (read.numbers["files/read"], changes(planned)) == (1, {})
    world.put(**{"10__jpg": picture(200)})
    assert changes(world.sync()[1]) == {"update": 1}


def test_the_same_picture_under_a_new_name_is_a_rename(world: World) -> None:
    world.put(**{"10__jpg": picture(1)})
    world.sync()
    (world.folder / "10.jpg").rename(world.folder / "10-front.jpg")
    assert changes(world.sync()[1]) == {"update": 1}
    assert set(world.images()) == {"10-front.jpg"}


def test_what_is_hidden_or_not_whole_is_not_looked_at(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "._10__jpg": b"x", ".20__jpg": b"x", "20__jpg__part": b"x"})
    world.put(**{"30__jpg~": b"x", "40__jpg": b""})
    read, *_ = world.sync()
    assert (set(world.images()), read.warnings) == ({"10.jpg"}, [])


def test_what_is_no_picture_is_set_aside_and_the_picture_that_was_there_stays(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "20__jpg": picture(2)})
    world.sync()
    world.put(**{"10__jpg": picture(3)[:-40], "30__jpg": b"<html>not found</html>", "40__tif": picture(4, "TIFF")})
    deep = world.folder.joinpath(*["d" * 200] * 12)
    deep.mkdir(parents=True)
    (deep / "50.jpg").write_bytes(picture(5))
    read, planned, _ = world.sync()
    assert changes(planned) == {}
    assert "4 files are no pictures" in read.warnings[0]
    assert read.warnings[0] in planned.warnings
    aside = {one.key[:6]: one.reason for one in world.context().quarantine.list()}
    assert aside.keys() == {"10.jpg", "30.jpg", "40.tif", "dddddd"}
    assert aside["dddddd"] == "its path has 2418 characters; 255 fit"
    (deep / "50.jpg").unlink()
    world.put(**{"10__jpg": picture(3), "30__jpg": picture(5)})
    (world.folder / "40.tif").unlink()
    assert changes(world.sync()[1]) == {"update": 1, "add": 1}
    assert world.context().quarantine.list() == []


def test_a_file_that_names_no_product_is_told_with_what_may_be_meant(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "2O__jpg": picture(2)})
    _, planned, _ = world.sync()
    assert planned.warnings == ("1 files name no product, for example 2O.jpg",)
    assert world.scalars(unmatched_article.c.source) == ["folder"]
    world.put(**{"20__jpg": picture(2)})
    (world.folder / "2O.jpg").unlink()
    world.sync()
    assert world.scalars(unmatched_article.c.number) == []


def test_a_copy_is_told_as_one_and_blanks_and_forms_of_letters_make_no_second_picture(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "20\u00a0__jpg": picture(2), "30 (1)__jpg": picture(3)})
    world.put(**{unicodedata.normalize("NFD", "Bär") + "__jpg": picture(4), "Bär__jpg": picture(5)})
    world.put(**{" 40__jpg": picture(6), "40 __jpg": picture(7), "._10__jpg": b"x"})
    read, planned, _ = world.sync()
    assert set(world.images()) == {"10.jpg", "20.jpg", "Bär.jpg"}
    assert read.warnings[0].startswith("3 files are no pictures, or")
    aside = {one.key: one.reason for one in world.context().quarantine.list()}
    assert set(aside) == {unicodedata.normalize("NFD", "Bär.jpg"), " 40.jpg", "40.jpg"}
    assert all("2 files have the name" in why for why in aside.values())
    assert planned.warnings[-1] == "1 files name no product, for example 30 (1).jpg"
    assert world.scalars(unmatched_article.c.reason)[0].startswith("it looks like a copy of 30")
    (world.folder / unicodedata.normalize("NFD", "Bär.jpg")).unlink()
    (world.folder / " 40.jpg").unlink()
    assert changes(world.sync()[1]) == {"add": 1}
    assert world.context().quarantine.list() == []


def test_a_dry_run_leaves_the_list_of_files_that_name_no_product_as_it_is(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "2O__jpg": picture(2)})
    run = world.context()
    files(run, NoOptions())
    assert plan(run, FolderPlanOptions(dry_run=True)).numbers["files/unmatched"] == 1
    assert world.scalars(unmatched_article.c.number) == []


def test_what_was_written_is_known_though_the_step_fails_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(applying, "repair_primaries", full)
    world.put(**{"10__jpg": picture(1)})
    noted: list[Summary] = []
    run = replace(world.context(), note_summary=noted.append)
    files(run, NoOptions())
    plan(run, FolderPlanOptions())
    with pytest.raises(OSError, match="No space left"):
        product_images(run, ApplyOptions())
    assert [summary.images_added for summary in noted] == [1]


def test_a_file_that_is_gone_takes_its_image_away(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "20__jpg": picture(2)})
    world.sync()
    (world.folder / "20.jpg").unlink()
    assert changes(world.sync()[1]) == {"remove": 1}
    assert set(world.images()) == {"10.jpg"}


def emptied(world: World) -> None:
    """The folder has no file any more."""
    for path in world.folder.iterdir():
        path.unlink()


def unmounted(world: World) -> None:
    """The folder is not there any more."""
    world.folder.rename(world.folder.parent / "elsewhere")


@pytest.mark.parametrize("happened", [emptied, unmounted])
def test_an_empty_or_missing_folder_takes_nothing_away_and_is_told(
    world: World, happened: Callable[[World], None]
) -> None:
    world.put(**{"10__jpg": picture(1), "20__jpg": picture(2)})
    world.sync()
    happened(world)
    read, planned, _ = world.sync(allow_mass_delete=True)
    assert "is empty or not there; nothing is taken to be gone" in read.warnings[0]
    assert (changes(planned), set(world.images())) == ({}, {"10.jpg", "20.jpg"})


def test_too_many_removals_are_held_back_until_a_person_lifts_the_limits(database: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    world = World(database, tmp_path / "pictures", tmp_path / "home", deletion_limit_floor=0)
    world.put(**{f"{sku}__jpg": picture(number) for number, sku in enumerate(("10", "20", "30", "40"))})
    world.sync()
    for sku in ("20", "30", "40"):
        (world.folder / f"{sku}.jpg").unlink()
    assert changes(world.sync()[1]) == {}
    assert len(world.images()) == 4
    assert changes(world.sync(allow_mass_delete=True)[1]) == {"remove": 3}
    assert set(world.images()) == {"10.jpg"}


def test_a_stored_plan_puts_no_picture_on_the_product_that_lost_the_sku_since(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "20__jpg": picture(2)})
    run = world.context()
    files(run, NoOptions())
    number = plan(run, FolderPlanOptions(dry_run=True)).shown["plan_id"]
    assert isinstance(number, int)
    with world.installation.engine.begin() as connection:
        connection.execute(sa.text("UPDATE imagesync.product SET sku = 'other' WHERE sku = '10'"))
    summary = product_images(world.context(), ApplyOptions(plan_id=number)).summary
    assert summary is not None
    assert (summary.images_added, summary.refused, set(world.images())) == (1, 1, {"20.jpg"})
    assert "the source does not have it any more (by the products as they are now)" in summary.warnings[-1]


def test_a_file_belongs_to_the_product_that_people_say_its_name_is(world: World) -> None:
    world.put(**{"99_2__jpg": picture(1), "§§__jpg": picture(2), "20__jpg": picture(3)})
    world.sync()
    assert set(world.images()) == {"20.jpg"}
    for number, sku in (("99", "30"), ("§§", "40")):
        add_rule(world.installation.engine, number, "", sku, "anna")
    world.sync()
    assert world.images() == {"99_2.jpg": ("30", True, 2), "§§.jpg": ("40", True, 1), "20.jpg": ("20", True, 1)}
    assert world.scalars(unmatched_article.c.number) == []
    assert changes(world.sync()[1]) == {}


def test_only_a_rule_that_holds_for_a_name_makes_a_number_of_the_whole_name() -> None:
    products = pd.DataFrame([StoredProduct(1, "variant", "ABC"), StoredProduct(2, "variant", "OLD", in_erp=False)])
    files = pd.DataFrame([{"key": "ABC_2.jpg", "sha256": "5a", "width": 1, "height": 1, "format": "JPEG"}])
    pattern = FolderSettings(_env_file=None, path="x", url=URL).pattern  # type: ignore[call-arg]
    for rules in ({("ABC_2", "BE"): 1}, {("ABC_2", ""): 2}):
        images, _ = plan_files(files, products, pattern, URL, rules)
        assert [*images["group"], *images["priority"]] == ["1", 2]


def test_content_that_was_lost_is_read_again(world: World) -> None:
    world.put(**{"10__jpg": picture(1)})
    world.sync()
    with world.installation.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM imagesync.image_content"))
    read, planned, _ = world.sync()
    assert (read.numbers["files/read"], changes(planned)) == (1, {})
    sha256 = world.scalars(product_image.c.metadata["sha256"].astext)[0]
    contents = Contents(world.installation.engine, world.installation.storage)
    assert own_source(sha256) in contents.find([own_source(sha256)])


def test_a_plan_shows_the_pictures_that_were_there_and_those_that_it_brings(world: World) -> None:
    world.put(**{"10__jpg": picture(1), "20__jpg": picture(2)})
    world.sync()
    world.put(**{"10__jpg": picture(3), "30__jpg": picture(4)})
    (world.folder / "20.jpg").unlink()
    run = world.context()
    files(run, NoOptions())
    plan(run, FolderPlanOptions())
    urls = [own_address(URL, hashlib.sha256(picture(colour)).hexdigest()) for colour in (1, 2, 3, 4)]
    waiting = pictures_of_newest(world)
    assert {one.image: one.before for one in waiting if one.before} == {"10.jpg": urls[0], "20.jpg": urls[1]}
    assert {one.image: one.after for one in waiting if one.after} == {"10.jpg": urls[2], "30.jpg": urls[3]}
    product_images(run, ApplyOptions())
    assert pictures_of_newest(world) == waiting


def test_what_is_missing_is_said_in_a_sentence(world: World) -> None:
    with pytest.raises(FolderError, match="the folder was never read; start the job folder__sync"):
        plan(world.context(), FolderPlanOptions())
    world.settings = FolderSettings(_env_file=None, path=str(world.folder))  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match="FOLDER_URL not set") as refused:
        files(world.context(), NoOptions())
    assert is_permanent(refused.value), "another attempt of the step finds the same settings"
    with pytest.raises(ValueError, match="a group named sku is needed"):
        FolderSettings(_env_file=None, pattern=r"(.+)")  # type: ignore[call-arg]


def test_a_full_disk_ends_the_scan_and_sets_no_file_aside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put(**{"10__jpg": picture(), "20__jpg": picture(1)})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Contents, "put", full)
    with pytest.raises(OSError, match="No space left"):
        files(world.context(), NoOptions())
    monkeypatch.undo()
    assert world.sync()[2].summary.images_added == 2
