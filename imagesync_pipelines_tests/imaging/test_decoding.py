"""What is decoded at once is bounded over all processes of a home, and every end of a child is told for what it is."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imagesync_pipelines.imaging import decoding
from imagesync_pipelines.imaging.decoding import DecodeLimits, decode, places
from imagesync_pipelines.imaging.errors import BadImageError, Fault

# Takes places again and again, and adds up in a file of one byte per place how much is taken by all processes.
WORKER = """
import fcntl, os, sys, time
from pathlib import Path
from imagesync_pipelines.imaging.decoding import places
folder, wanted = Path(sys.argv[1]), int(sys.argv[2])

def book(change):
    with open(folder / "book", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now, most = map(int, file.read().split())
        now += change
        file.seek(0), file.truncate(), file.write(f"{now} {max(now, most)}")

for _ in range(10):
    with places(folder, "here", wanted, 4):
        book(wanted)
        time.sleep(0.002)
        book(-wanted)
"""
HOLDER = """
import sys, time
from pathlib import Path
from imagesync_pipelines.imaging.decoding import places
with places(Path(sys.argv[1]), "child", 2, 2):
    print(flush=True)
    time.sleep(600)
"""


def picture(kind: str = "TIFF") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (30, 20)).save(target, kind)
    return target.getvalue()


@pytest.fixture
def a_holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds both places of two."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_places_of_a_home_are_enough_for_all_its_processes_and_no_more_are_taken(tmp_path: Path) -> None:
    (tmp_path / "book").write_text("0 0")
    # Who wants more than there are takes all.
    order = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen([*order, wanted]) for wanted in ("1", "3", "2", "4")]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert (tmp_path / "book").read_text() == "0 4"


def test_what_a_killed_process_held_is_free(tmp_path: Path, a_holder: subprocess.Popen[str]) -> None:
    a_holder.kill()
    a_holder.wait()
    with places(tmp_path, "child", 2, 2) as held:
        assert len(held) == 2


def test_a_child_holds_its_place_also_when_the_process_that_started_it_is_gone(tmp_path: Path) -> None:
    with places(tmp_path, "child", 1, 1) as held:
        # It ends when its input does.
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=tuple(held))
    got_it = threading.Event()

    def ask() -> None:
        with places(tmp_path, "child", 1, 1):
            got_it.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert not got_it.wait(0.3)
    child.communicate()
    asking.join()
    assert got_it.is_set()


def test_decoding_waits_for_a_place_and_gives_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESYNC_DECODE_CHILDREN", "1")
    monkeypatch.setenv("IMAGESYNC_HOME", str(tmp_path / "home"))
    for _ in range(3):
        decode("check", picture(), DecodeLimits())
    assert sorted(one.name for one in (tmp_path / "home" / "decoding").iterdir()) == ["child.0", "child.turn"]
    assert (tmp_path / "home" / "decoding").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "more than the 1024 MB", id="killed"),
        pytest.param("import sys; sys.exit(1)", r"ended without an answer \(exit 1\)", id="exit 1"),
        pytest.param("pass", r"ended without an answer \(exit 0\)", id="nothing said"),
    ],
)
def test_every_end_of_a_child_is_told_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: str, words: str
) -> None:
    (tmp_path / "child").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{lines}'\n")
    (tmp_path / "child").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "child"))
    with pytest.raises(BadImageError, match=words) as caught:
        decode("check", picture(), DecodeLimits())
    assert caught.value.fault is Fault.LIMITS


@pytest.mark.parametrize(
    ("raised", "fault", "words"),
    [
        (MemoryError, Fault.LIMITS, "needs more memory than it may have"),
        (KeyError, Fault.BROKEN, "the picture cannot be decoded: KeyError"),
    ],
)
def test_what_a_decoder_raises_is_told_in_our_words(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception], fault: Fault, words: str
) -> None:
    def function(*_: object, **__: object) -> bytes:
        raise raised

    monkeypatch.setattr(decoding, "_function", lambda _: function)
    with pytest.raises(BadImageError, match=words) as caught:
        decode("check", picture("PNG"), DecodeLimits())
    assert caught.value.fault is fault
