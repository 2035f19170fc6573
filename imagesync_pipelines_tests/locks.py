"""The lock files, computed from what pyproject.toml asks for and what this environment has installed.

requirements.lock holds what a run needs (every extra that is for users, and the tool that installs the project);
requirements-dev.lock reads it and adds what tests, lint and benchmarks need, deploy/image.lock what runs on several
hosts need, and who watches them. After a change of pyproject.toml install what it asks for, then renew all and look at
the difference:

    python -m imagesync_pipelines_tests.locks
"""

import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
RUN_LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
IMAGE_LOCK = ROOT / "deploy" / "image.lock"
FOR_DEVELOPING = ("dev", "bench")
FOR_SEVERAL_HOSTS = ("celery", "docker", "k8s", "otel")

_RUN_HEAD = "# What `imagesync` needs, with every extra: make demo, make dev.\n"
_DEV_HEAD = "# What tests, lint and benchmarks need besides: make test, make lint, make bench.\n-r requirements.lock\n"
_IMAGE_HEAD = (
    "# What the image needs: every part, the launchers for several hosts, OpenTelemetry.\n-r ../requirements.lock\n"
)


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def asked_for_running(table: Mapping[str, Any]) -> list[Requirement]:
    """What the project and its extra `all` ask for, and what pip builds the project with."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    return [Requirement(text) for text in build] + _own(table, [*table["dependencies"], f"{table['name']}[all]"])


def asked_for_developing(table: Mapping[str, Any]) -> list[Requirement]:
    """What the extras of developers ask for."""
    return _own(table, [f"{table['name']}[{','.join(FOR_DEVELOPING)}]"])


def asked_for_several_hosts(table: Mapping[str, Any]) -> list[Requirement]:
    """What the extras for launchers of several hosts ask for."""
    return _own(table, [f"{table['name']}[{','.join(FOR_SEVERAL_HOSTS)}]"])


def needed_for_running() -> set[str]:
    """The canonical names of everything that requirements.lock has to hold."""
    return set(_closure(asked_for_running(project())))


def locks() -> tuple[str, str, str]:
    """The texts of requirements.lock, requirements-dev.lock and deploy/image.lock for this environment.

    Raises PackageNotFoundError when something that pyproject.toml asks for is not installed.
    """
    running = _closure(asked_for_running(project()))
    developing = _closure(asked_for_developing(project()))
    of_image = _closure(asked_for_several_hosts(project()))
    more, hosts = ({name: found[name] for name in found if name not in running} for found in (developing, of_image))
    return _RUN_HEAD + _lines(running), _DEV_HEAD + _lines(more), _IMAGE_HEAD + _lines(hosts)


def pins(lock: Path) -> list[Requirement]:
    """The packages of a lock file, without those of the file that it reads."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]


def _own(table: Mapping[str, Any], texts: Iterable[str]) -> list[Requirement]:
    """Requirements with the project's own extras put in place of their names."""
    found: list[Requirement] = []
    for wish in map(Requirement, texts):
        if canonicalize_name(wish.name) == table["name"]:
            for extra in sorted(wish.extras):
                found += _own(table, table["optional-dependencies"][extra])
        else:
            found.append(wish)
    return found


def _closure(wishes: Iterable[Requirement]) -> dict[str, Distribution]:
    """Everything that the wishes need, as it is installed here: canonical name → distribution."""
    found: dict[str, Distribution] = {}
    todo, seen = list(wishes), set()
    while todo:
        wish = todo.pop()
        name = canonicalize_name(wish.name)
        if (name, *sorted(wish.extras)) in seen:
            continue
        seen.add((name, *sorted(wish.extras)))
        found[name] = distribution(name)
        todo += [needed for needed in map(Requirement, found[name].requires or []) if _applies(needed, wish.extras)]
    return found


def _applies(needed: Requirement, extras: set[str]) -> bool:
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _lines(found: Mapping[str, Distribution]) -> str:
    return "".join(f"{found[name].name}=={found[name].version}\n" for name in sorted(found))


if __name__ == "__main__":
    for path, text in zip((RUN_LOCK, DEV_LOCK, IMAGE_LOCK), locks(), strict=True):
        path.write_text(text, encoding="utf-8")
