"""What a list of commands imports, and that the list and the commands themselves agree."""

import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from imagesync_pipelines import cli
from imagesync_pipelines.cli.commands import LazyCommand, all_commands
from imagesync_pipelines.registry import CONNECTORS
from imagesync_pipelines_tests.cli.terminals import call, environment_of

COMMANDS = tuple(all_commands())
Shown = pytest.CaptureFixture[str]

GROUPS = [command.name or "" for command in COMMANDS if isinstance(command, click.Group)]
HEAVY = {
    "dagster", "pandas", "numpy", "pyarrow", "boto3", "botocore", "obstore", "fastapi", "starlette", "uvicorn",
    "sqlalchemy", "psycopg", "alembic", "requests", "pydantic", "PIL", "rich", "babel",
}  # fmt: skip
OURS = {
    "imagesync_pipelines",
    "imagesync_pipelines.cli",
    "imagesync_pipelines.cli.commands",
    "imagesync_pipelines.cli.main",
    # Pauses the garbage collector while modules are imported: of the standard library alone.
    "imagesync_pipelines.collector",
    "imagesync_pipelines.errors",
    # What a command says is said in a language; of the standard library alone until it is another than English.
    "imagesync_pipelines.languages",
    "imagesync_pipelines.languages.current",
    "imagesync_pipelines.languages.numbers",
    "imagesync_pipelines.languages.texts",
    "imagesync_pipelines.languages.told",
    "imagesync_pipelines.registry",
    # The mask under which every file of ours is made: of the standard library alone.
    "imagesync_pipelines.storage",
    "imagesync_pipelines.storage.errors",
    "imagesync_pipelines.storage.home",
}
# What says that a word is wrong, of the standard library alone; who lists commands in the process after it has it, too.
WRONG_WORDS = {"imagesync_pipelines.cli.wrong_options"}


def leaves(commands: tuple[click.Command, ...], *above: str) -> Iterator[tuple[str, LazyCommand]]:
    """Every command of the table that is no group, with the words that call it."""
    for command in commands:
        words = (*above, command.name or "")
        if isinstance(command, click.Group):
            yield from leaves(tuple(command.commands.values()), *words)
        else:
            assert isinstance(command, LazyCommand), f"{' '.join(words)} is imported before it is called"
            yield " ".join(words), command


LEAVES = dict(leaves(COMMANDS))


# The command as its console script starts it; the names of all modules are on the last line of standard error.
PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from imagesync_pipelines.cli.main import main
main()
"""


def imported(folder: Path, *words: str, code: int = 0) -> set[str]:
    """The modules that a fresh process has imported at the end of `imagesync <words>`."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=folder, env=environment_of(None, {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return set(done.stderr.splitlines()[-1].split())


LISTS = {"--version": 0, "--help": 0, "-h": 0, "histroy": 2, "edge chek": 2, **{f"{name} --help": 0 for name in GROUPS}}
# All of them in one process, where one each would take ten times as long; after each a line on standard error.
LISTING = """
import json, sys
from imagesync_pipelines.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv, code = ["imagesync", *words.split()], 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    print(json.dumps([words, code, list(sys.modules)]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, set[str]]]:
    """The exit code of each of the lists, and the modules that are imported after it."""
    done = subprocess.run(
        [sys.executable, "-c", LISTING, json.dumps([*LISTS])], cwd=tmp_path_factory.mktemp("lists"),
        env=environment_of(None, {}), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('["')]
    return {words: (code, set(modules)) for words, code, modules in found}


@pytest.mark.parametrize("words", LISTS)
def test_lists_of_commands_and_the_version_import_nothing_heavy(
    listed: dict[str, tuple[int, set[str]]], words: str
) -> None:
    code, modules = listed[words]
    assert code == LISTS[words]
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    assert {name for name in modules if name.partition(".")[0] == "imagesync_pipelines"} - WRONG_WORDS == OURS


@pytest.mark.slow
def test_a_command_imports_what_it_needs_when_it_is_called(tmp_path: Path) -> None:
    modules = imported(tmp_path, "sync", "image-db", "--help")
    assert {"dagster", "imagesync_pipelines.cli.sync", "imagesync_pipelines.connectors.image_db.connector"} <= modules
    assert not {"imagesync_pipelines.cli.plytix", "imagesync_pipelines.sandbox"} & modules


@pytest.mark.parametrize("words", LEAVES)
def test_the_table_says_of_a_command_what_the_command_says_of_itself(words: str) -> None:
    stands_in = LEAVES[words]
    found = stands_in.load()
    assert found.name == stands_in.name
    assert (found.hidden, found.deprecated) == (stands_in.hidden, stands_in.deprecated)
    for length in (20, 45, 80, 1000):
        assert found.get_short_help_str(length) == stands_in.get_short_help_str(length)


def test_every_command_that_is_written_is_in_the_table_once() -> None:
    written = set()
    for module in pkgutil.walk_packages(cli.__path__, f"{cli.__name__}."):
        for found in vars(import_module(module.name)).values():
            if isinstance(found, click.Command) and not isinstance(found, click.Group | LazyCommand):
                written.add(found)
    made = [words for words, stands_in in LEAVES.items() if stands_in.connector]
    assert len(made) == len(CONNECTORS) - 1, "all but one are made from the declaration"
    loaded = [stands_in.load() for words, stands_in in LEAVES.items() if words not in made]
    assert len(loaded) + len(made) > 40
    assert len(set(loaded)) == len(loaded)
    assert set(loaded) == written


def test_a_place_that_holds_no_command_is_refused() -> None:
    with pytest.raises(TypeError, match=r"imagesync_pipelines\.cli\.main:FAILED is no command"):
        LazyCommand("failed", "imagesync_pipelines.cli.main:FAILED", "Fail.").load()


def test_a_group_without_a_command_shows_its_list_and_a_mistyped_one_is_suggested(capsys: Shown) -> None:
    listed = call(None, capsys, "quarantine")
    assert listed.code == 2
    assert "Try items again now, from the stored pages." in listed.out + listed.err
    assert "Did you mean 'history'?" in call(None, capsys, "histroy").err
