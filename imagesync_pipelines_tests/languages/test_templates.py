"""No text of a template is left out: each that people read is marked, or on a short list of what is no language."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from imagesync_pipelines_tests.texts import TEMPLATES

# Attributes that people read or hear.
_READ = {"title", "placeholder", "aria-label", "alt", "label", "summary"}
_BUTTONS = {"submit", "button", "reset"}
_MARKS = {"_", "gettext", "ngettext", "pgettext", "npgettext"}
_CODE = re.compile(r"{#.*?#}|{%-?\s*trans\b.*?endtrans\s*-?%}|{%.*?%}|{{.*?}}", re.DOTALL)
# Names, units, formats, and what is typed as it stands.
NO_LANGUAGE = {*("CSV", "NDJSON", "Parquet", "JSON", "SKU", "URL", "ID", "ETag", "Google Merchant", "HX-Request")}
_WORD = re.compile(r"[^\W\d_]{2}")
_SAID = re.compile(r"[A-Z][a-z]|[^\W\d_].* .*[^\W\d_]|.* [^\W\d_]|[^\W\d_]+ ")


class _Texts(HTMLParser):
    """What people read of markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "style", "code"):
            self._in.append(tag)
        is_button = tag == "input" and given.get("type") in _BUTTONS
        self.found += [value or "" for name, value in attrs if name in _READ or (is_button and name == "value")]

    def handle_endtag(self, tag: str) -> None:
        if self._in and self._in[-1] == tag:
            self._in.pop()

    def handle_data(self, data: str) -> None:
        if not self._in:
            self.found.append(data)


def unmarked(source: str) -> list[str]:
    """The texts of a template that are not marked."""
    texts = [" ".join(one.split()) for one in _Texts(_CODE.sub(" ", source)).found]
    found = [one for one in texts if _WORD.search(one)]
    environment = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    return [
        one for one in [*found, *_constants(environment.parse(source))] if one.strip(" .,:;·–()") not in NO_LANGUAGE
    ]


def _constants(node: nodes.Node) -> Iterator[str]:
    """The texts in expressions that are not in a call of what marks them."""
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in _MARKS:
        # Its values are expressions like any other.
        for value in node.kwargs:
            yield from _constants(value)
        return
    if isinstance(node, nodes.Compare | nodes.Extends | nodes.Include | nodes.FromImport):
        return
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "url_for":
        return
    if isinstance(node, nodes.Const) and isinstance(node.value, str) and _SAID.search(node.value):
        yield node.value
    for child in node.iter_child_nodes():
        yield from _constants(child)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_text_of_a_template_is_marked(path: Path) -> None:
    assert unmarked(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>Nothing here</p>", ["Nothing here"]),
        ("<p>{{ _('Nothing here') }}</p>", []),
        ("{% trans n=1 %}{{ n }} picture{% pluralize %}{{ n }} pictures{% endtrans %}", []),
        ('<input placeholder="A name">', ["A name"]),
        ('<input type="submit" value="Go on">', ["Go on"]),
        ('<p title="{{ title }}">{{ count }} ×</p>', []),
        ("{{ badge('no picture', 'bad') }}", ["no picture"]),
        ("{{ badge(_('no picture'), 'bad') }}", []),
        ("{{ _('of %(name)s', name='no name' if a else b) }}", ["no name"]),
        ("{% if a == 'Some text' %}{% endif %}<code>imagesync sync</code>", []),
    ],
)
def test_the_scanner_finds_what_is_not_marked(source: str, found: list[str]) -> None:
    assert unmarked(source) == found
