"""Rule sets for main pictures, and how one judges a picture: pure, from what was measured.

A rule set is a file, `rule_sets/ID.toml` here or ID.toml in the folder QUALITY_RULES_FOLDER; docs/quality.md tells how
to write one. A score of REFUSED or less says that the marketplace refuses the picture; 100 that nothing was found.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from math import floor
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from imagesync_pipelines import languages
from imagesync_pipelines.imaging.kinds import KINDS
from imagesync_pipelines.languages import N_
from imagesync_pipelines.quality.settings import QualitySettings, sets_of_channels
from imagesync_pipelines.storage.facts import Measures

REFUSED = 50
"""A picture with this score or less is refused by the marketplace; no other one has it."""
# What is left of a score by each finding of the severity; a first refusal halves it by itself.
_LEFT = {"refused": 0.5, "rank": 0.85, "advice": 0.95}

Value = float | str | tuple[str, ...]
"""What was measured: a number, a format, texts."""


class Severity(StrEnum):
    """What a broken rule costs, the worst first."""

    REFUSED = "refused"
    RANK = "rank"
    ADVICE = "advice"


SEVERITIES = {
    Severity.REFUSED: N_("refused by the marketplace"),
    Severity.RANK: N_("costs rank"),
    Severity.ADVICE: N_("advice"),
}
"""The severities as people read them."""


def _is_scene(one: Measures) -> bool:
    # Where there is no background at all, all of it counts as the product.
    return not one.white_background and len(one.touched_sides) == _ALL_SIDES


# What can be judged, each from what was measured; None: not known of this picture.
MEASURES: Mapping[str, Callable[[Measures], Value | None]] = {
    "longer_side": lambda one: float(max(one.width, one.height)),
    "shorter_side": lambda one: float(min(one.width, one.height)),
    "aspect": lambda one: one.width / one.height,
    "white_background": lambda one: one.white_background,
    "fill": lambda one: None if _is_scene(one) else one.fill or None,
    "touched_sides": lambda one: None if _is_scene(one) else one.touched_sides,
    "sharpness": lambda one: one.sharpness,
    "transparent": lambda one: one.transparent,
    "words": lambda one: one.words,
    "format": lambda one: one.format,
}
_SHARES = frozenset({"white_background", "fill", "transparent"})
_PIXELS = frozenset({"longer_side", "shorter_side"})
_WORDS_TOLD = 5
# Pages read the files each time; the largest that is shipped has 4 KB and ten rules.
_MOST_BYTES, _MOST_RULES = 256 * 1024, 200
_ID = re.compile(r"[a-z0-9_]{1,40}")
# What people take for a rule set, and what is none.
_NOT_TOML = (".json", ".yaml", ".yml", ".toml.txt")
_ALL_SIDES = 4

TO_DO = {
    "larger": N_("Take or ask for a larger picture"),
    "smaller": N_("Save it smaller"),
    "cut_out": N_("Cut the product out, on pure white"),
    "whole": N_("Take it again with the whole product in the frame"),
    "closer": N_("Crop closer, so that the product fills the frame"),
    "room": N_("Leave more room around the product"),
    "sharper": N_("Take it again, in focus"),
    "without_text": N_("Use a picture without text, logo or watermark"),
    "opaque": N_("Put it on white, without transparent parts"),
    "shape": N_("Crop it to the right shape"),
    "format": N_("Save it in another format"),
}
"""What a person does about findings."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Model):
    """A page of the marketplace's own help, and when it was read; without a date nobody of ours could."""

    name: str = Field(min_length=1)
    url: str = Field("", pattern=r"^(https?://\S+)?$")
    read_on: date | None = None


_Bound = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Rule(_Model):
    """One rule: the measure has to be within the bounds. In `says`, {value} is what was measured, {bound} the bound.

    How sure it is: read, so it stands in the source; "bound is ours": the source names no number; heard: others write
    that the source says so; ours: a choice of ours.
    """

    id: str = Field(pattern=r"^[a-z0-9_]{1,40}$")
    title: str = Field(min_length=1, max_length=80)
    measure: str
    at_least: _Bound | None = None
    at_most: _Bound | None = None
    one_of: tuple[str, ...] = ()
    severity: Severity
    says: str = Field(min_length=1)
    source: str = ""
    sure: Literal["read", "bound is ours", "heard", "ours"]

    @model_validator(mode="after")
    def _can_be_judged(self) -> "Rule":
        if self.measure not in MEASURES:
            raise ValueError(f"there is no measure {self.measure}; there are {', '.join(MEASURES)}")
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if (self.measure == "format") != bool(self.one_of) or bool(self.one_of) == bool(bounds):
            raise ValueError("a rule has at_least or at_most; that of the format has one_of")
        if unknown := [one for one in self.one_of if one not in KINDS]:
            raise ValueError(f"no picture is of the format {unknown[0]}; there are {', '.join(KINDS)}")
        # What a person does about the other bound is something else, and so it is a rule of its own.
        if len(bounds) == 2 and self.measure != "aspect":
            raise ValueError("at_least and at_most are two rules; only that of the aspect has both")
        if len(bounds) == 2 and bounds[0] > bounds[1]:
            raise ValueError("no picture has at_least this and at_most that; at_least is the lesser one")
        if not _are_ours(self.says):
            raise ValueError("says may hold {value} and {bound}, and no other braces")
        if (self.sure == "ours") == bool(self.source):
            raise ValueError('source names one of [sources], unless the rule is "ours"')
        return self


