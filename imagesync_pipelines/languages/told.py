"""Sentences that are kept or passed on in English, and said in another language when somebody reads them.

Deep code tells (`told`): the sentence goes as English into plans, histories, quarantine, logs and errors. Whoever
shows it to a person retells it: the sentence is found among the marked ones by its shape, its values are taken out of
it, and it is said anew. A sentence that is not known is shown as it is.
"""

import itertools
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from string import Formatter

from imagesync_pipelines.languages import numbers
from imagesync_pipelines.languages.current import ENGLISH, MARKED, current, speaking
from imagesync_pipelines.languages.texts import Catalogue, catalogue, marked

_SENTENCES = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)( )")
# Where a text that is not known as a whole may be several: lines, sentences, parts of a list, what is said of it.
_SEAMS = (re.compile(r"(\n\s*)"), _SENTENCES, re.compile(r"(; )"), re.compile(r"(: )"))
# Nobody reads more at once, and each part is looked for with those that follow it.
_MOST_PARTS = 40
# Text of a supplier may be anything: what is longer than anything that is told stays as it is, and so does what is
# deeper within sentences than code ever tells it.
_LONGEST, _DEEPEST = 10_000, 4
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+|\d+(\.\d+)? %")
_ANY, _NUMBER = ".*?", r"-?[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?%?"
# How numbers are written; anything else, of a date above all, is not looked into.
OF_NUMBERS = re.compile(r",?(?:\.\d+[fge%]|[dfge%])?")
_FORMATTER = Formatter()
# Of two gaps that are called alike the second is sku_2.
_OF_ANOTHER = re.compile(r"_\d+$")
# Gaps of what others named, which stays as it is even where it is called as a sentence of ours.
_NAMES = frozenset(
    {"sku", "username", "filename", "external_id", "asset_id", "alias", "path", "url", "folder", "table"}
)
_depth: ContextVar[int] = ContextVar("depth", default=0)
# So much of a beginning, or of an end, tells which shapes are worth a look.
_HEAD, _TAIL = 4, 2


