"""Backup and restore as docs/operating.md says it, typed word by word: everything is lost, and nothing is."""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imagesync_pipelines_tests import generated

pytestmark = pytest.mark.slow

PRODUCTS = "INSERT INTO imagesync.product (kind, erp_id, sku, name) VALUES " + ", ".join(
    f"('variant', 'A{nth}', 'A{nth}', 'Product {nth}')" for nth in range(1, 5)
)
SHOWN = "SELECT p.sku || ' ' || i.external_id || ' ' || i.image_url || ' ' || i.id FROM imagesync.product_image i "
SHOWN += "JOIN imagesync.product p ON p.id = i.product_id ORDER BY 1"


def block(name: str) -> str:
    """The commands of docs/operating.md that stand under a mark."""
    text = (generated.ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found is not None, name
    return found[1]


class Shell:
    """A shell in the folder of an installation with an embedded database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**kept, "PATH": path, "FOLDER_PATH": "pictures", "FOLDER_URL": "https://images.example"}

    def run(self, script: str) -> str:
        """What a script prints; none of its commands fails."""
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    def put(self, name: str, colour: int) -> None:
        """A picture of this name."""
        made = io.BytesIO()
        Image.new("RGB", (30, 20), colour).save(made, "PNG")
        (self.folder / "pictures" / name).write_bytes(made.getvalue())

    def shown(self) -> list[str]:
        """The product images."""
        return self.run(f'imagesync postgres psql -At -d imagesync -c "{SHOWN}"').splitlines()

    def stored(self) -> set[Path]:
        """The files of the storage root."""
        root = self.folder / ".imagesync" / "storage"
        return {found.relative_to(root) for found in root.rglob("*") if found.is_file()}

    def backups(self) -> list[str]:
        """The folders of all backups, the first one first."""
        return sorted(f"backup/{found.name}" for found in (self.folder / "backup").iterdir())

    def restore(self, backup: str) -> str:
        """Restore from a folder, into a home that is gone."""
        self.run("imagesync clean --yes")
        assert not (self.folder / ".imagesync").exists()
        return self.run(re.sub(r"(?m)^from=\S+", f"from={backup}", block("restore")))


@pytest.fixture
def shell() -> Iterator[Shell]:
    """Four products and their pictures, synchronised once."""
    folder = Path(tempfile.mkdtemp(prefix="imagesync-tests-"))
    folder.chmod(0o711)
    made = Shell(folder)
    try:
        (folder / "pictures").mkdir()
        for nth in range(1, 5):
            made.put(f"A{nth}_1.png", nth)
        made.run(f'imagesync upgrade; imagesync postgres psql -d imagesync -c "{PRODUCTS}"; imagesync sync folder')
        yield made
    finally:
        made.run("imagesync clean --yes")
        shutil.rmtree(folder)


@pytest.mark.long
def test_everything_is_lost_and_restored_at_once_and_an_hour_late(shell: Shell) -> None:
    before = shell.shown()
    assert len(before) == 4
    shell.run(block("backup"))

    # The next one, with a new picture, is another folder.
    shell.put("A4_2.png", 21)
    shell.run("imagesync sync folder")
    before = shell.shown()
    assert len(before) == 5
    files = shell.stored()
    shell.run(block("backup"))
    _, second = shell.backups()
    assert (shell.folder / second).stat().st_mode & 0o777 == 0o700
    shell.restore(second)
    assert (shell.shown(), shell.stored() >= files) == (before, True)
    again = shell.run("imagesync sync folder || test $? = 3")
    assert "images added 0, images updated 0, images deleted 0" in again
    assert shell.shown() == before

    # An hour of work that is in no backup.
    shell.put("A1_2.png", 11)
    shell.put("A2_1.png", 12)
    (shell.folder / "pictures" / "A3_1.png").unlink()
    shell.run("imagesync sync folder")
    worked = [line.rsplit(" ", 1)[0] for line in shell.shown()]
    assert len(worked) == 5
    told = shell.restore(second)
    assert "what the database remembers of these is not believed until then" in " ".join(told.split())
    assert shell.shown() == before
    late = shell.run("imagesync sync folder || test $? = 3")
    assert "restored from a backup" in late
    assert [line.rsplit(" ", 1)[0] for line in shell.shown()] == worked
    quiet = shell.run("imagesync sync folder")
    assert "images added 0, images updated 0, images deleted 0" in quiet
