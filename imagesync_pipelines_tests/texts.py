"""The catalogues of texts, brought to what code and templates say now; the texts that are there are kept.

    python -m imagesync_pipelines_tests.texts              # how many are missing, in each language; nothing is written
    python -m imagesync_pipelines_tests.texts missing de   # which ones
    python -m imagesync_pipelines_tests.texts renew        # write the catalogues: new texts empty, old ones gone
    python -m imagesync_pipelines_tests.texts take de FILE # the same, and take texts over from a catalogue in FILE

After a conflict in a catalogue: take either side whole, renew, then take the other side's FILE.
"""

import ast
import builtins
import itertools
import re
import sys
import tomllib
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
from imagesync_pipelines.languages.told import OF_NUMBERS

PACKAGE = Path(__file__).parent.parent / "imagesync_pipelines"
CATALOGUES = PACKAGE / "languages" / "catalogues"
TEMPLATES = sorted(PACKAGE.rglob("templates/**/*.html"))
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
# Where errors are answers to programs, which read English.
FOR_PROGRAMS = ("sandbox/", "web/head_office/", "web/catalogue/api/", "web/assistants/")
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
    for one in [*marked_in_code(), *marked_in_templates(), *marked_in_rules()]:
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
    """The texts in calls of what a module imports from the package of languages, and what errors of ours say.

    Raises ValueError where a text is no literal: it would be in no catalogue.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        if PACKAGE / "languages" not in path.parents or path.name == "numbers.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            place = str(path.relative_to(PACKAGE))
            yield from _calls(tree, place)
            if not place.startswith(FOR_PROGRAMS):
                yield from said_by_errors(tree, place)


def _calls(tree: ast.Module, place: str) -> Iterator[Marked]:
    names = {
        name.asname or name.name: name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imagesync_pipelines.languages")
        for name in node.names
        if name.name in MARKS
    }
    # Where a name is taken, the whole package is imported: languages.told(…).
    names |= {f"languages.{name}": name for name in MARKS}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in names):
            continue
        keyword, where = names[called], f"{place}:{node.lineno}"
        count, has_context = MARKS[keyword]
        wanted = node.args[: count + has_context]
        number = node.args[2] if keyword == "told_n" and len(node.args) > 2 else None
        said = [shapes_of(one, number, may_have_gaps=keyword in LATER) for one in wanted]
        if len(said) != count + has_context or not all(said):
            raise ValueError(
                f"{where}: {keyword}() is for literal texts"
                + ("" if keyword in LATER else "; what varies is a placeholder: _('… {name}').format(name=…)")
            )
        if keyword in ("told", "told_n") and any(
            isinstance(one, ast.Constant) and _GAP.search(one.value) for one in wanted
        ):
            raise ValueError(f"{where}: {keyword}() takes the sentence as it is, an f-string: nobody fills its gaps")
        for texts in itertools.product(*said) if count == 1 else [tuple(one[0] for one in said)]:
            yield Marked(where, keyword, texts[has_context:], texts[0] if has_context else "")


def said_by_errors(tree: ast.Module, place: str) -> Iterator[Marked]:
    """What is raised as an error of ours, or by a validator of pydantic's, whose errors the settings tell."""
    checks = {one.id for node in ast.walk(tree) for one in _validators(node)}
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef):
            is_check = scope.name in checks or any("validator" in ast.unparse(one) for one in scope.decorator_list)
            for node in ast.walk(scope):
                if is_check and isinstance(node, ast.Call) and _called(node) == "ValueError":
                    yield from _said_by(node, place)
        elif isinstance(scope, ast.ClassDef) and scope.name.endswith("Error"):
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
                    yield from _said_by(node, place)
        elif isinstance(scope, ast.Raise) and isinstance(scope.exc, ast.Call):
            name = _called(scope.exc)
            if name.endswith(("Error", "Failure", "ClickException")) and not hasattr(builtins, name):
                yield from _said_by(scope.exc, place)


