"""Importing a folder, opening the head office from the settings, and the commands over both."""

import io
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from PIL import Image

from imagesync_pipelines.cli.main import root
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.embedded import stop_server
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError
from imagesync_pipelines.web.head_office import catalogue, tables
from imagesync_pipelines.web.head_office.catalogue import import_folder
from imagesync_pipelines.web.head_office.office import HeadOffice, open_head_office
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import Shop

pytestmark = pytest.mark.slow

Run = Callable[..., Result]


def picture(kind: str = "JPEG", colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    found.mkdir()
    (found / "05018970.jpg").write_bytes(picture())
    (found / "7.PNG").write_bytes(picture("PNG"))
    return found


def listed(office: HeadOffice, shop: Shop) -> dict[str, sa.Row]:
    query = sa.select(tables.photo, tables.product.c.sku, tables.product.c.name).join(tables.product)
    with office.engine.connect() as connection:
        return {row.sku: row for row in connection.execute(query.where(tables.product.c.brand_id == shop.brand))}


def test_an_import_into_a_bucket_that_is_not_there_is_one_line(office: HeadOffice, shop: Shop, folder: Path) -> None:
    with pytest.raises(StorageError, match="'mistyped': there is no such bucket; correct its name") as told:
        import_folder(replace(office, bucket="mistyped"), shop.brand, folder)
    assert "\n" not in str(told.value)
    assert listed(office, shop).keys() <= {"05018970"}


def test_pictures_become_the_photos_of_their_products(office: HeadOffice, shop: Shop, folder: Path) -> None:
    imported = import_folder(office, shop.brand, folder)
    assert (imported.written, imported.unchanged, imported.refused) == (2, 0, [])
    rows = listed(office, shop)
    assert {sku: (row.name, row.content_type) for sku, row in rows.items()} == {
        "05018970": ("Soup", "image/jpeg"),
        "7": ("7", "image/png"),
    }


def test_an_import_that_is_repeated_writes_only_what_changed(office: HeadOffice, shop: Shop, folder: Path) -> None:
    import_folder(office, shop.brand, folder)
    before = listed(office, shop)
    (folder / "7.PNG").write_bytes(picture("PNG", "blue"))
    imported = import_folder(office, shop.brand, folder)
    after = listed(office, shop)
    assert (imported.written, imported.unchanged) == (1, 1)
    assert after["05018970"] == before["05018970"]
    assert after["7"].id != before["7"].id


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("1.jpg", b"<html>not found</html>", "the body is HTML"),
        ("1.jpg", picture()[:-200], "cannot be decoded"),
        ("1.gif", picture("TIFF"), "it is TIFF, whatever its name says"),
        ("8.jpg", b"", "empty"),
        ("8.jpg.part", picture(), "still being written"),
        ("7.jpg", picture(), "a second picture for 7"),
    ],
    ids=["a web page", "cut", "another format", "nothing", "not whole yet", "two for one product"],
)
def test_a_bad_picture_is_refused_and_the_others_go_on(
    office: HeadOffice, shop: Shop, folder: Path, name: str, body: bytes, reason: str
) -> None:
    (folder / name).write_bytes(body)
    imported = import_folder(office, shop.brand, folder)
    assert imported.written == 2
    ((_, said),) = imported.refused
    assert reason in said


def test_every_file_that_is_not_taken_is_named_with_its_reason(office: HeadOffice, shop: Shop, folder: Path) -> None:
    others = {f"9.{kind}" for kind in ("tif", "jfif", "avif", "bmp", "txt")}
    for name in others:
        (folder / name).write_bytes(picture("BMP"))
    (folder / "8.jpg").mkdir()
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    (folder / "._1.jpg").write_bytes(b"what a Mac puts beside")
    imported = import_folder(office, shop.brand, folder)
    assert imported.written == 2
    told = dict(imported.refused)
    assert {told.pop("8.jpg"), told.pop("gone.jpg")} == {"it is no file; only those in the folder itself are taken"}
    assert set(told) == others
    assert set(told.values()) == {"only .gif, .jpeg, .jpg, .png, .webp are taken; save the picture as one of these"}


def test_the_same_names_in_other_characters_are_the_same_products(
    office: HeadOffice, shop: Shop, tmp_path: Path
) -> None:
    for form, colour in (("NFC", "red"), ("NFD", "blue")):
        folder = tmp_path / form
        folder.mkdir()
        for name in ("Käse-1", "Брюки-Й", "Crème brûlée"):
            (folder / f"{unicodedata.normalize(form, name)}.jpg").write_bytes(picture(colour=colour))
            (folder / f"._{name}.jpg").write_bytes(b"what a Mac puts beside it")
        imported = import_folder(office, shop.brand, folder)
        assert (imported.written, imported.refused) == (3, [])
    (folder / "Crème\u00a0brûlée .jpg").write_bytes(picture(colour="green"))
    (folder / unicodedata.normalize("NFD", "Crème brûlée.jpg")).unlink()
    assert import_folder(office, shop.brand, folder).written == 1
    assert set(listed(office, shop)) == {"Käse-1", "Брюки-Й", "Crème brûlée"}


