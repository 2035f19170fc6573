"""`make` installs with uv as pip is configured, and with pip wherever uv cannot."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools import install

LISTING = """
global.index-url='https://one.example/index'
global.extra-index-url='https://two.example/index\\nhttps://three.example/index'
global.timeout='30'
install.constraint='limits.txt'
:env:.timeout='180'
:env:.no-input='1'
"""


def test_pips_configuration_is_what_uv_is_told_and_a_variable_goes_before_a_file() -> None:
    assert install.told(install.read(LISTING)) == {
        "UV_DEFAULT_INDEX": "https://one.example/index",
        "UV_INDEX": "https://two.example/index https://three.example/index",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_HTTP_TIMEOUT": "180",
        "UV_CONSTRAINT": "limits.txt",
    }


@pytest.mark.parametrize(
    ("config", "variables"),
    [
        ({}, {}),
        ({"no-index": "true", "no-cache-dir": "1"}, {"UV_NO_INDEX": "1", "UV_NO_CACHE": "1"}),
        ({"no-index": "false"}, {}),
        ({"cert": "", "index-url": " "}, {}),
        ({"trusted-host": "one two:8443", "cert": "own.pem"},
         {"UV_INSECURE_HOST": "one two:8443", "SSL_CERT_FILE": "own.pem"}),
        ({"find-links": "/no/such/folder https://wheels.example/ file:///no/such"},
         {"UV_FIND_LINKS": "https://wheels.example/"}),
        ({"find-links": "/no/such/folder"}, {}),
        ({"quiet": "2", "progress-bar": "off", "root-user-action": "ignore"}, {}),
    ],
)  # fmt: skip
def test_a_configuration_of_pip_in_uvs_words(config: dict[str, str], variables: dict[str, str]) -> None:
    assert install.told(config) == variables


def test_a_folder_with_wheels_that_exists_is_told(tmp_path: Path) -> None:
    links = f"{tmp_path} {tmp_path.as_uri()}"
    assert install.told({"find-links": links}) == {"UV_FIND_LINKS": f"{tmp_path},{tmp_path.as_uri()}"}


@pytest.mark.parametrize("name", ["require-hashes", "target", "only-binary", "something-of-tomorrow"])
def test_what_uv_cannot_be_told_is_left_to_pip(name: str) -> None:
    with pytest.raises(install.WithoutUvError, match=name):
        install.told({name: "1"})


def test_what_uv_says_is_repeated_without_a_password() -> None:
    assert (
        install.first_line("\n  error: no https://me:secret@one.example/x\nmore") == "error: no https://one.example/x"
    )


def program(folder: Path, text: str) -> None:
    """A `uv` for the PATH."""
    folder.mkdir()
    (folder / "uv").write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    (folder / "uv").chmod(0o755)


WRITES = (
    "import os, pathlib, sys; pathlib.Path('told').open('a').write(f'{sys.argv[1:]} {os.environ.get(\"UV_INDEX\")}\\n')"
)


@pytest.fixture
def by_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[str]]:
    """What pip was asked to install; uv is looked for in the folder `bin` alone."""
    asked, run = [], subprocess.run

    def instead(command: Sequence[str], **how: object) -> subprocess.CompletedProcess[str]:
        if "install" in command and command[0] == sys.executable:
            asked.append(command[command.index("install") :])
            return subprocess.CompletedProcess(command, 1 if "uv" in command else 0, "", "no such wheel")
        return run(command, **how)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "run", instead)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return asked


def test_uv_installs_the_lock_and_the_project_as_pip_is_configured(
    by_pip: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", WRITES)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example/index")
    install.main(["some.lock", "--editable"])
    lock, project = (tmp_path / "told").read_text(encoding="utf-8").splitlines()
    assert lock.endswith("'-r', 'some.lock'] https://two.example/index")
    assert "'-e', '.'" in project
    assert sys.executable in lock
    assert by_pip == []


@pytest.mark.parametrize(
    ("text", "said"),
    [("import sys; sys.exit('error: no wheel of numpy')", "error: no wheel of numpy"), (None, "cannot be had")],
    ids=["uv fails", "there is no uv"],
)
def test_pip_installs_the_same_where_uv_cannot_and_a_line_says_why(
    by_pip: list[Sequence[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    if text is not None:
        program(tmp_path / "bin", text)
    install.main(["some.lock", "--editable"])
    assert [asked[-2:] for asked in by_pip if "uv" not in asked] == [["-r", "some.lock"], ["-e", "."]]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("pip installs")
    assert said in line
