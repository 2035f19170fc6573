"""Text beside a product is read, offline, by a child with limits; what it costs and misses is in docs/quality.md."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.made_up import FAULTS, draw
from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.imaging.words import UNREAD, Line, WordLimits, WordsMissingError, is_line, told_of, word_reader

Read = Callable[[bytes], tuple[str, ...]]
PLAIN = replace(FAULTS["none"], side=600, fill=0.75)


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    with word_reader() as reader:
        yield reader


def made(words: str, opacity: float = 1.0, colour: str = "blue", kind: str = "shoe") -> bytes:
    return draw(kind, colour, replace(PLAIN, words=words, opacity=opacity), random.Random(3)).body


def test_text_beside_a_product_is_read_and_that_of_other_letters_is_seen(read: Read) -> None:
    assert read(made("")) == ()
    assert read(made("SALE -50%")) == ("SALE-50%",)
    assert read(made("Бесплатная доставка")) == (UNREAD,)
    assert read(made("© example.com", 0.6)) == ("© example.com",)


def test_what_is_written_on_a_product_is_its_own_and_a_watermark_is_not(read: Read) -> None:
    label, mark = (
        draw("box", "red", replace(PLAIN, words=words, opacity=0.7), random.Random(3)).body for words in WORDS
    )
    assert read(label) == ()
    assert any("shop.com" in one for one in read(mark))


WORDS = "Oat flakes", "www.shop.com"


@pytest.mark.slow
def test_a_child_that_dies_costs_one_picture_and_a_hostile_picture_never_comes_to_it(read: Read) -> None:
    read(made("", kind="box"))
    (child,) = (one for one in psutil.Process().children() if "imagesync_pipelines.imaging.words" in one.cmdline())
    with pytest.raises(BadImageError):
        read(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert child.is_running()
    child.kill()
    with pytest.raises(BadImageError, match="limits") as told:
        read(made("SALE"))
    assert told.value.fault is Fault.LIMITS
    assert read(made("SALE")) == ("SALE",)


def test_a_model_that_is_not_there_in_time_is_ended_and_told() -> None:
    with (
        word_reader(WordLimits(seconds=0.001)) as impatient,
        pytest.raises(WordsMissingError, match="cannot be loaded"),
    ):
        impatient(made("SALE"))
    assert [one for one in psutil.Process().children() if one.status() == psutil.STATUS_ZOMBIE] == []


def test_the_child_opens_no_connection() -> None:
    program = (
        "import sys; from imagesync_pipelines.imaging.words import _refuse_network; sys.addaudithook(_refuse_network)\n"
        "import socket\nsocket.create_connection(('localhost', 9))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "PermissionError: who reads text opens no connection" in done.stderr


@pytest.mark.parametrize("missing", ["rapidocr", "onnxruntime"])
def test_without_the_extra_it_says_how_to_install_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(WordsMissingError, match=r"pip install 'imagesync-pipelines\[words\]'"), word_reader():
        pass


@pytest.mark.parametrize(
    ("text", "sure", "is_writing", "told"),
    [
        ("SALE", 0.95, 0.6, "SALE"),
        (" 50% ", 0.95, 0.6, "50%"),
        ("D", 0.95, 0.9, ""),
        ("::", 0.95, 0.9, ""),
        ("", 0.0, 0.8, UNREAD),
        ("SAIE", 0.5, 0.8, UNREAD),
        ("SAIE", 0.5, 0.6, ""),
        ("", 0.0, 0.5, ""),
    ],
)
def test_what_is_told_of_a_line(text: str, sure: float, is_writing: float, told: str) -> None:
    assert told_of(Line(text, sure, is_writing, (0, 0, 90, 30))) == told


@given(*[st.integers(0, 1000)] * 4)
def test_a_line_lies_or_stands_and_is_no_large_part_of_the_frame(left: int, top: int, width: int, height: int) -> None:
    box = (left, top, left + width, top + height)
    assert is_line(box, (1000, 800)) == is_line((top, left, top + height, left + width), (800, 1000))
    if is_line(box, (1000, 800)):
        assert 0 < min(width, height) <= 200
        assert max(width, height) > min(width, height)