def _validators(node: ast.AST) -> list[ast.Name]:
    if not isinstance(node, ast.Call) or not _called(node).endswith("Validator"):
        return []
    return [one for one in node.args if isinstance(one, ast.Name)]


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _said_by(call: ast.Call, place: str) -> Iterator[Marked]:
    for text in shapes_of(call.args[0]) if call.args else ():
        if any(letter.isalpha() for letter in _GAP.sub("", text)):
            yield Marked(f"{place}:{call.lineno}", "told", (text,), "")


_GAP = re.compile(r"{[^{}]*}")


def shapes_of(node: ast.expr, number: ast.expr | None = None, *, may_have_gaps: bool = True) -> list[str]:
    """The texts that an expression gives, as the catalogues have them; none when it gives what nobody can know.

    number: the expression of the number of things, whose gap is called n.
    """
    if isinstance(node, ast.IfExp):
        return shapes_of(node.body, number) + shapes_of(node.orelse, number)
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr) and may_have_gaps:
        gaps = {ast.dump(number): "n"} if number is not None else {}
        return ["".join(_written(part, gaps) for part in node.values)]
    return []


def _written(part: ast.expr, gaps: dict[str, str]) -> str:
    """A part of an f-string; gaps: what they are called so far, by what fills them."""
    if isinstance(part, ast.Constant):
        return str(part.value).replace("{", "{{").replace("}", "}}")
    assert isinstance(part, ast.FormattedValue)
    key = ast.dump(part.value)
    if key not in gaps:
        name, taken = _name_of(part.value), set(gaps.values())
        others = (f"{name}_{nth}" for nth in itertools.count(2))
        gaps[key] = name if name not in taken else next(one for one in others if one not in taken)
    spec = ast.unparse(part.format_spec)[2:-1] if part.format_spec is not None else ""
    return f"{{{gaps[key]}:{spec}}}" if spec and OF_NUMBERS.fullmatch(spec) else f"{{{gaps[key]}}}"


def _name_of(node: ast.expr) -> str:
    """What a gap is called: the last name in what fills it, of a call that of its argument."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower() or "value"
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_").lower()
    if isinstance(node, ast.Call):
        of = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        return _name_of(node.args[0] if node.args else of)
    if isinstance(node, ast.Subscript):
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        return key.lower() if isinstance(key, str) and key.isidentifier() else _name_of(node.value)
    found = next((one for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)), None)
    return _name_of(found) if found is not None else "value"


def marked_in_templates() -> Iterator[Marked]:
    """The texts of trans blocks and of calls of _() and its like in templates."""
    for path in TEMPLATES:
        with path.open("rb") as file:
            for line, keyword, given, _comments in babel_extract(file, _KEYWORDS, (), _OPTIONS):
                texts = [one for one in ([given] if isinstance(given, str) else given) if isinstance(one, str)]
                has_context, where = "pgettext" in keyword, f"{path.relative_to(PACKAGE)}:{line}"
                count = 2 if "ngettext" in keyword or "npgettext" in keyword else 1
                if len(texts) < count + has_context:
                    raise ValueError(f"{where}: {keyword}() is for literal texts; what varies is said with | retold")
                mark = "_" if keyword == "gettext" else keyword
                yield Marked(where, mark, tuple(texts[has_context:][:count]), texts[0] if has_context else "")


def marked_in_rules() -> Iterator[Marked]:
    """What the shipped quality rules say: names of rule sets, titles of rules, and their sentences."""
    for path in sorted(PACKAGE.rglob("rule_sets/*.toml")):
        place, said = str(path.relative_to(PACKAGE)), tomllib.loads(path.read_text(encoding="utf-8"))
        for text in (said["name"], *(rule[key] for rule in said["rules"] for key in ("title", "says"))):
            yield Marked(place, "N_", (text,), "")


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
