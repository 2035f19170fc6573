"""What commands say in other languages: nothing that nobody marked, questions that take two kinds of yes."""

import io
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import click
import pytest
import sqlalchemy as sa

from imagesync_pipelines.cli.output import confirm, print_table, say
from imagesync_pipelines.languages import _, retold, speaking
from imagesync_pipelines.languages.current import MARKED
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines_tests.cli.terminals import Ended, call
from imagesync_pipelines_tests.installations import FIRST, World, world

Shown = pytest.CaptureFixture[str]
# The commands of every day, on an installation of which a first run left items in quarantine.
DAILY = (
    "sync image-db --dry-run --force",
    "plan",
    "history",
    "quarantine list",
    "identity list",
    "cleanup --dry-run",
    "doctor",
    f"history {FIRST}",
    "held list",
    "exclusions",
    "article list",
    "quality",
    "alert list",
    "key list",
    "user list",
    "webhook list",
    "recount",
    "upgrade --dry-run",
    "restored",
    "undo --choice SKU-1",
    "held allow",
    "quarantine drop 4711",
    "plan 4711",
)
_INNER = re.compile("⟦[^⟦⟧]*⟧")
_CELLS = re.compile("[│┃]")
_RULE = re.compile("[─━┏┓┗┛┡┩└┘╇┴┳┼]+")
# What is left of a text without what is marked, and is no language: names, numbers, moments, addresses, and keys of
# what is set aside, such as "page 1, reject 2".
_DATA = re.compile(
    r"[\w./:-]*[\d/_.:][\w./:-]*|UTC|image|db|folder|plytix|moysklad|edge|id|store_id|JPEG|MB|SKU|installation"
    r"|erp|articles|page|reject"
)

# What a person types, tables of files, and our user, in whatever language; and what is called so in each.
_TYPED = re.compile(
    r"`[^`\n]+`|imagesync apply \d+|dagster-daemon run|--[a-z-]+|\[[a-z.<>]+\]\.?|пользователь imagesync"
)
NAMED = {"API", "URL", "http", "https", "Dagster", "Dagster:", "Plytix", "PostgreSQL", "TOML"}


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(server, tmp_path_factory.mktemp("languages"), with_odd_records=True) as made:
        made.environment["IMAGE_DB_WALK_REPEATS"] = "0"
        made.sync()
        yield made


@pytest.fixture(scope="module")
def names(place: World) -> set[str]:
    """The words of the names of products."""
    with place.opened() as (installation, _), installation.engine.connect() as connection:
        return set(" ".join(map(str, connection.scalars(sa.select(product.c.name)))).split())


@pytest.mark.parametrize("words", DAILY)
def test_a_daily_command_says_nothing_that_is_not_marked(
    place: World, capsys: Shown, words: str, names: set[str]
) -> None:
    ended = call(place, capsys, *words.split(), IMAGESYNC_LANGUAGE=MARKED)
    assert "⟦" in ended.out + ended.err
    assert not _unmarked(ended) - names, ended.out


@pytest.mark.parametrize("words", [pytest.param(DAILY[0], marks=pytest.mark.slow), *DAILY[1:]])
def test_a_daily_command_says_no_english_word_in_russian(
    place: World, capsys: Shown, words: str, names: set[str]
) -> None:
    ended = call(place, capsys, *words.split(), IMAGESYNC_LANGUAGE="ru")
    said = _unmarked(replace(ended, out=_TYPED.sub("", ended.out), err=_TYPED.sub("", ended.err))) - names - NAMED
    assert any(re.search("[а-яё]", word) for word in said), ended.out
    assert not {word for word in said if re.search("[A-Za-z]{2,}", word)}, ended.out + ended.err


def test_an_error_is_told_in_the_language_and_its_exit_code_stays(place: World, capsys: Shown) -> None:
    ended = call(place, capsys, "plan", "--connector", "plytix", IMAGESYNC_LANGUAGE=MARKED)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("⟦Error: ")


