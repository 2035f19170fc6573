"""False alarms and misses of the measures of main pictures, at several thresholds: `python -m benchmarks.detection`.

On drawn pictures with known answers, and on free photographs of packages, judged by a person, blurred and enlarged.
`--words` reads text too, which takes half a second a picture; `--each N`: so many drawn pictures of each fault.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image, ImageFilter

from benchmarks.hand_judged import JUDGED, Judged, judged
from benchmarks.made_up import FAULTS, MadeUp, made_up
from imagesync_pipelines.imaging.errors import BadImageError
from imagesync_pipelines.imaging.measures import measured
from imagesync_pipelines.imaging.words import word_reader

# What the rule sets ask for, unless a marketplace has another number.
WHITE, FILL, SHARP = 0.98, 0.85, 0.35
# The test repeats every so manieth fault, once.
QUICK = 5


class Seen(NamedTuple):
    """A picture that was measured; true: whether it has each fault, by its question; None: it does not matter."""

    name: str
    true: dict[str, bool | None]
    found: dict[str, Any]


@dataclass(frozen=True)
class Question:
    """Whether what was found is a fault, at each of the thresholds; the one that is used has `chosen`."""

    name: str
    is_fault: Callable[[dict[str, Any], float], bool]
    thresholds: Sequence[float] = (0,)
    chosen: float = 0


QUESTIONS = (
    Question("background not white", lambda one, at: one["white_background"] < at, (0.8, 0.9, 0.95, 0.98, 0.99), WHITE),
    Question("fills less than 85 %", lambda one, at: one["fill"] < at, (0.83, 0.84, 0.85, 0.86), FILL),
    Question("cropped", lambda one, _: bool(one["touched_sides"])),
    Question("blurred or enlarged", lambda one, at: one["sharpness"] < at, (0.2, 0.25, 0.3, 0.35, 0.4), SHARP),
    Question("transparent", lambda one, _: one["transparent"] > 0),
    Question("text", lambda one, _: bool(one.get("words"))),
)


class Count(NamedTuple):
    """How many good pictures were blamed, of how many; how many faults were missed, of how many."""

    blamed: int
    good: int
    missed: int
    faulty: int
    wrong: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.blamed} of {self.good} | {self.missed} of {self.faulty}"


def counted(seen: Iterable[Seen], question: Question, threshold: float) -> Count:
    """How a question was answered at a threshold."""
    blamed = good = missed = faulty = 0
    wrong = []
    for one in seen:
        true = one.true.get(question.name)
        if true is None or (question.name == "text" and "words" not in one.found):
            continue
        found = question.is_fault(one.found, threshold)
        good, faulty = good + (not true), faulty + true
        blamed, missed = blamed + (found and not true), missed + (true and not found)
        if found != true:
            wrong.append(one.name)
    return Count(blamed, good, missed, faulty, tuple(wrong))


def true_of(one: MadeUp) -> dict[str, bool | None]:
    """The answers for a drawn picture. A shadow may be one or not; so may a slight blur, or what is at the bound."""
    fault = one.fault
    blur = True if fault.blur >= 2 or 0 < fault.upscaled_from <= 330 else False if fault.blur < 1 else None
    fills = None if fault.cropped or abs(one.fill - FILL) < 0.004 else one.fill < FILL
    return {
        "background not white": None if fault.shadow else fault.darkest < 255,
        "fills less than 85 %": fills,
        "cropped": bool(fault.cropped),
        "blurred or enlarged": None if fault.upscaled_from == 500 else blur,
        "transparent": fault.transparent,
        "text": bool(fault.words),
    }


def true_by_hand(one: Judged) -> dict[str, bool | None]:
    """The answers for a picture that a person judged."""
    return {
        "background not white": not one.is_white,
        "cropped": one.is_cropped,
        "blurred or enlarged": one.is_blurred,
        "text": one.has_words,
    }


def harmed() -> Iterator[tuple[str, dict[str, bool | None], bytes]]:
    """Every sharp picture of the hand-judged, blurred and enlarged in steps."""
    for one, body in judged():
        if one.is_blurred is not False or one.path.endswith("color.png"):
            continue
        with Image.open(io.BytesIO(body)) as opened:
            picture = opened.convert("RGBA")
        for blur in (1, 2, 3):
            yield _harmed(one, f"blurred by {blur}", picture.filter(ImageFilter.GaussianBlur(blur)), blur > 1)
        for times in (2, 3, 4):
            small = (max(1, picture.width // times), max(1, picture.height // times))
            large = picture.resize(small, Image.Resampling.LANCZOS).resize(picture.size, Image.Resampling.BICUBIC)
            yield _harmed(one, f"enlarged {times} times", large, times > 2)


def _harmed(one: Judged, how: str, picture: Image.Image, is_fault: bool) -> tuple[str, dict[str, bool | None], bytes]:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return f"{one.name} {how}", {"blurred or enlarged": is_fault or None}, target.getvalue()


def found_in(body: bytes) -> dict[str, Any]:
    """What was measured of a picture."""
    found: dict[str, Any] = json.loads(measured(body))
    return found


def quick() -> list[Seen]:
    """The part of the drawn pictures that a test repeats."""
    faults = dict(list(FAULTS.items())[::QUICK])
    return [Seen(one.name, true_of(one), found_in(one.body)) for one in made_up(1, faults)]


def said(seen: Sequence[Seen], at: Callable[[Question], Sequence[float]]) -> Iterator[str]:
    """The rows of a table: question, threshold, false alarms, misses."""
    for question in QUESTIONS:
        for threshold in at(question):
            count = counted(seen, question, threshold)
            if count.good + count.faulty:
                shown = f"{threshold:g}" if question.chosen else ""
                yield " ".join(f"| {question.name} | {shown} | {count} |".split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=9)
    parser.add_argument("--words", action="store_true")
    asked = parser.parse_args()
    drawn = [(one.name, true_of(one), one.body) for one in made_up(asked.each)]
    by_hand = [(one.name, true_by_hand(one), body) for one, body in judged()]
    print(
        f"{len(drawn)} drawn pictures; {len(by_hand)} of {len(JUDGED)} judged by hand (see benchmarks/hand_judged.py)"
    )
    with ProcessPoolExecutor(2) as pool, word_reader() if asked.words else nullcontext() as read:
        for title, pictures in (("drawn", drawn), ("judged by hand", by_hand), ("those, harmed", list(harmed()))):
            measures = list(pool.map(found_in, (body for _, _, body in pictures), chunksize=8))
            if read is not None and title != "those, harmed":
                for found, (_, _, body) in zip(measures, pictures, strict=True):
                    found["words"] = _read(read, body)
            seen = [Seen(name, true, found) for (name, true, _), found in zip(pictures, measures, strict=True)]
            print(f"\n{title}\n| fault | threshold | false alarms | missed |\n|---|---|---|---|")
            print(*said(seen, lambda question: question.thresholds), sep="\n")
            for question in QUESTIONS:
                for wrong in counted(seen, question, question.chosen).wrong:
                    print(f"wrong: {question.name}: {wrong}")
    print("\nthe quick part", *said(quick(), lambda question: (question.chosen,)), sep="\n")


def _read(read: Callable[[bytes], tuple[str, ...]], body: bytes) -> tuple[str, ...]:
    try:
        return read(body)
    except BadImageError as error:
        print(error)
        return ()


if __name__ == "__main__":
    main()
