"""The catalogues of texts, brought to what code and templates say now; the texts that are there are kept.

    python -m imagesync_pipelines_tests.texts              # how many are missing, in each language; nothing is written
    python -m imagesync_pipelines_tests.texts missing de   # which ones
    python -m imagesync_pipelines_tests.texts renew        # write the catalogues: new texts empty, old ones gone
    python -m imagesync_pipelines_tests.texts take de FILE # the same, and take texts over from a catalogue in FILE

After a conflict in a catalogue: take either side whole, renew, then take the other side's FILE.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from imagesync_pipelines.languages import LANGUAGES
from imagesync_pipelines.languages.texts import TOLD

PACKAGE = Path(__file__).parent.parent / "imagesync_pipelines"
CATALOGUES = PACKAGE / "languages" / "catalogues"
TRANSLATED = [code for code in LANGUAGES if code != "en"]
# What is said later, by retold(): marked so in the catalogues.
LATER = ("told", "told_n", "N_")
# The texts among the arguments of what marks them: how many, and whether a context comes first.
MARKS = {
    "_": (1, False),
    "told": (1, False),
    "N_": (1, False),
    "ngettext": (2, False),
    "told_n": (2, False),
    "pgettext": (1, True),
    "npgettext": (2, True),
}
# As the templates are read (pages/rendering.py).
_OPTIONS = {"trimmed": "true", "newstyle_gettext": "true", "silent": "false"}
_KEYWORDS = ("_", "gettext", "ngettext", "pgettext", "npgettext")
# What would differ at every writing, and who cares is in the history.
_LEFT_OUT = (
    "POT-Creation",
    "PO-Revision",
    "Generated-By",
    "Last-Translator",
    "Project-Id",
    "Report-Msgid",
    "Language-T",
)

Key = tuple[str, str]
"""A message: its context, '' for none, and its English text, the singular one."""


def key_of(message: Message) -> Key:
    """What a message is known by."""
    return message.context or "", message.id if isinstance(message.id, str) else message.id[0]


def catalogue_path(language: str) -> Path:
    """The file of a language."""
    return CATALOGUES / f"{language}.po"


def read_catalogue(path: Path, language: str) -> dict[Key, Message]:
    """The messages of a file."""
    with path.open("rb") as file:
        read = read_po(file, locale=language)
    return {key_of(message): message for message in read if message.id}


class Marked(NamedTuple):
    """A text as it is marked somewhere."""

    where: str
    keyword: str
    texts: tuple[str, ...]
    context: str


@lru_cache
def extracted() -> dict[Key, Message]:
    """Every text that code and templates mark, in the order of the texts."""
    found: dict[Key, Message] = {}
    for one in [*marked_in_code(), *marked_in_templates()]:
        text = one.texts[0] if len(one.texts) == 1 else one.texts
        message = Message(text, context=one.context or None)
        known = found.setdefault(key_of(message), message)
        if isinstance(known.id, str) and len(one.texts) > 1:
            # What is said of one and of many is also said of one alone.
            known.id, known.string = text, ("", "")
        if one.keyword in LATER and TOLD not in known.auto_comments:
            known.auto_comments.append(TOLD)
    return dict(sorted(found.items(), key=lambda one: (one[0][1].lower(), one[0])))


def marked_in_code() -> Iterator[Marked]:
    """The texts in calls of what a module imports from the package of languages.

    Raises ValueError where a text is no literal: it would be in no catalogue.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "imagesync_pipelines.languages" not in source:
            continue
        tree = ast.parse(source)
        names = {
            name.asname or name.name: name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imagesync_pipelines.languages")
            for name in node.names
            if name.name in MARKS
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names):
                continue
            keyword, where = names[node.func.id], f"{path.relative_to(PACKAGE)}:{node.lineno}"
            count, has_context = MARKS[keyword]
            given = [one.value if isinstance(one, ast.Constant) else None for one in node.args[: count + has_context]]
            texts = [one for one in given if isinstance(one, str)]
            if len(texts) != count + has_context:
                if PACKAGE / "languages" in path.parents:
                    continue
                raise ValueError(f"{where}: {keyword}() is for literal texts; what varies is a placeholder, {{name}}")
            yield Marked(where, keyword, tuple(texts[has_context:]), texts[0] if has_context else "")


def marked_in_templates() -> Iterator[Marked]:
    """The texts of trans blocks and of calls of _() and its like in templates."""
    for path in sorted(PACKAGE.rglob("templates/**/*.html")):
        with path.open("rb") as file:
            for line, keyword, given, _comments in babel_extract(file, _KEYWORDS, (), _OPTIONS):
                texts = [one for one in ([given] if isinstance(given, str) else given) if isinstance(one, str)]
                has_context, where = "pgettext" in keyword, f"{path.relative_to(PACKAGE)}:{line}"
                count = 2 if "ngettext" in keyword or "npgettext" in keyword else 1
                if len(texts) < count + has_context:
                    raise ValueError(f"{where}: {keyword}() is for literal texts; what varies is said with | retold")
                mark = "_" if keyword == "gettext" else keyword
                yield Marked(where, mark, tuple(texts[has_context:][:count]), texts[0] if has_context else "")


def renewed(language: str, *sources: Mapping[Key, Message]) -> Catalog:
    """The catalogue of a language with what is marked now; its texts from the last source that has one."""
    catalogue = Catalog(locale=language, fuzzy=False, header_comment=f"# {LANGUAGES[language]}")
    for key, message in extracted().items():
        is_plural = not isinstance(message.id, str)
        string: str | tuple[str, ...] = ("",) * catalogue.num_plurals if is_plural else ""
        for source in sources:
            said = source[key].string if key in source else ""
            if isinstance(said, str) == (not is_plural) and all([said] if isinstance(said, str) else said):
                string = said
        catalogue.add(message.id, string, auto_comments=message.auto_comments, context=message.context)
    return catalogue


def written(catalogue: Catalog) -> bytes:
    """A catalogue as it is committed: without places and dates, each text on a line."""
    buffer = BytesIO()
    write_po(buffer, catalogue, width=0, no_location=True)
    lines = buffer.getvalue().decode().splitlines(keepends=True)
    return "".join(one for one in lines if not one.startswith(tuple(f'"{name}' for name in _LEFT_OUT))).encode()


def missing(language: str) -> list[str]:
    """What a language lacks: texts that are marked and not translated."""
    return [key[1] for key, text in _texts(renewed(language, read_catalogue(catalogue_path(language), language)))
            if not text]  # fmt: skip


def _texts(catalogue: Catalog) -> Iterator[tuple[Key, bool]]:
    for message in catalogue:
        if message.id:
            said = [message.string] if isinstance(message.string, str) else message.string
            yield key_of(message), all(said)


def main(arguments: list[str]) -> None:
    """Do what the arguments say, and tell what each language lacks."""
    if arguments[:1] == ["renew"] or arguments[:1] == ["take"]:
        for language in TRANSLATED:
            path = catalogue_path(language)
            sources = [read_catalogue(path, language)] if path.exists() else []
            if arguments[1:2] == [language]:
                sources.append(read_catalogue(Path(arguments[2]), language))
            path.write_bytes(written(renewed(language, *sources)))
    for language in TRANSLATED:
        lacking = missing(language)
        sys.stdout.write(f"{language}: {len(extracted())} texts, {len(lacking)} not translated\n")
        if arguments[:1] == ["missing"] and arguments[1:2] in ([], [language]):
            sys.stdout.writelines(f"  {one!r}\n" for one in lacking)


if __name__ == "__main__":
    main(sys.argv[1:])
