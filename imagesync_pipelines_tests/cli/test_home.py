"""A home that was used, from outside: nobody else can read it or take its locks, and `clean` asks before it removes."""

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from PIL import Image

from imagesync_pipelines.cli.installation import clean
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines.storage.home import make_private
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines_tests.cli.terminals import COMMAND, Ended, environment_of
from imagesync_pipelines_tests.places import rows_of

pytestmark = pytest.mark.slow

PRODUCT = "INSERT INTO imagesync.product (kind, erp_id, sku, name) VALUES ('parent', '1', 'A1', 'Chair')"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder with a home, `home`, in which one picture was synchronised by a shell whose files are everybody's."""
    with tempfile.TemporaryDirectory(prefix="imagesync-tests-") as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        Image.new("RGB", (30, 20), "red").save(folder / "pictures" / "A1_1.png")
        with open_installation(Settings(home=folder / "home")) as opened, opened.engine.begin() as connection:
            connection.execute(sa.text(PRODUCT))
        done = imagesync(folder, "sync", "folder")
        assert done.code == 0, done.out + done.err
        yield folder
        stop_server(folder / "home")


def imagesync(folder: Path, *words: str) -> Ended:
    """Run `imagesync <words>` on the home in the folder, without a mask."""
    variables = {
        "IMAGESYNC_HOME": str(folder / "home"),
        "FOLDER_PATH": str(folder / "pictures"),
        "FOLDER_URL": "https://images.example.com",
    }
    done = subprocess.run(
        [*COMMAND, *words], env=environment_of(None, variables), stdin=subprocess.DEVNULL, cwd=folder, umask=0,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def open_to_others(home: Path) -> list[str]:
    """Every path of a home, by its name in it, that somebody else can read, write or enter; links have no rights."""
    passed = stat.S_IXOTH if os.geteuid() == 0 else 0
    found = [(path, path.lstat().st_mode) for path in (home, *home.rglob("*"))]
    wide = {path: mode & 0o077 & ~(passed if path == home else 0) for path, mode in found if not stat.S_ISLNK(mode)}
    return [f"{path.relative_to(home)} {mode:o}" for path, mode in wide.items() if mode]


def test_nothing_in_a_used_home_is_open_to_others(place: Path) -> None:
    home = place / "home"
    assert {"dagster", "storage", "postgres", "postgres.lock"} <= {path.name for path in home.iterdir()}
    assert list((home / "dagster").rglob("*.err")), "what a run writes to its streams is kept"
    assert open_to_others(home) == []


def test_an_old_home_is_closed_at_the_next_start_and_what_is_not_ours_keeps_its_rights(place: Path) -> None:
    home = place / "home"
    for path in (home, *home.rglob("*")):
        if not path.is_relative_to(home / "postgres"):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert imagesync(place, "history").code == 0
    assert open_to_others(home) == []


def test_a_folder_that_others_use_too_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "storage" / "plans").mkdir(parents=True)
    (tmp_path / "catalogue.secret").touch()
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    make_private(tmp_path)
    assert open_to_others(tmp_path / "storage") == []
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("", "thesis", "catalogue.secret")] == [
        0o755, 0o755, 0o600
    ]  # fmt: skip


def test_a_file_that_a_person_names_gets_the_rights_of_that_persons_shell(place: Path) -> None:
    assert imagesync(place, "export", "csv", "--to", str(place / "out.csv")).code == 0
    assert stat.S_IMODE((place / "out.csv").stat().st_mode) == 0o666


def test_clean_shows_what_goes_with_sizes_and_what_people_made_and_asks(place: Path) -> None:
    (place / "home" / "thesis").mkdir()
    ours = ensure_server(place / "home").url("imagesync", "psycopg")
    rows_of(ours, "INSERT INTO imagesync.web_user (name, role, password_hash) VALUES ('anna', 'admin', '')")
    for said in ("", "n\n", "\n"):
        asked = CliRunner().invoke(clean, input=said, env={"IMAGESYNC_HOME": str(place / "home")})
        assert (asked.exit_code, "Aborted!" in asked.output) == (1, True)
        assert (place / "home" / "storage").is_dir()
    lines = asked.output.splitlines()
    assert lines[0] == f"What we made in {(place / 'home').resolve()}:"
    assert any(line.split()[0] == "postgres" and line.endswith(" MB") for line in lines)
    assert "  in its database, and gone with it: 1 users" in lines
    assert "Not ours, stays: thesis" in lines
    removed = imagesync(place, "clean", "--yes")
    assert removed.code == 0, removed.err
    assert [path.name for path in (place / "home").iterdir()] == ["thesis"]
    shutil.rmtree(place / "home")


def test_a_home_on_a_disk_that_takes_no_rights_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "storage").mkdir()
    tmp_path.chmod(0o755)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "chmod", refuse)
    make_private(tmp_path)
