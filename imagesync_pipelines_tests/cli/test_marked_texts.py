"""What commands print is marked for translation: read from their source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines import cli

SOURCES = sorted(Path(cli.__path__[0]).rglob("*.py"))
# Errors that end a command are found and retold without a mark.
ERRORS = ("Error", "ClickException")
MARKS = {"_", "N_", "ngettext", "pgettext", "npgettext", "told", "told_n"}
# What prints or asks.
DOORS = {"say", "fail", "echo", "secho", "confirm", "prompt", "print_table"}
# What --help shows stays English; the others take what no person reads.
SILENT = {"option", "argument", "command", "group", "Option", "Command", "Group", "Choice", "Path", "password_option",
          "version_option", "text", "compile", "get", "replace", "partition", "removeprefix"}  # fmt: skip
# What holds words and is nothing to translate, with the reason.
EXCEPTIONS = {
    "id": "the name of a field, as the API has it",
    "MB": "a unit",
    "SKU": "the same word everywhere",
    "store_id": "the name of a setting",
    "webhook-id": "the name of a header",
    "export": "a line for the shell",
    "run ended: %s": "a line of the log",
    "the demonstration": "the name of a person in the history",
    "is no command": "a mistake of ours, for its trace",
    "only; may be given several times (default: all)": "of --help",
    "may be repeated; without it all": "of --help",
}
_WORD, _WORDS = re.compile(r"[^\W\d_]{2,}"), re.compile(r"[^\W\d_]{2,}.* .*[^\W\d_]{2,}", re.DOTALL)
_NO_LANGUAGE = re.compile(r"imagesync [a-z-]+( [A-Z]+)?|--[a-z-]+|https?://.*|env:|SELECT .*", re.DOTALL)

# A text, and whether it is printed as it is.
Text = tuple[ast.Constant, bool]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_text_that_a_command_prints_is_marked_for_translation(path: Path) -> None:
    found = [f"{path.name}:{text.lineno}: {text.value!r}" for text in _unmarked(path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_the_scanner_sees_a_text_that_is_not_marked() -> None:
    source = """
def list_them() -> None:
    say(f"{name} is gone")
    say(_("{name} is gone").format(name="here"))
    columns = ("id", "name", _("age"))
    print_table(_("people"), columns, rows)
    later = "two words"
"""
    assert {text.value for text in _unmarked(source)} == {" is gone", "here", "name", "two words"}


def _unmarked(source: str) -> Iterator[ast.Constant]:
    """The texts that hold words and are not marked: any that is printed, of two words or more anywhere else."""
    for text, is_printed in _texts(ast.parse(source), frozenset(), is_printed=False):
        said = text.value.strip()
        is_language = said not in EXCEPTIONS and not _NO_LANGUAGE.fullmatch(said)
        if is_language and (_WORD.search(said) if is_printed else _WORDS.search(said)):
            yield text


def _texts(node: ast.AST, printed: frozenset[str], *, is_printed: bool) -> Iterator[Text]:
    """The texts in a tree that no mark is around; docstrings and how a value is written are none.

    printed: the variables of the function that are printed as they are.
    """
    children: list[ast.AST] = list(ast.iter_child_nodes(node))
    match node:
        case ast.Constant(value=str()):
            yield node, is_printed
        case ast.FunctionDef():
            printed = frozenset(_printed_by(node))
        case ast.Call() if _called(node) in MARKS | SILENT or _called(node).endswith(ERRORS):
            return
        case ast.Call():
            is_printed = _called(node) in DOORS or (is_printed and _called(node) in ("format", "join"))
            children = [node.func, *node.args, *(one.value for one in node.keywords if one.arg not in ("fg", "help"))]
        case ast.Assign(targets=[ast.Name(id=name)]):
            is_printed = name in printed
        case ast.FormattedValue() | ast.Subscript():
            children = [node.value]
        case ast.IfExp():
            yield from _texts(node.test, printed, is_printed=False)
            children = [node.body, node.orelse]
        case ast.Compare() | ast.comprehension():
            is_printed = False
        case ast.Expr(value=ast.Constant()):
            return
    for child in children:
        yield from _texts(child, printed, is_printed=is_printed)


def _printed_by(function: ast.FunctionDef) -> Iterator[str]:
    """The variables that a function hands to a door as they are."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _called(node) in DOORS:
            yield from (one.id for one in node.args if isinstance(one, ast.Name))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
