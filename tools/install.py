"""Installs a lock, and with --editable this project, where it runs: with uv in a fifth of pip's time, or with pip.

    .venv/bin/python tools/install.py requirements.lock --editable

uv is the one on the PATH, or its wheel from where pip finds packages, kept for this one call. It is told what pip is
configured with (indexes, certificates, constraints ...). Where it cannot be had, cannot be told, or fails, pip does
it and a line says why. Standard library only: it runs before anything is installed.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PROJECT = ("--no-deps", "--no-build-isolation", "-e", ".")

# What pip is configured with → the variable that tells uv the same, and what separates several.
TOLD = {
    "index-url": ("UV_DEFAULT_INDEX", None),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", None),
    "client-cert": ("SSL_CLIENT_CERT", None),
    "proxy": ("ALL_PROXY", None),
    "timeout": ("UV_HTTP_TIMEOUT", None),
    "default-timeout": ("UV_HTTP_TIMEOUT", None),
    "retries": ("UV_HTTP_RETRIES", None),
}
SWITCHES = {"no-index": "UV_NO_INDEX", "no-cache-dir": "UV_NO_CACHE"}
# How pip looks, asks, and keeps what it downloads: nothing to tell.
WITHOUT_EFFECT = {
    "break-system-packages", "cache-dir", "disable-pip-version-check", "exists-action", "log", "no-color", "no-compile",
    "no-input", "no-warn-script-location", "prefer-binary", "progress-bar", "quiet", "require-virtualenv",
    "root-user-action", "upgrade-strategy", "verbose",
}  # fmt: skip


class WithoutUvError(Exception):
    """uv cannot do it; the text says why."""


def main(arguments: Sequence[str]) -> None:
    """Install what is asked for; a failure of pip ends with its exit status."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("lock")
    parser.add_argument("--editable", action="store_true", help="the project of this folder too")
    given = parser.parse_args(arguments)
    wanted = [("-r", given.lock), *([PROJECT] if given.editable else [])]
    try:
        with_uv(wanted)
    except WithoutUvError as reason:
        print(f"pip installs, which takes a minute or two more: {reason}", flush=True)
        for one in wanted:
            done = subprocess.run([*PIP, "install", "--quiet", *one], check=False)
            if done.returncode != 0:
                sys.exit(done.returncode)


def with_uv(wanted: Sequence[Sequence[str]]) -> None:
    """Install with uv; raises WithoutUvError, after which pip can start anew or go on."""
    environment = {**told(configured()), **os.environ}
    with _uv() as program:
        for one in wanted:
            command = [program, "pip", "install", "--quiet", "--python", sys.executable, *one]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise WithoutUvError(f"uv says: {first_line(done.stderr)}")


def configured() -> dict[str, str]:
    """What pip is configured with, by variables and by files, as it applies to `pip install`."""
    done = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WithoutUvError("pip does not tell how it is configured")
    return read(done.stdout)


def read(listing: str) -> dict[str, str]:
    """The listing of `pip config list`; what is said for `install` goes before `global`, and a variable before both."""
    found: dict[str, str] = {}
    lines = [line.partition("=")[::2] for line in listing.splitlines() if "=" in line]
    for section in ("global.", "install.", ":env:."):
        for name, value in lines:
            if name.startswith(section):
                found[name.removeprefix(section)] = str(ast.literal_eval(value))
    return found


def told(config: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell uv what pip is configured with; raises WithoutUvError where something cannot be told."""
    variables: dict[str, str] = {}
    for name, value in config.items():
        words = [word for word in value.split() if name != "find-links" or _is_there(word)]
        if not words or name in WITHOUT_EFFECT:
            continue
        if name in SWITCHES:
            variables |= {SWITCHES[name]: "1"} if value.lower() in {"1", "true", "yes", "on", "y", "t"} else {}
        elif name in TOLD:
            variable, between = TOLD[name]
            variables[variable] = value if between is None else between.join(words)
        else:
            raise WithoutUvError(f"uv has no word for {name}, which pip is configured with")
    if "UV_INDEX" in variables:  # pip takes the best of all indexes, uv by itself the first that knows the package
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def first_line(text: str) -> str:
    """The first line that says something, without passwords of addresses."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "nothing")
    return re.sub(r"//[^/@\s]+@", "//", line)


@contextmanager
def _uv() -> Iterator[str]:
    """The program: the one on the PATH, or that of the wheel, which is removed afterwards."""
    known = shutil.which("uv")
    if known is not None:
        yield known
        return
    with tempfile.TemporaryDirectory(prefix="imagesync-uv-") as folder:
        command = [*PIP, "install", "--quiet", "--no-deps", "--only-binary", "uv", "--target", folder, "uv"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        program = Path(folder, "bin", "uv")
        if done.returncode != 0 or not program.exists():
            raise WithoutUvError("the wheel of uv cannot be had")
        yield str(program)


def _is_there(link: str) -> bool:
    """Whether a place with packages exists, as far as this machine knows; pip passes over others, uv fails."""
    parts = urlsplit(link)
    if parts.scheme not in {"", "file"}:
        return True
    return Path(url2pathname(parts.path) if parts.scheme else link).exists()


if __name__ == "__main__":
    main(sys.argv[1:])
