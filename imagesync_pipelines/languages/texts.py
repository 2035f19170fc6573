"""Texts that are said at once, in the language that is spoken; the catalogues are read once per process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from gettext import c2py
from importlib.resources import files

from imagesync_pipelines.languages.current import ENGLISH, MARKED, current

TOLD = "told"
"""What the comment of a message says in the catalogues when it is told, and said later: retold() knows these."""

Key = tuple[str, str]
"""A message by its context ('' for none) and its English text, the singular one."""


@dataclass(frozen=True)
class Catalogue:
    """What a language says: its texts by message, which of them fits a number, and the messages that are told."""

    texts: Mapping[Key, tuple[str, ...]]
    form_for: Callable[[int], int]
    told: tuple[tuple[str, ...], ...]
    """The English of what retold() has to know: one text, or singular and plural."""

    def text(self, english: str, context: str = "") -> str:
        """The text, or the English one where it is not translated."""
        return (self.texts.get((context, english)) or ("",))[0] or english

    def plural(self, one: str, many: str, count: int, context: str = "") -> str:
        """The text that fits a number, or the English one."""
        forms = self.texts.get((context, one))
        return (forms[self.form_for(count)] if forms else "") or (one if count == 1 else many)


def marked(text: str) -> str:
    """A text as the language that is none says it."""
    return f"⟦{text}⟧"


def N_(text: str) -> str:  # noqa: N802 - gettext's name
    """Mark a constant for translation; it stays English, and is said with `retold`."""
    return text


def _(text: str) -> str:
    """The text in the language that is spoken. Placeholders, {name}, are filled by the caller: _("…").format(…)."""
    return pgettext("", text)


def pgettext(context: str, text: str) -> str:
    """As `_`, for a word that other languages say differently here and there; the context is for translators."""
    language = current()
    if language == ENGLISH:
        return text
    return marked(text) if language == MARKED else catalogue(language).text(text, context)


def ngettext(one: str, many: str, n: int) -> str:
    """The text that fits the number n; its placeholder is called {n}, and the caller fills it."""
    return npgettext("", one, many, n)


def npgettext(context: str, one: str, many: str, n: int) -> str:
    """As `ngettext`, with a context for translators."""
    language = current()
    if language in (ENGLISH, MARKED):
        text = one if n == 1 else many
        return marked(text) if language == MARKED else text
    return catalogue(language).plural(one, many, n, context)


@lru_cache
def catalogue(language: str) -> Catalogue:
    """What a language other than English says; MARKED has the messages of German without its texts."""
    from babel.messages.pofile import read_po

    name = "de" if language == MARKED else language
    with (files(__package__) / "catalogues" / f"{name}.po").open("rb") as file:
        read = read_po(file, locale=name)
    texts, told = {}, []
    for message in read:
        if not message.id:
            continue
        english = (message.id,) if isinstance(message.id, str) else tuple(message.id)
        said = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
        if TOLD in message.auto_comments:
            told.append(english)
        if not message.fuzzy and all(said) and language != MARKED:
            texts[message.context or "", english[0]] = said
    return Catalogue(texts, c2py(read.plural_expr), tuple(told))
