"""`imagesync user`: people are added, listed and removed; a password is never an argument."""

import io
import sys
from pathlib import Path

import click
import pytest

from imagesync_pipelines.cli.commands import LazyCommand
from imagesync_pipelines.cli.main import root
from imagesync_pipelines.storage.schema_catalogue import web_user
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import UserRole
from imagesync_pipelines_tests.cli.terminals import Ended, call

Shown = pytest.CaptureFixture[str]
PASSWORD = "a long password"


@pytest.fixture
def shell(database_url: str, tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Runs `imagesync user <words>` with a text on standard input."""

    def run(*words: str, typed: str = "") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        home = str(tmp_path / "home")
        return call(None, capsys, "user", *words, IMAGESYNC_HOME=home, IMAGESYNC_DATABASE_URL=database_url)

    return run


def test_a_person_is_added_listed_and_removed(shell, database) -> None:  # type: ignore[no-untyped-def]
    added = shell("add", "anna", "--role", "admin", typed=f"{PASSWORD}\n")
    assert (added.code, added.out) == (0, "anna may log in as admin\n")
    found = access.log_in(database, "anna", PASSWORD)
    assert found is not None
    assert found.role is UserRole.ADMIN
    with database.begin() as connection:
        ben = {"name": "ben", "role": "viewer", "issuer": "https://login.example", "subject": "7", "is_active": True}
        connection.execute(web_user.insert().values(**ben))
    anna, people = ([line for line in shell("list").out.splitlines() if name in line] for name in ("anna", "ben"))
    assert ("admin" in anna[0], "password" in anna[0]) == (True, True)
    assert ("https://login.example" in people[0], "password" in people[0]) == (True, False)
    assert shell("remove", "anna").out == "anna may not log in any more\n"
    assert access.log_in(database, "anna", PASSWORD) is None


@pytest.mark.parametrize(
    ("words", "typed", "told"),
    [(("add", "anna"), "short\n", "a password has 12 to 1000 characters"),
     (("add", "an na"), f"{PASSWORD}\n", "a name has"),
     (("add", "anna"), "", "a password has"),
     (("remove", "nobody"), "", "There is no user nobody")],
    ids=["short password", "bad name", "no password", "nobody"],
)  # fmt: skip
def test_what_is_refused_is_one_line(shell, words: tuple[str, ...], typed: str, told: str) -> None:  # type: ignore[no-untyped-def]
    done = shell(*words, typed=typed)
    assert done.code == 1
    assert told in done.err
    assert "Traceback" not in done.err


def test_no_command_takes_a_password_as_argument_or_option() -> None:
    group = root.commands["user"]
    assert isinstance(group, click.Group)
    assert len(group.commands) == 3
    for command in group.commands.values():
        assert isinstance(command, LazyCommand)
        assert {option.name for option in command.load().params} <= {"name", "role"}