def test_products_that_were_doubled_earlier_are_told_and_hidden_when_a_person_says_so(
    office: HeadOffice, shop: Shop, tmp_path: Path
) -> None:
    forms = (unicodedata.normalize("NFD", "Käse"), "Käse", "Käse\u00a0", "Brot ", "Brot")
    ids = {sku: operators.add_product(office, shop.brand, sku, sku) for sku in forms}
    for sku in forms[::2]:
        operators.put_photo(office, ids[sku], picture(), filename="old.jpg")
    (tmp_path / "Käse.jpg").write_bytes(picture(colour="blue"))
    told = import_folder(office, shop.brand, tmp_path)
    cheese, bread = {ids[forms[0]], ids[forms[2]]}, {ids["Brot "]}
    assert {(one.sku, one.counts, frozenset(one.others), one.is_hidden) for one in told.doubled} == {
        ("Käse", ids["Käse"], frozenset(cheese), False),
        ("Brot", ids["Brot"], frozenset(bread), False),
    }
    hidden = import_folder(office, shop.brand, tmp_path, hide_doubles=True)
    assert {one.sku: one.is_hidden for one in hidden.doubled} == {"Käse": True, "Brot": True}
    with office.engine.connect() as connection:
        query = sa.select(tables.product.c.id).where(~tables.product.c.is_active)
        assert set(connection.scalars(query)) & set(ids.values()) == cheese | bread
        gone = set(connection.scalars(sa.select(tables.photo_deletion.c.product_id)))
    assert gone & set(ids.values()) == cheese, "the stores hear of it"
    assert import_folder(office, shop.brand, tmp_path, hide_doubles=True).doubled == []
    assert {"Käse", "Brot"} <= set(listed(office, shop)), "no photo was deleted"


def test_a_name_that_does_not_say_clearly_whose_picture_it_is_is_refused_with_the_reason(
    office: HeadOffice, shop: Shop, tmp_path: Path
) -> None:
    reasons = {
        "05018970 .jpg": "a second picture for 05018970",
        "\u00a005018970.jpg": "a second picture for 05018970",
        "05018970 (1).jpg": "it looks like a copy of 05018970",
        "05018970 - Kopie.jpg": "it looks like a copy of 05018970",
        "05018970.jpg.png": "its name has two endings",
        "5018970.jpg": "there is no product 5018970; is 05018970 meant?",
    }
    for name in ("05018970.jpg", "._05018970.jpg", *reasons):
        (tmp_path / name).write_bytes(picture())
    imported = import_folder(office, shop.brand, tmp_path)
    assert imported.written == 1
    assert {name: next(why for why in reasons.values() if said.startswith(why)) for name, said in imported.refused} == (
        reasons
    )
    assert set(listed(office, shop)) == {"05018970"}


def test_a_good_photo_is_not_replaced_by_a_bad_picture(office: HeadOffice, shop: Shop, folder: Path) -> None:
    photo_id = operators.put_photo(office, shop.product, picture(), filename="a.jpg")
    (folder / "05018970.jpg").write_bytes(picture()[:-200])
    import_folder(office, shop.brand, folder)
    assert listed(office, shop)["05018970"].id == photo_id


@pytest.fixture
def place(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an installation that names the head office's database."""
    monkeypatch.setenv("IMAGESYNC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HO_DATABASE_URL", database_url)
    return tmp_path / "home"


def test_development_makes_its_secret_once_and_keeps_it_closed(place: Path) -> None:
    secrets = []
    for _ in range(2):
        with open_head_office() as office:
            secrets.append(office.jwt_secret.get_secret_value())
    assert secrets[0] == secrets[1]
    assert len(secrets[0]) == 64
    assert (place / "head_office.secret").stat().st_mode & 0o777 == 0o600


def test_without_settings_everything_is_embedded_and_survives_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(tempfile.mkdtemp(prefix="imagesync-office-"))
    monkeypatch.setenv("IMAGESYNC_HOME", str(home))
    try:
        with open_head_office() as office:
            brand = catalogue.add_brand(office, catalogue.add_company(office, "Company"), "Brand")
            product = operators.add_product(office, brand, "1", "One")
            operators.put_photo(office, product, b"picture", filename="a.jpg")
        with open_head_office() as office, office.engine.connect() as connection:
            key = connection.execute(sa.select(tables.photo.c.object_key)).scalar_one()
            assert office.s3.get_object(Bucket=office.bucket, Key=key)["Body"].read() == b"picture"
    finally:
        stop_server(home)
        shutil.rmtree(home)


@pytest.mark.usefixtures("place")
def test_production_names_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESYNC_ENVIRONMENT", "production")
    with pytest.raises(SettingsError, match="HO_JWT_SECRET"), open_head_office():
        pass


@pytest.mark.usefixtures("place")
def test_a_database_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HO_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x")
    with pytest.raises(DatabaseUnreachableError, match="HO_DATABASE_URL"), open_head_office():
        pass


def test_tables_of_a_newer_program_are_left_alone(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    tables.create_tables(engine)
    with engine.begin() as connection:
        connection.execute(tables.version.update().values(number=99))
    with pytest.raises(StorageError, match="version 99"):
        tables.create_tables(engine)
    engine.dispose()


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HO_DATABASE_URL", database_url)
    monkeypatch.setenv("HO_ACCOUNT_PASSWORD", "a long password")

    def call(*arguments: str) -> Result:
        return CliRunner(env=dict(os.environ)).invoke(root, ["head-office", *arguments], catch_exceptions=False)

    return call


def test_the_commands_fill_a_head_office_and_show_how_it_is(run: Run, folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture at all")
    place = ("--company", "Company", "--brand", "Brand")
    assert "store_id" in run("add-store", "S1", "Store 1", *place).output
    assert run("add-account", "edge-1").exit_code == 0
    assert "edge-1 may read S1" in run("grant", "edge-1", "S1").output
    imported = run("import-folder", str(folder), *place)
    assert imported.exit_code == 3
    assert "2 written, 0 unchanged, 1 refused" in imported.output
    assert "bad.jpg: " in imported.output
    health = run("health").output
    assert "Store 1" in health
    assert "never" in health


def test_a_grant_for_an_unknown_store_names_it(run: Run) -> None:
    run("add-account", "edge-1")
    with pytest.raises(catalogue.UnknownRowError, match="no store with the code S9"):
        run("grant", "edge-1", "S9")
