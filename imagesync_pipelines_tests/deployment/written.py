"""What is written in deploy/, read once for its tests."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from imagesync_pipelines_tests import generated

DEPLOY = generated.ROOT / "deploy"
CHART = DEPLOY / "helm" / "imagesync"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|BROKER|_URL\}")


@cache
def read(name: str) -> Any:
    """A YAML file of deploy/, by its path in there."""
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file."""
    return read("compose/compose.yaml")["services"]  # type: ignore[no-any-return]


def units() -> list[Path]:
    """The systemd units that run something."""
    return sorted((DEPLOY / "systemd").glob("*.service"))


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of ours that something in deploy/ starts, with where it stands."""
    for name, service in services().items():
        if "command" in service:
            yield f"compose {name}", [re.sub(r"\$\{\w+:?-?(\w*)\}", r"\1", word) for word in service["command"]]
    for unit in units():
        text = re.search(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
        assert text is not None
        yield unit.name, text[1].replace("/opt/imagesync/bin/", "").split()
    template = (CHART / "templates" / "servers.yaml").read_text(encoding="utf-8")
    for words in re.findall(r'"command" \(list ([^)]*)\)', template):
        yield "chart", [word.strip('"') for word in words.split()]
    for command in _on_page():
        yield "docs/deployment.md", command


def _on_page() -> Iterator[list[str]]:
    """The commands of docs/deployment.md that begin with `imagesync`, or are handed to a container."""
    text = (generated.ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", text)]:
        found = re.search(r"(?:^|:latest |exec catalogue )(imagesync [a-z].*?)(?:\s+#.*)?$", line)
        if found is not None:
            yield found[1].split()


def expressions() -> list[str]:
    """Every expression of PromQL, of the rules and of the dashboard."""
    rules = [rule["expr"] for group in read("monitoring/alerts.yml")["groups"] for rule in group["rules"]]
    dashboard = json.loads((DEPLOY / "monitoring" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return rules + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def env_example() -> dict[str, str]:
    """The variables of the compose file's env.example, each with a value for those that have none."""
    lines = (DEPLOY / "compose" / "env.example").read_text(encoding="utf-8").splitlines()
    pairs = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value or "given" for name, value in pairs.items()}