@pytest.mark.parametrize(
    ("words", "usage", "error"),
    [("sync --force", "Aufruf: imagesync sync [OPTIONS] COMMAND [ARGS]...", "Die Option '--force' gibt es nicht."),
     ("histry", "Aufruf: imagesync [OPTIONS] COMMAND [ARGS]...",
      "Den Befehl 'histry' gibt es nicht. Meinten Sie 'history'?"),
     ("history --limit x", "Aufruf: imagesync history [OPTIONS] [SKU|RUN]",
      "Ungültiger Wert für '--limit': 'x' ist keine ganze Zahl."),
     ("article is", "Aufruf: imagesync article is [OPTIONS] NUMBER SKU", "Das Argument 'NUMBER' fehlt."),
     ("plan 1 2", "Aufruf: imagesync plan [OPTIONS] [PLAN_ID]", "Ein Argument zu viel (2)")],
)  # fmt: skip
def test_who_types_a_command_wrong_is_told_so_in_the_language(
    capsys: Shown, words: str, usage: str, error: str
) -> None:
    ended = call(None, capsys, *words.split(), IMAGESYNC_LANGUAGE="de")
    lines = ended.err.splitlines()
    assert (ended.code, ended.out, lines[0], lines[-1]) == (2, "", usage, f"Fehler: {error}")
    assert lines[1].startswith("Hilfe: imagesync")


def test_a_wrong_option_in_english_is_what_click_says(capsys: Shown) -> None:
    ended = call(None, capsys, "history", "--conector", "3")
    assert ended.err == (
        "Usage: imagesync history [OPTIONS] [SKU|RUN]\nTry 'imagesync history --help' for help.\n\n"
        "Error: No such option '--conector'. Did you mean '--connector'?\n"
    )


def test_a_product_that_is_called_as_a_sentence_of_ours_is_not_translated(capsys: Shown) -> None:
    with speaking("de"):
        assert retold("missing") != "missing"
        say(_("{sku}: nothing to do: {why}").format(sku="missing", why=retold("missing")))
        print_table("export", [_("name")], [["missing"], ["left"]])
        said = retold("No choice of a picture or an order is known of a product missing; nothing was changed.")
    first, *table = capsys.readouterr().out.splitlines()
    assert first.startswith("missing: ")
    assert re.findall("[a-z]{2,}", "".join(table)) == ["export", "ame", "missing", "left"]
    assert "Produkt missing " in said, said


def test_a_table_writes_decimals_as_the_language_does(capsys: Shown) -> None:
    with speaking("ru"):
        print_table("", ["a"], [[0.5], [1200]])
    assert re.findall(r"[\d.,]+", capsys.readouterr().out) == ["0,5", "1200"]


def test_json_and_help_stay_english(place: World, capsys: Shown) -> None:
    for words in ("quality --json", "doctor --json", "history --help"):
        ended = call(place, capsys, *words.split(), IMAGESYNC_LANGUAGE=MARKED)
        assert ended.out
        assert "⟦" not in ended.out


@pytest.mark.parametrize(
    ("typed", "language", "is_yes"),
    [("y\n", "en", True), ("YES\n", "en", True), ("n\n", "en", False), ("\n", "en", False), ("maybe\ny\n", "en", True),
     ("y\n", "ru", True), ("yes\n", "de", True), ("no\n", "id", False), ("⟦y⟧\n", MARKED, True),
     ("⟦yes⟧\n", MARKED, True), ("⟦n⟧\n", MARKED, False)],
)  # fmt: skip
def test_a_question_takes_its_own_yes_and_the_english_one(
    monkeypatch: pytest.MonkeyPatch, capsys: Shown, typed: str, language: str, is_yes: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    with speaking(language):
        if is_yes:
            confirm("Remove it")
        else:
            with pytest.raises(click.Abort):
                confirm("Remove it")
    assert language != "en" or capsys.readouterr().out.startswith("Remove it [y/N]: ")


def test_a_question_in_english_is_what_it_was(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("perhaps\nn\n"))
    with pytest.raises(click.Abort):
        confirm("Remove it")
    mine = capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.StringIO("perhaps\nn\n"))
    with pytest.raises(click.Abort):
        click.confirm("Remove it", abort=True)
    assert mine == capsys.readouterr()


def _unmarked(ended: Ended) -> set[str]:
    """The words of what was printed that are neither marked nor data; cells of a table are read column by column."""
    tables: list[list[str]] = []
    lines = []
    for line in (ended.out + ended.err).splitlines():
        cells = _CELLS.split(line)
        if len(cells) > 1:
            tables = tables or [[] for _cell in cells]
            for column, cell in zip(tables, cells, strict=True):
                column.append(cell.strip())
        else:
            lines += [*map(" ".join, tables), _RULE.sub("", line)]
            tables = []
    text = "\n".join([*lines, *map(" ".join, tables)])
    while _INNER.search(text):
        text = _INNER.sub("", text)
    words = re.findall(r"[^\s,;()→…–]+", text)
    return {word for word in words if re.search(r"[^\W\d_]{2,}", word) and not _DATA.fullmatch(word.strip(":."))}
