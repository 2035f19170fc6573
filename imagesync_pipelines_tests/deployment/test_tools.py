"""deploy/ as the tools judge it that will read it: Compose, hadolint, Helm, Kubernetes' schemas, systemd, proxies."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagesync_pipelines_tests.deployment.written import CHART, DEPLOY, env_example, expressions, read, units

pytestmark = pytest.mark.deploy

BIN = Path(sys.executable).parent
EVERYTHING: dict[str, Any] = {
    "headOffice": {"enabled": True},
    "webhooks": {"enabled": True},
    "photos": {"stores": ["harbour", "airport"]},
    "accountsSecret": "accounts",
    "imagePullSecrets": [{"name": "registry"}],
}
# The oldest that the chart takes, and a newer one.
KUBERNETES = ("1.29", "1.34")
MOST_EXPOSED = 2.0


def program(name: str) -> str:
    """A program of the system or of deploy/check.lock; without it the test is skipped, in CI it fails."""
    found = shutil.which(name, path=f"{BIN}:{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def composed(given: dict[str, str], folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    file = folder / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    files = [part for name in ("compose.yaml", *more) for part in ("-f", DEPLOY / "compose" / name)]
    return run(program("docker-compose"), *files, "--env-file", file, "--profile", "*", "config")


def test_compose_takes_the_file(tmp_path: Path) -> None:
    done = composed(env_example(), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "S3_SECRET_KEY", "DOMAIN", "OAUTH2_PROXY_IMAGE"])
def test_compose_names_what_was_not_set(name: str, tmp_path: Path) -> None:
    done = composed({**env_example(), name: ""}, tmp_path)
    assert done.returncode != 0
    assert name in done.stderr


def test_hadolint_has_nothing_against_the_container_file() -> None:
    done = run(program("hadolint"), DEPLOY / "Containerfile")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.fixture(scope="module")
def chart() -> Iterator[Any]:
    helm = pytest.importorskip("helm_python") if not os.environ.get("CI") else __import__("helm_python")
    with helm.Chart.load(CHART) as loaded:
        yield loaded


def rendered(chart: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    texts = chart.render(values, name="imagesync", namespace="production")
    documents = [one for name, text in texts.items() if not name.endswith(".txt") for one in yaml.safe_load_all(text)]
    return [document for document in documents if document]


def test_helm_lints_the_chart(chart: Any) -> None:
    helm = sys.modules["helm_python"]
    found = helm.lint(CHART, EVERYTHING, strict=True)
    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] in ([], ["icon is recommended"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"env": {"IMAGE_API_PASSWORD": "x"}},
        {"catalog": {"enabled": True}},
        {"catalogue": {"resources": {"limit": {"memory": "1Gi"}}}},
        {"photos": {"stores": ["Harbour Store"]}},
    ],
    ids=["a secret among the variables", "a misspelt part", "a misspelt limit", "a store that is no name"],
)
def test_values_that_are_wrong_are_refused(chart: Any, wrong: dict[str, Any]) -> None:
    chart.validate_schema(chart.merge_values(EVERYTHING))
    with pytest.raises(sys.modules["helm_python"].HelmError):
        chart.validate_schema(chart.merge_values(wrong))


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as it comes", "everything"])
def test_what_the_chart_renders_is_valid_and_nobodys_root(chart: Any, values: dict[str, Any]) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    documents = rendered(chart, values)
    for document in documents:
        for version in KUBERNETES:
            kubernetes.validate(document, version, strict=True)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)
    deployments = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "Deployment"]
    assert len(deployments) == (5 if values else 1)
    for pod in deployments:
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert "memory" in container["resources"]["limits"]


def test_the_most_runs_are_set_once_where_dagsters_chart_reads_them(chart: Any) -> None:
    documents = rendered(chart, EVERYTHING)
    text = yaml.safe_dump_all(documents)
    assert text.count("max_concurrent_runs") == 1
    [config] = [one for one in documents if one["metadata"]["name"] == "imagesync-instance"]
    assert yaml.safe_load(config["data"]["dagster.yaml"]) == read("dagster/kubernetes.yaml")


@pytest.fixture
def installed_units(tmp_path: Path) -> list[Path]:
    """The units as they would be installed, with this environment's programs: systemd looks whether they are there."""
    entrypoint = f"{DEPLOY}/entrypoint"
    for unit in [*units(), DEPLOY / "systemd" / "imagesync.target"]:
        text = unit.read_text(encoding="utf-8").replace("/opt/imagesync/bin/imagesync-entrypoint", entrypoint)
        placed = tmp_path / unit.name.replace("@", "@harbour")
        placed.write_text(text.replace("/opt/imagesync/bin/", f"{BIN}/"))
    return sorted(tmp_path.glob("*.service"))


def test_systemd_says_nothing_to_the_units(installed_units: list[Path]) -> None:
    done = run(program("systemd-analyze"), "verify", *installed_units, installed_units[0].parent / "imagesync.target")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_says_so_of_a_misspelt_key(installed_units: list[Path]) -> None:
    installed_units[0].write_text(installed_units[0].read_text().replace("MemoryMax", "MemoryMost"))
    assert "MemoryMost" in run(program("systemd-analyze"), "verify", *installed_units).stderr


def test_the_units_may_do_little_to_their_machine(installed_units: list[Path]) -> None:
    exposed = {}
    for unit in installed_units:
        said = run(program("systemd-analyze"), "security", "--offline=true", "--no-pager", unit).stdout
        exposed[unit.name] = float(re.findall(r"exposure level for \S+: ([\d.]+)", said)[0])
    assert len(exposed) == 8
    assert {name: level for name, level in exposed.items() if level > MOST_EXPOSED} == {}


def test_every_expression_is_promql_and_every_rule_is_whole() -> None:
    promql = pytest.importorskip("promql_parser")
    for expression in expressions():
        promql.parse(expression)
    with pytest.raises(ValueError, match="parenthesis"):
        promql.parse("sum(imagesync_images")
    [group] = read("monitoring/alerts.yml")["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) > 5
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.parametrize("name", ["Caddyfile", "one-login.Caddyfile"])
def test_caddy_takes_its_file(name: str, tmp_path: Path) -> None:
    file = DEPLOY / "proxy" / name
    folders = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = (program("caddy"), "validate", "--config", file, "--adapter", "caddyfile")
    done = run(*command, DOMAIN="example.com", ACME_EMAIL="operator@example.com", **folders)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["nginx.conf", "one-login.nginx.conf"])
def test_nginx_takes_its_file(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / "proxy" / name).read_text(encoding="utf-8")
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    made = run(
        program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=example.com",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    site = tmp_path / "site.conf"
    site.write_text(text.replace("/etc/letsencrypt/live/example.com", str(tmp_path)))
    whole = tmp_path / "nginx.conf"
    paths = "".join(f"{name}_temp_path {tmp_path}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    whole.write_text(f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {paths} include {site}; }}")
    done = run(program("nginx"), "-t", "-q", "-e", "stderr", "-p", tmp_path, "-c", whole)
    assert (done.returncode, done.stderr) == (0, "")
