"""Two trees are measured in turn, with all that they start, and a copy without the earlier commit says so."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.before import HERE, NEW, OLD, alternate, before, measured

IN_GIT = subprocess.run(["git", "-C", str(HERE), "rev-parse", "HEAD"], capture_output=True, check=False).returncode == 0

WHERE = """
import json, pathlib, sys
import benchmarks.measuring, imagesync_pipelines
given = json.loads(sys.argv[1])
home = pathlib.Path(given["home"])
empty = not list(home.iterdir())
(home / "used").touch()
trees = [str(pathlib.Path(module.__file__).resolve().parents[up]) for module, up in
         ((imagesync_pipelines, 1), (benchmarks.measuring, 1))]
print("a line of the measurement's own")
print(json.dumps({"trees": trees, "empty": empty, "value": given["value"]}))
"""
# Leaves behind what PostgreSQL is to a measurement: a process that nobody waits for, in a session of its own.
ORPHAN = """
import json, os, subprocess, sys, time
began, ready = "import time\\nwhile time.process_time() < 0.5: pass\\nprint(flush=True)\\ntime.sleep(600)", ""
busy = subprocess.Popen([sys.executable, "-c", began], stdout=subprocess.PIPE, start_new_session=True)
busy.stdout.readline()
print(json.dumps({"pid": busy.pid}), flush=True)
os._exit(0)
"""


def written(folder: Path, text: str) -> Path:
    """A measuring script."""
    (folder / "script.py").write_text(text, encoding="utf-8")
    return folder / "script.py"


def test_a_script_runs_in_turn_under_both_packages_with_the_measurements_of_this_tree(tmp_path: Path) -> None:
    old = tmp_path / "old"
    for name in ("imagesync_pipelines", "benchmarks"):
        (old / name).mkdir(parents=True)
        (old / name / "__init__.py").touch()
    found = alternate(written(tmp_path, WHERE), old, rounds=2, value=7)
    assert list(found) == [OLD, NEW]
    for name, tree in ((OLD, old), (NEW, HERE)):
        figures = [one.figures for one in found[name].rounds]
        assert figures == [{"trees": [str(tree), str(HERE)], "empty": True, "value": 7}] * 2
        assert found[name].median("value") == 7
        assert found[name].processor > 0
        assert found[name].peak_bytes > 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans on")
def test_what_a_measurement_leaves_running_is_counted_and_ended(tmp_path: Path) -> None:
    found = measured(written(tmp_path, ORPHAN))
    assert found.processor >= 0.5
    assert not psutil.pid_exists(found.figures["pid"])


@pytest.mark.skipif(not IN_GIT, reason="this copy is no git repository")
def test_the_earlier_commit_has_a_tree_of_its_own_that_is_gone_afterwards() -> None:
    with before(commit="HEAD") as tree:
        assert tree is not None
        assert (tree / "imagesync_pipelines" / "definitions.py").exists()
    assert not tree.exists()
    known = subprocess.run(["git", "-C", str(HERE), "worktree", "list"], capture_output=True, text=True, check=True)
    assert str(tree) not in known.stdout


def test_a_copy_without_the_earlier_commit_says_so_and_has_no_column_for_it() -> None:
    said: list[object] = []
    with before(said.append, commit="0" * 40) as tree:
        assert tree is None
    assert "this copy has no commit 0000000" in str(said)