def _are_ours(says: str) -> bool:
    """Whether a sentence has no gaps but these two, and says nothing of how they are filled."""
    try:
        gaps = [rest for _, *rest in Formatter().parse(says) if rest[0] is not None]
    except ValueError:
        return False
    return all(name in ("value", "bound") and not spec and not conversion for name, spec, conversion in gaps)


class RuleSet(_Model):
    """The rules of one marketplace; `id` is the name of its file."""

    id: str = Field(pattern=r"^[a-z0-9_]{1,40}$")
    name: str = Field(min_length=1)
    sources: dict[str, Source] = {}
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=_MOST_RULES)]

    @model_validator(mode="after")
    def _is_whole(self) -> "RuleSet":
        ids = [rule.id for rule in self.rules]
        twice = {one for one in ids if ids.count(one) > 1}
        if twice:
            raise ValueError(f"two rules have the id {min(twice)}")
        unknown = {rule.source for rule in self.rules if rule.source} - set(self.sources)
        if unknown:
            raise ValueError(f"there is no source {min(unknown)}; it belongs under [sources.{min(unknown)}]")
        return self

    @property
    def version(self) -> str:
        """Another one where a rule is another one."""
        said = self.model_dump(mode="json", include={"rules"})
        return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def rule(self, rule_id: str) -> Rule | None:
        """The rule with this id, if there is one."""
        return next((rule for rule in self.rules if rule.id == rule_id), None)


@dataclass(frozen=True)
class Finding:
    """A rule that a picture breaks, and what was measured."""

    rule: str
    severity: Severity
    value: Value


@dataclass(frozen=True)
class Judgement:
    """0 to 100; what was found, the worst first; the rules whose measure is not known: neither passed nor broken."""

    score: int
    findings: tuple[Finding, ...]
    not_looked_at: tuple[str, ...] = ()


def judge(measures: Measures, rule_set: RuleSet) -> Judgement:
    """Judge a main picture by what was measured of it."""
    found: list[Finding] = []
    unknown: list[str] = []
    for rule in rule_set.rules:
        value = MEASURES[rule.measure](measures)
        if value is None:
            unknown.append(rule.id)
        elif not _is_kept(rule, value):
            found.append(Finding(rule.id, rule.severity, value))
    order = list(Severity)
    found.sort(key=lambda one: order.index(one.severity))
    return Judgement(_score([one.severity for one in found]), tuple(found), tuple(unknown))


def _is_kept(rule: Rule, value: Value) -> bool:
    if isinstance(value, str):
        return value in rule.one_of
    # Of several texts, how many there are.
    number = float(len(value)) if isinstance(value, tuple) else value
    low, high = rule.at_least, rule.at_most
    return (low is None or number >= low) and (high is None or number <= high)


def _score(found: Sequence[Severity]) -> int:
    left = 1.0
    for severity in found:
        left *= _LEFT[severity]
    if Severity.REFUSED in found:
        return round(100 * left)
    return REFUSED + 1 + round((99 - REFUSED) * left)


def told(rule: Rule, value: Value) -> str:
    """The rule as a sentence about a picture of which this was measured."""
    bounds = [_words(rule.measure, bound) for bound in (rule.at_least, rule.at_most) if bound is not None]
    bound = " to ".join(bounds) or ", ".join(rule.one_of)
    return rule.says.format(value=_words(rule.measure, value), bound=bound)


