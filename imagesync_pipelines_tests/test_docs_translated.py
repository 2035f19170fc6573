"""Links of the docs lead to what is there; a page in another language follows the English one, section by section."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagesync_pipelines.languages.texts import catalogue
from imagesync_pipelines_tests import generated
from imagesync_pipelines_tests.test_docs import PAGES

DOCS = generated.ROOT / "docs"
LANGUAGES = ("de", "ru")
TRANSLATED = ("catalogue", "operating")
_HEADING = re.compile(r"^(#+) (.+)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`]+)`")
_COMMENT = re.compile(r"\s*(?<!\S)#\s.*")
_ITEM = re.compile(r"(?:-|\d+\.) ")
_EMPHASISED = re.compile(r"\*{1,2}([^*]+)\*{1,2}")
_FIRST_CELL = re.compile(r"^\| ([^|]+) \|", re.MULTILINE)
# 10,000 in English, 10.000 in German, 10 000 in Russian.
_NUMBER = re.compile(r"\d+(?:[.,\s\u00a0]\d{3}(?!\d))*")
# What stands in a text for a number, a name, …
_VALUE = re.compile(r"%\(\w+\)s|\{\w+\}")


@dataclass(frozen=True)
class Section:
    """What a translation leaves as it is: links, shape, numbers, and code without its comments."""

    heading: str
    level: int
    shape: tuple[str, ...]
    code: tuple[str, ...]
    named: Counter[str]
    links: tuple[str, ...]
    numbers: Counter[str]
    words: frozenset[str]
    """What is emphasised or begins a row: a translation says those that are texts of the pages as they do."""


def lines_by_kind(text: str) -> Iterator[tuple[str, str]]:
    """Each line that is not empty, as heading, code or prose."""
    in_block = False
    for line in text.splitlines():
        if line.startswith("```"):
            in_block = not in_block
        if in_block or line.startswith(("```", "    ")):
            yield "code", _COMMENT.sub("", line).rstrip()
        else:
            yield ("heading" if _HEADING.match(line) else "prose"), line


def shape_of(prose: list[str]) -> tuple[str, ...]:
    """Rows of tables with their cells, items of lists and paragraphs, in their order."""
    shape = []
    for before, line in zip(["", *prose], prose, strict=False):
        if line.startswith("|"):
            shape.append(f"row of {line.count('|') - 1}")
        elif _ITEM.match(line):
            shape.append("item")
        elif line and not before:
            shape.append("paragraph")
    return tuple(shape)


def sections_of(text: str) -> list[Section]:
    sections: list[list[tuple[str, str]]] = []
    for kind, line in lines_by_kind(text):
        if kind == "heading":
            sections.append([])
        sections[-1].append((kind, line))
    return [section_of(lines) for lines in sections]


def words_of(prose: str) -> list[str]:
    return [*_EMPHASISED.findall(prose), *_FIRST_CELL.findall(prose)]


def section_of(lines: list[tuple[str, str]]) -> Section:
    found = _HEADING.match(lines[0][1])
    assert found is not None
    prose = [line for kind, line in lines[1:] if kind == "prose"]
    whole = "\n".join(prose)
    return Section(
        found[2],
        len(found[1]),
        shape_of(prose),
        tuple(line for kind, line in lines if kind == "code" and line),
        Counter(_SPAN.findall(whole)),
        tuple(_LINK.findall(whole)),
        Counter(re.sub(r"\D", "", one) for one in _NUMBER.findall(_LINK.sub("", whole))),
        frozenset(without_values(" ".join(one.split())) for one in words_of(_SPAN.sub("", whole))),
    )


def anchors_of(page: Path) -> list[str]:
    """As GitHub makes them of headings."""
    made: Counter[str] = Counter()
    anchors = []
    for kind, line in lines_by_kind(page.read_text(encoding="utf-8")):
        if kind == "heading":
            anchor = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
            anchors.append(f"{anchor}-{made[anchor]}" if made[anchor] else anchor)
            made[anchor] += 1
    return anchors


@pytest.mark.parametrize("name", [page.relative_to(generated.ROOT).as_posix() for page in PAGES])
def test_every_link_of_the_docs_leads_to_a_heading_or_file_that_is_there(name: str) -> None:
    page = generated.ROOT / name
    prose = [line for kind, line in lines_by_kind(page.read_text(encoding="utf-8")) if kind == "prose"]
    lost = []
    for link in _LINK.findall("\n".join(prose)):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        to = page.parent / path if path else page
        if not to.exists() or (anchor and anchor not in anchors_of(to)):
            lost.append(link)
    assert lost == []


def in_english(link: str, page: Path) -> str:
    """The same link as the English page has it: to the English page or picture, to the heading in the same place."""
    path, _, anchor = link.partition("#")
    to = page.parent / path if path and "://" not in link else page
    for language in LANGUAGES:
        if to.name.endswith((f".{language}.md", f".{language}.png")):
            english = to.with_name(to.name.replace(f".{language}.", "."))
            anchor = anchors_of(english)[anchors_of(to).index(anchor)] if anchor else ""
            path = path.replace(to.name, english.name)
    return f"{path}#{anchor}" if anchor else path


def without_languages(text: str) -> str:
    """A page without the line that leads to its other languages."""
    heading, _, rest = text.partition("\n\n")
    return "\n\n".join([heading, rest.partition("\n\n")[2]])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translated_page_follows_the_english_one(name: str, language: str) -> None:
    english_page, page = DOCS / f"{name}.md", DOCS / f"{name}.{language}.md"
    english = sections_of(without_languages(english_page.read_text(encoding="utf-8")))
    translated = sections_of(without_languages(page.read_text(encoding="utf-8")))
    todo = f"translate into docs/{page.name} what changed in docs/{name}.md"
    assert [one.level for one in translated] == [one.level for one in english], f"headings differ: {todo}"
    for there, here in zip(english, translated, strict=True):
        where = f"under “{there.heading}” (“{here.heading}”): {todo}"
        assert here.code == there.code, f"other commands {where}"
        assert here.shape == there.shape, f"other paragraphs, items or rows of tables {where}"
        assert here.named == there.named, f"other names, variables or options {where}"
        assert here.numbers == there.numbers, f"other numbers {where}"
        assert Counter(in_english(link, page) for link in here.links) == Counter(there.links), f"other links {where}"


@pytest.mark.parametrize("name", TRANSLATED)
def test_each_language_of_a_page_leads_to_the_others(name: str) -> None:
    for own in ("", *LANGUAGES):
        second = (DOCS / f"{name}.{own}.md".replace("..", ".")).read_text(encoding="utf-8").split("\n\n")[1]
        others = [f"{name}.{one}.md".replace("..", ".") for one in ("", *LANGUAGES) if one != own]
        assert _LINK.findall(second) == others


def without_values(text: str) -> str:
    """A text of a page as the docs name it: an ellipsis for what differs, none at its end."""
    return _VALUE.sub("…", text).removesuffix("…").strip()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translated_page_calls_buttons_and_pages_as_the_catalogue_does(name: str, language: str) -> None:
    said: dict[str, set[str]] = {}
    for (_context, text), translations in catalogue(language).texts.items():
        said.setdefault(without_values(text), set()).update(without_values(one) for one in translations)
    english, translated = (
        sections_of(page.read_text(encoding="utf-8")) for page in (DOCS / f"{name}.md", DOCS / f"{name}.{language}.md")
    )
    other = [
        f"{here.heading}: “{word}” is one of {sorted(said[word])} in {language}.po"
        for there, here in zip(english, translated, strict=True)
        for word in there.words & set(said)
        if not here.words & said[word]
    ]
    assert other == [], f"say it so in docs/{name}.{language}.md"
