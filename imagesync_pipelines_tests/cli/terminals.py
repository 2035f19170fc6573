"""The `imagesync` command as tests run it: as a process of its own, or, where only the text matters, in this one."""

import logging
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagesync_pipelines.cli.main import main
from imagesync_pipelines.languages import ENGLISH, speaking
from imagesync_pipelines_tests.installations import World

COMMAND = [sys.executable, "-m", "imagesync_pipelines.cli.main"]


@dataclass(frozen=True)
class Ended:
    """One command that ended."""

    code: int
    out: str
    err: str


def environment_of(place: World | None, more: dict[str, str]) -> dict[str, str]:
    """The variables of a shell on an installation, and nothing else of this machine's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, **(place.environment if place is not None else {}), **more}


def shell(place: World | None, folder: Path, *words: str, **more: str) -> Ended:
    """Run `imagesync <words>` as a process in `folder`; `more` are further variables."""
    done = subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment_of(place, more), capture_output=True, text=True, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def call(place: World | None, capsys: pytest.CaptureFixture[str], *words: str, **more: str) -> Ended:
    """Run `imagesync <words>` in this process, which starts in no time; logging and warnings are as before after it."""
    capsys.readouterr()
    level = logging.getLogger("imagesync").level
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), speaking(ENGLISH):
        for name, value in {**(place.environment if place is not None else {}), **more}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["imagesync", *words])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            logging.getLogger("imagesync").setLevel(level)
    shown = capsys.readouterr()
    return Ended(code, shown.out, shown.err)