def _words(measure: str, value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return ", ".join(value[:_WORDS_TOLD]) + (" …" if len(value) > _WORDS_TOLD else "")
    if measure in _SHARES:
        # Rounded down, so that what falls short of a bound is never told as the bound.
        return f"{floor(value * 1000 + 1e-6) / 10:g} %" if value >= 0.001 else f"{value * 100:.1g} %"
    return f"{value:.0f} px" if measure in _PIXELS else f"{value:.2f}"


def what_to_do(rule: Rule) -> str:
    """What a person does about a picture that breaks the rule, a key of TO_DO."""
    is_too_much = rule.at_most is not None
    if rule.measure in _PIXELS:
        return "smaller" if is_too_much else "larger"
    if rule.measure == "fill":
        return "room" if is_too_much else "closer"
    return {
        "aspect": "shape", "white_background": "cut_out", "touched_sides": "whole", "sharpness": "sharper",
        "transparent": "opaque", "words": "without_text", "format": "format",
    }[rule.measure]  # fmt: skip


def rule_sets(settings: QualitySettings) -> dict[str, RuleSet]:
    """The rule sets by their id: those that are shipped, and the own ones of this installation."""
    return read_rules(settings)[0]


def read_rules(settings: QualitySettings) -> tuple[dict[str, RuleSet], list[str]]:
    """The rule sets by their id, and for people what was set aside and why: one line for a file, or for a channel."""
    known = dict(_shipped())
    problems: list[str] = []
    wrong = set[str]()
    if settings.rules_folder is not None:
        try:
            found, problems, wrong = _read_all(settings.rules_folder)
            # Nobody asked to be judged by the shipped one in its place.
            known = {one: rule_set for one, rule_set in known.items() if one not in wrong}
            is_there = settings.rules_folder.is_dir()
        except OSError:
            found, is_there = {}, False
        known |= found
        if not is_there:
            problems.append(
                languages.told(f"QUALITY_RULES_FOLDER: {settings.rules_folder} is no folder that can be read")
            )
    for channel, named in sets_of_channels(settings).items():
        missing = [one for one in named if one not in known and one not in wrong]
        if missing:
            problems.append(
                languages.told(
                    f"QUALITY_CHANNELS: {channel} names the rule set {missing[0]}, which is not there; "
                    f"there are {', '.join(sorted(known))}"
                )
            )
    return known, problems


@cache
def _shipped() -> dict[str, RuleSet]:
    found, problems, _wrong = _read_all(files("imagesync_pipelines.quality").joinpath("rule_sets"))
    if problems:
        raise ValueError("\n".join(problems))
    return found


def _read_all(folder: Traversable) -> tuple[dict[str, RuleSet], list[str], set[str]]:
    """The rule sets of a folder by their ids, what is wrong with its other files, and the ids that these would have."""
    found: dict[str, RuleSet] = {}
    problems: list[str] = []
    wrong: set[str] = set()
    for file in _rule_files(folder):
        try:
            read = _read(file)
        except (OSError, ValueError, RecursionError) as error:
            problems.append(languages.told(f"{file.name} is set aside: {_why(error)}"))
            wrong.add(file.name.partition(".")[0])
        else:
            found[read.id] = read
    return found, problems, wrong - set(found)


def _rule_files(folder: Traversable) -> Iterator[Traversable]:
    if folder.is_dir():
        endings = (".toml", *_NOT_TOML)
        mine = (one for one in folder.iterdir() if one.name.lower().endswith(endings))
        yield from sorted(mine, key=lambda one: one.name)


def _read(file: Traversable) -> RuleSet:
    """Raises OSError, ValueError (ValidationError is one), RecursionError."""
    if not file.name.endswith(".toml"):
        raise ValueError(languages.told("a rule set is a file of TOML, and its name ends in .toml"))
    name = file.name.removesuffix(".toml")
    if not _ID.fullmatch(name):
        raise ValueError(
            languages.told("its name may have small letters, digits and _, at most 40 of them, before .toml")
        )
    if not file.is_file():
        raise ValueError(languages.told("it is no file, or leads nowhere"))
    with file.open("rb") as opened:
        body = opened.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise ValueError(languages.told(f"it has more than {_MOST_BYTES // 1024} KB"))
    # Some editors write a mark before the first letter.
    said: dict[str, Any] = tomllib.loads(body.decode("utf-8-sig").replace("\r\n", "\n"))
    return RuleSet(**(said | {"id": name}))


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False)
        # A rule that is wrong leaves its list too short, which says nothing more.
        told = [one for one in found if one["type"] != "too_short" or len(found) == 1]
        return "; ".join(_problem(one["loc"], one["msg"]) for one in told[:3])
    if isinstance(error, UnicodeDecodeError):
        return languages.told(f"it is not written in UTF-8 (byte {error.start + 1})")
    if isinstance(error, OSError):
        return languages.told(f"it cannot be read: {error.strerror}")
    if isinstance(error, RecursionError):
        return languages.told("it is nested too deep")
    return str(error).splitlines()[0]


def _problem(place: tuple[int | str, ...], message: str) -> str:
    # Rules count from 1 for people.
    where = " ".join(str(part + 1) if isinstance(part, int) else part for part in place)
    return f"{where}: {message.removeprefix('Value error, ')}" if where else message.removeprefix("Value error, ")
