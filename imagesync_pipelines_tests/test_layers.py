"""The layers of the package are held: an import that points upwards, or that does not belong, breaks a contract."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import imagesync_pipelines

PACKAGE = Path(imagesync_pipelines.__file__).parent


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in a folder."""
    program = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the package and its contracts."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE.parent / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("connectors/edge/rules.py", "import dagster", "Only definitions, defs and cli know Dagster BROKEN"),
        ("connectors/edge/rules.py", "import sqlalchemy", "Pure files know no database and no HTTP BROKEN"),
        (
            "connectors/edge/rules.py",
            "import imagesync_pipelines.connectors.plytix.rules",
            "A connector never imports another one BROKEN",
        ),
        ("web/service.py", "import imagesync_pipelines.defs.runs", "Imports point downwards only BROKEN"),
        ("another.py", "", "imagesync_pipelines.another"),
    ],
    ids=["Dagster in rules", "a database in rules", "another connector", "a page that knows defs", "no layer at all"],
)
def test_an_import_that_does_not_belong_breaks_its_contract(copied: Path, module: str, line: str, broken: str) -> None:
    file = copied / PACKAGE.name / module
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{before}\n{line}\n", encoding="utf-8")
    done = linted(copied)
    assert done.returncode == 1, done.stdout + done.stderr
    assert broken in " ".join((done.stdout + done.stderr).split())


def test_the_package_as_it_is_keeps_all_contracts(copied: Path) -> None:
    done = linted(copied)
    assert done.returncode == 0, done.stdout + done.stderr
