"""Finds sentences of deep code that nobody marked: they would stay English on pages, in alerts, on the command line."""

import ast
import re
from collections.abc import Container, Iterator
from typing import NamedTuple

from imagesync_pipelines_tests.texts import PACKAGE, said_by_errors

# Who says what is shown by others; pages and the command line say what they show themselves.
LAYERS = (
    "accounts", "connectors", "defs", "imaging", "products", "quality", "registry.py", "settings.py", "storage", "sync",
    "upstream",
)  # fmt: skip
MARKS = frozenset({"told", "told_n", "N_", "_", "ngettext"})
# Lists of sentences for people, as the code calls them.
_SENTENCES = re.compile(r"(warnings|problems|said|told|told_of|notes|lines|why|found)$")
_SQL = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|FROM|WHERE|TABLE|NULL|CAST|AND|SET|INDEX|ANALYZE)\b|://|^\(\?|\\[dwsb(]"
)
# Errors of a program, which people never get to see, and those that hold no sentence.
_OF_PROGRAMS = frozenset(
    {"TypeError", "ImportError", "NotImplementedError", "AssertionError", "OSError", "PermissionError"}
)


class Unmarked(NamedTuple):
    """A sentence that is not marked."""

    path: str
    line: int
    text: str


def unmarked(source: str, path: str = "") -> Iterator[Unmarked]:
    """The sentences in a module's errors, constants and lists of sentences that no call marks."""
    tree = ast.parse(source)
    raised = {int(one.where.rpartition(":")[2]) for one in said_by_errors(tree, path)}
    for node in ast.walk(tree):
        for told in _told_to_people(node, raised):
            for text, line in _texts(told):
                if _is_sentence(text):
                    yield Unmarked(path, line, text)
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            for text, line in _texts(statement.value):
                if _is_sentence(text):
                    yield Unmarked(path, line, text)


def unmarked_everywhere() -> Iterator[Unmarked]:
    """Those of all layers whose sentences are shown by others."""
    for layer in LAYERS:
        place = PACKAGE / layer
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if "migrations" not in file.parts:
                yield from unmarked(file.read_text(encoding="utf-8"), str(file.relative_to(PACKAGE)))


def _told_to_people(node: ast.AST, raised: Container[int]) -> Iterator[ast.expr]:
    """What a node says to people: the arguments of an error, a sentence that is put to others.

    raised: the lines of errors of which the catalogues have the shape without a mark; what fills its gaps is looked at.
    """
    if isinstance(node, ast.Call):
        name = _name(node.func)
        if name.endswith(("Error", "Failure")) and name not in _OF_PROGRAMS:
            if node.lineno in raised:
                yield from (one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.FormattedValue))
            else:
                yield from (*node.args, *(one.value for one in node.keywords))
        elif name == "error" and isinstance(node.func, ast.Attribute) and len(node.args) > 1:
            # An error of a place or of an answer: its kind, and what happened.
            yield node.args[1]
        elif name == "append" and isinstance(node.func, ast.Attribute) and _SENTENCES.search(_name(node.func.value)):
            yield from node.args


def _texts(node: ast.expr) -> Iterator[tuple[str, int]]:
    """The texts in an expression, but those in a call that marks them, and names in subscripts and comparisons."""
    if isinstance(node, ast.Call):
        if _name(node.func) in MARKS:
            return
        if _name(node.func) not in _SAYS_ON:
            return
    if isinstance(node, ast.Subscript | ast.Compare):
        return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value, node.lineno
        return
    if isinstance(node, ast.JoinedStr):
        yield "".join(one.value if isinstance(one, ast.Constant) else "{}" for one in node.values), node.lineno
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from _texts(child.value if isinstance(child, ast.FormattedValue) else child)


# Calls that pass on what they are given.
_SAYS_ON = frozenset({"fromkeys", "dict", "MappingProxyType", "format", "join", "frozenset", "tuple"})


def _is_sentence(text: str) -> bool:
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\{[^}]*\}", " ", text))
    return len(words) > 1 and " " in text.strip() and re.search(r"[a-z]{3}", text) is not None and not _SQL.search(text)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
