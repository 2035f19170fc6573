"""Which language is spoken: chosen once per request or command, known everywhere below it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "de": "Deutsch", "ru": "Русский", "id": "Bahasa Indonesia"}
"""The languages by their codes, each called as it calls itself."""

MARKED = "marked"
"""No language: every text that can be translated is English in ⟦ ⟧, so that what nobody marked is seen."""

# What a browser may ask for: a language, a country that does not matter here, and how much it is wanted.
_ASKED = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")
# Old names of Indonesian, which some systems still use.
_CALLED_BEFORE = {"in": "id"}
_TERMINAL = ("LC_ALL", "LC_MESSAGES", "LANG")

_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


def current() -> str:
    """The language that is spoken here, one of LANGUAGES (or MARKED)."""
    return _current.get()


def speak(language: str) -> None:
    """Speak a language from now on: for a process that speaks to one person, such as a command."""
    _current.set(_known(language) or ENGLISH)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak a language in a `with` block; one that there is not is English."""
    before = _current.set(_known(language) or ENGLISH)
    try:
        yield
    finally:
        _current.reset(before)


@lru_cache(1024)
def chosen(accepted: str = "", choice: str = "", setting: str = "") -> str:
    """The language for somebody: what they chose, else the best of what their browser accepts, else the setting.

    accepted: an Accept-Language header (RFC 9110, 12.5.4). What is no language of ours is passed over; English in the
    end. A setting of MARKED is for tests and translators, and comes before all.
    """
    if setting == MARKED:
        return MARKED
    if choice in LANGUAGES:
        return choice
    wanted = [found.groups() for one in accepted.split(",")[:50] if (found := _ASKED.fullmatch(one))]
    ranked = sorted(((float(weight or 1), name) for name, weight in wanted), key=lambda one: -one[0])
    ours = (_known(name) for weight, name in ranked if weight > 0)
    return next((one for one in ours if one in LANGUAGES), "") or _known(setting) or ENGLISH


def of_terminal(environment: Mapping[str, str], setting: str = "") -> str:
    """The language for whoever sits at a terminal: the setting, else what its variables say, else English."""
    said = next((environment[name] for name in _TERMINAL if environment.get(name)), "")
    return _known(setting) or _known(re.split(r"[_.@-]", said)[0]) or ENGLISH


def _known(name: str) -> str:
    """The code of a language of ours, '' for any other."""
    code = _CALLED_BEFORE.get(name.lower(), name.lower())
    return code if code in LANGUAGES or code == MARKED else ""