@dataclass(frozen=True)
class _Shape:
    """A sentence with gaps: what it begins and ends with, its pattern, and how to say it."""

    english: tuple[str, ...]
    # What stands before, between and behind the gaps.
    literals: tuple[str, ...]
    expression: str
    # How the values of its gaps are written in English, where that is said: {n:,}.
    written: Mapping[str, str]
    # Its number where it names none.
    count: int
    weight: int

    def values(self, text: str) -> dict[str, str] | None:
        """What fills the gaps in a text; None when it is another one."""
        # A pattern with many gaps takes long to see that a text is another one.
        if not text.startswith(self.literals[0]) or not text.endswith(self.literals[-1]):
            return None
        at = 0
        for literal in self.literals:
            at = text.find(literal, at)
            if at < 0:
                return None
            at += len(literal)
        found = self._pattern.fullmatch(text)
        return None if found is None else found.groupdict()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Made when a text may be of this shape: most shapes are never looked at."""
        return re.compile(self.expression, re.DOTALL)


def told(sentence: str) -> str:
    """The sentence itself, marked: told(f"held back: {n:,} of {total:,} rows"). `retold` says it to a person.

    Of an f-string the catalogues have the shape, with gaps that are called as what fills them. Errors of ours need no
    mark where they are raised.
    """
    return sentence


def told_n(one: str, many: str, n: int) -> str:
    """As `told`, of a number of things: told_n(f"{n:,} row", f"{n:,} rows", n)."""
    return one if n == 1 else many


def retold(text: str) -> str:
    """A sentence of `told`, or a constant of `N_`, in the language that is spoken.

    Several at once (lines, sentences, parts between semicolons) are retold one by one; what is not known stays, and
    so does what is longer than 10,000 characters.
    """
    language = current()
    return text if language == ENGLISH or not 0 < len(text) <= _LONGEST else _retold(language, text)


@lru_cache(8192)
def _retold(language: str, text: str) -> str:
    return _book(language).retold(text)


@lru_cache
def _book(language: str) -> "Book":
    return Book(language, catalogue(language))


class Book:
    """What one language can retell: whole sentences, and shapes, those that say most by themselves first."""

    def __init__(self, language: str, catalogue: Catalogue) -> None:
        self._language, self._catalogue = language, catalogue
        shapes = [
            _shape(english, text, count)
            for english in catalogue.told
            for count, text in zip((1, 2), english, strict=False)
        ]
        self._whole = {one.literals[0]: one for one in shapes if not one.written}
        # What has no word of its own would fit anything.
        self._shapes: dict[str, list[_Shape]] = {}
        for one in shapes:
            if one.written and one.weight:
                self._shapes.setdefault(_end_of(one), []).append(one)
        self._near = lru_cache(2048)(self._with_ends)

    def retold(self, text: str) -> str:
        """A sentence, or several, in the language; what is not known stays."""
        with speaking(self._language):
            return self._several_sentences(text) or self._as_a_whole(text) or self._in_parts(text, 0)

    def _several_sentences(self, text: str) -> str:
        """A text of sentences each of which is known by itself: one of them may look as if it held the others."""
        parts = _SENTENCES.split(text, _MOST_PARTS) if text not in self._whole else []
        said = [self._as_a_whole(part) for part in parts[::2]] if len(parts) > 1 else []
        between = [*parts[1::2], ""]
        return "".join(itertools.chain(*zip(said, between, strict=True))) if said and all(said) else ""

    def _as_a_whole(self, text: str) -> str:
        """A text that is known as a whole, said; '' when it is not."""
        shape = self._whole.get(text)
        if shape is not None:
            return self._say(shape, {})
        for shape in self._near(text[:_HEAD], text[-_TAIL:]):
            values = shape.values(text)
            if values is not None:
                return self._say(shape, values)
        return ""

    def _with_ends(self, head: str, tail: str) -> list[_Shape]:
        """The shapes of texts that begin or end so: of a thousand there are few."""
        found = [one for end in (f"{head}…", f"…{tail}", "") for one in self._shapes.get(end, ())]
        # A sentence is taken for one that ends as it does before it is taken for one that ends with a gap.
        stop = tail.endswith(".")
        return sorted(found, key=lambda one: (stop and not one.literals[-1].endswith("."), -one.weight))

    def _in_parts(self, text: str, level: int) -> str:
        """A text of several, each said where it is known: of parts that follow each other as many at once as can be."""
        if level == len(_SEAMS):
            return text
        parts = _SEAMS[level].split(text, _MOST_PARTS)
        if len(parts) == 1:
            return self._in_parts(text, level + 1)
        labelled = self._after_a_label(text) if level else ""
        if labelled:
            return labelled
        said, at = [], 0
        while at < len(parts):
            # The whole was looked for before.
            ends = range(len(parts) if at else len(parts) - 2, at, -2)
            found, end = next(
                ((one, end) for end in ends if (one := self._as_a_whole("".join(parts[at:end])))), ("", at + 1)
            )
            said += [found or self._in_parts(parts[at], level + 1), *parts[end : end + 1]]
            at = end + 1
        return "".join(said)

    def _after_a_label(self, text: str) -> str:
        """What is said of something, "NAME: it is wrong. Do this.", where all of it is known; '' where it is not."""
        label, colon, rest = text.partition(": ")
        said = self._as_a_whole(rest) if colon else ""
        return f"{self._as_a_whole(label) or label}: {said}" if said else ""

    def _say(self, shape: _Shape, values: Mapping[str, str]) -> str:
        """A shape with its values."""
        digits = re.sub(r"\D", "", values.get("n", ""))[:15]
        count = int(digits) if digits else shape.count
        if self._language == MARKED:
            template = marked(shape.english[0 if count == 1 else -1])
        elif len(shape.english) == 1:
            template = self._catalogue.text(shape.english[0])
        else:
            template = self._catalogue.plural(shape.english[0], shape.english[1], count)
        said = {
            name: value if _OF_ANOTHER.sub("", name) in _NAMES else self._value(value, shape.written[name])
            for name, value in values.items()
        }
        parts = []
        for literal, gap, _spec, _conversion in _FORMATTER.parse(template):
            parts += [literal, said.get(gap, "") if gap is not None else ""]
        return "".join(parts)

    def _value(self, value: str, written: str) -> str:
        """A value as the language writes it: numbers, what is known of it, in parts too; anything else as it is."""
        if written or _GROUPED.fullmatch(value):
            return value if self._language == MARKED else numbers.rewritten(value)
        if _depth.get() == _DEEPEST:
            return value
        outside = _depth.set(_depth.get() + 1)
        try:
            said = self._several_sentences(value) or self._as_a_whole(value) or self._without_its_stop(value)
            return said or self._list(value) or self._in_parts(value, 0)
        finally:
            _depth.reset(outside)

    def _list(self, value: str) -> str:
        """What is told one by one with commas between, where all of it is known; else ''."""
        said = [self._as_a_whole(one) for one in value.split(", ")] if ", " in value else []
        return ", ".join(said) if said and all(said) else ""

    def _without_its_stop(self, value: str) -> str:
        """A sentence that stands in another one, where it has no full stop; '' when it is not known."""
        said = self._as_a_whole(f"{value}.") if value[-1:].isalnum() else ""
        return said.removesuffix(".") if self._language != MARKED else said.replace(".⟧", "⟧")


def _end_of(shape: _Shape) -> str:
    """What a shape is found by: how it begins, else how it ends, else nothing."""
    begins, ends = shape.literals[0], shape.literals[-1]
    return f"{begins[:_HEAD]}…" if len(begins) >= _HEAD else f"…{ends[-_TAIL:]}" if len(ends) >= _TAIL else ""


def _shape(english: tuple[str, ...], text: str, count: int) -> _Shape:
    parts: list[str] = []
    literals, written = [""], {}
    for literal, gap, spec, _ in _FORMATTER.parse(text):
        parts.append(re.escape(literal))
        literals[-1] += literal
        if gap is not None:
            spec = spec if OF_NUMBERS.fullmatch(spec or "") else ""
            is_number = spec or (len(english) > 1 and gap == "n")
            parts.append(f"(?P={gap})" if gap in written else f"(?P<{gap}>{_NUMBER if is_number else _ANY})")
            written[gap] = spec or ""
            literals.append("")
    weight = sum(character.isalpha() for character in "".join(literals))
    return _Shape(english, tuple(literals), "".join(parts), written, count, weight)
