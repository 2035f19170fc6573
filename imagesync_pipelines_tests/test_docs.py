"""The promises of docs/safety.md name tests that are there; every command of the docs is one, with these options."""

import json
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import click
import pytest

from imagesync_pipelines.cli.commands import LazyCommand
from imagesync_pipelines.cli.main import root
from imagesync_pipelines.cli.sandbox import stand_ins
from imagesync_pipelines.storage.embedded import EmbeddedServer, stop_server
from imagesync_pipelines_tests import generated
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.cli.test_servers import sandbox_ports
from imagesync_pipelines_tests.places import databases, environment_of

SAFETY = generated.ROOT / "docs" / "safety.md"
TESTS = generated.ROOT / "imagesync_pipelines_tests"
PAGES = sorted([*(generated.ROOT / "docs").rglob("*.md"), *generated.ROOT.glob("*.md")])
OPERATING = generated.ROOT / "docs" / "operating.md"
# A translation has the commands of its page (test_docs_translated.py), which is the one to be called.
CALLED = [page for page in PAGES if page != OPERATING and page.name.count(".") == 1]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#.*")
_EMPHASISED = re.compile(r"\*{1,2}([^*\n]+)\*{1,2}")
# Of an asset, a job, a schedule or a sensor of ours.
_NAME = re.compile(r"`([a-z_]+/[a-z_]+|[a-z_]+__[a-z_]+)`")
_FILE = re.compile(r"\w+\.(?:json|csv)")
_INLINE = re.compile(r"`(?:\.venv/bin/)?(imagesync [^`]+)`")
_MAKE = re.compile(r"^([a-z-]+):", re.MULTILINE)
# What stands for the reader's own: a number in its place.
_ANY_NUMBER = re.compile(r"\bN\b")
# What serves until it is stopped, or needs ids, receivers or a choice of the reader's own: other tests call these.
_CALLED_ELSEWHERE = ("edge serve", "moysklad enqueue", "undo", "webhook")
_NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def promises() -> dict[str, str]:
    """The sections of the page, by their headings."""
    _, *sections = re.split(r"^## ", SAFETY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {section.partition("\n")[0]: section.partition("\n")[2] for section in sections}


@pytest.mark.parametrize("heading", promises())
def test_a_promise_names_tests_that_are_there(heading: str) -> None:
    named = _NAMED.findall(promises()[heading])
    assert named, "no test proves it"
    sources = {file: TESTS / file for file, _ in named}
    assert [file for file, path in sources.items() if not path.exists()] == []
    assert [
        f"{file}::{test}"
        for file, test in named
        if re.search(rf"^def {test}\(", sources[file].read_text(encoding="utf-8"), re.MULTILINE) is None
    ] == []


def test_the_index_leads_to_pages_that_are_there() -> None:
    index = generated.ROOT / "docs" / "README.md"
    named = re.findall(r"\]\(([^)#]+)\)", index.read_text(encoding="utf-8"))
    assert len(named) > 12
    assert [name for name in named if not (index.parent / name).exists()] == []


def lines_of(page: Path) -> Iterator[str]:
    """The commands in a page's blocks of shell, without comments."""
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                if command := _COMMENT.sub("", line).strip().removesuffix("&").strip():
                    yield command


def sentences_of(page: Path) -> Iterator[str]:
    """The commands in a page's sentences; alternatives, a|b, are one each."""
    for found in _INLINE.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        *words, last = str(found).split()
        yield from (" ".join([*words, one]) for one in last.split("|") if "…" not in found)


def found_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that these words are, and what it is given. Raises LookupError when there is none."""
    at: click.Command = root
    while isinstance(at, click.Group) and words and not words[0].startswith("-"):
        inner = at.get_command(click.Context(at), words[0])
        if inner is None:
            raise LookupError(f"imagesync has no command {words[0]}")
        at, words = inner, words[1:]
    return (at.load() if isinstance(at, LazyCommand) else at), words


@pytest.mark.parametrize("name", [page.relative_to(generated.ROOT).as_posix() for page in PAGES])
def test_every_command_of_the_docs_is_one_with_these_options(name: str) -> None:
    targets = set(_MAKE.findall((generated.ROOT / "Makefile").read_text(encoding="utf-8")))
    for line in lines_of(generated.ROOT / name):
        program, *words = shlex.split(_ANY_NUMBER.sub("1", line))
        if program == "make":
            assert set(words) <= targets, line
        elif Path(program).name == "imagesync" and "$" not in line:
            command, given = found_command(words)
            for word in given:
                if _FILE.fullmatch(word):
                    Path(word).touch()
            command.make_context("imagesync", given, parent=click.Context(root))
    for line in sentences_of(generated.ROOT / name):
        command, given = found_command(shlex.split(_ANY_NUMBER.sub("1", line))[1:])
        # What is needed besides may be left out of a sentence.
        command.make_parser(click.Context(command)).parse_args(given)


def test_getting_started_speaks_of_what_the_ui_has() -> None:
    """Names are those of the definitions; what is emphasised else is a word of Dagster's own pages."""
    page = (generated.ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    text = _BLOCK.sub("", page.partition("## What the demo prints")[0])
    has = json.loads(generated.SNAPSHOT.read_text(encoding="utf-8"))
    assets = {asset.partition("/")[2] for asset in has["assets"]}
    names = {*assets, *has["assets"], *has["jobs"], *has["schedules"], *has["sensors"]}
    emphasised = {part.strip() for one in _EMPHASISED.findall(text) for part in one.split("→")}
    assert {"Runs", "Automation", "image_db__sync", "api_pages"} <= emphasised
    pages = Path(str(files("dagster_webserver") / "webapp")).rglob("*.js")
    shown = "".join(script.read_text(encoding="utf-8", errors="replace") for script in pages)
    assert [word for word in emphasised if word not in names and f'"{word}"' not in shown] == []
    assert [name for name in _NAME.findall(text) if name not in names] == []


@pytest.mark.slow
def test_every_command_of_operating_works_in_any_folder(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what `imagesync env` prints, in a folder that has neither .env nor accounts file."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere, project / "pictures"):
        folder.mkdir()
    with databases(server) as (ours, dagsters):
        place = environment_of(project, ours, dagsters) | {"IMAGESYNC_ENV_FILE": ".env"}
        (project / ".env").write_text("FOLDER_PATH=pictures\nFOLDER_URL=https://images.example\n")
        monkeypatch.chdir(project)
        printed = call(None, capsys, "env", **place)
        exported = dict(line.removeprefix("export ").split("=", 1) for line in printed.out.splitlines())
        exported = {name: shlex.split(value)[0] for name, value in exported.items()}
        assert exported["FOLDER_PATH"] == str(project / "pictures")
        monkeypatch.chdir(elsewhere)
        done = call(None, capsys, "sync", "folder", "--dry-run", **exported)
        assert "not set" not in done.out + done.err
        lines = [line for line in lines_of(OPERATING) if line.startswith("imagesync ")]
        assert len(lines) > 10
        for line in lines:
            ended = call(None, capsys, *shlex.split(line)[1:], **exported)
            # Of numbers and accounts that this installation does not have a line tells.
            assert ended.code in (0, 1, 3), (line, ended)
            assert "Traceback" not in ended.out + ended.err
        assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
def test_every_command_of_the_other_pages_works_on_the_made_up_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of a page in its order, with what stands for the reader's own: a store, a mapping file, the newest plan."""
    home = tmp_path / "home"
    monkeypatch.setenv("IMAGESYNC_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    called = []
    try:
        with sandbox_ports(), stand_ins.environment() as place, stand_ins.all_served(place):
            own = {"harbour": "store1", "mapping.json": str(place.mapping)}
            for page in CALLED:
                for line in lines_of(page):
                    program, *words = shlex.split(line)
                    if Path(program).name != "imagesync" or " ".join(words).startswith(_CALLED_ELSEWHERE):
                        continue
                    if "N" in words:
                        own["N"] = re.findall(r"^\D*(\d+)", call(None, capsys, "plan").out, re.MULTILINE)[0]
                    ended = call(None, capsys, *(own.get(word, word) for word in words))
                    # Doctor ends with 2 where something cannot be looked at, such as a clock of a stand-in.
                    assert ended.code in (0, 3, 2 if words == ["doctor"] else 0), (page, line, ended)
                    called.append(line)
    finally:
        stop_server(home)
    assert len(called) > 10
