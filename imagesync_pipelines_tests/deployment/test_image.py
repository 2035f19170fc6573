"""The image, built of the container file and run as it runs in production: as user 10001, with a read-only root."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.sandbox.moysklad.server import secrets_of
from imagesync_pipelines_tests.deployment.images import USER, Image, built
from imagesync_pipelines_tests.deployment.test_tools import program
from imagesync_pipelines_tests.deployment.written import services

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

# What needs no Redis and no account of somebody; the stores are the embedded ones of the volume.
STARTED = ("s3", "code", "catalogue", "head-office", "webhooks", "webserver", "daemon")
# The others would begin to synchronise the demo's accounts.
GIVEN = {
    "webhooks": {
        "IMAGESYNC_ACCOUNTS": "/var/lib/imagesync/sandbox/accounts.toml",
        "MOYSKLAD_WEBHOOK_SECRET": "0123456789abcdef",
        **secrets_of(),
    }
}
_UNTIL_WELL = """
cd /tmp
well() {
    name=$1; shift
    for second in $(seq 150); do "$@" > said 2>&1 && echo "$name is well" && return; sleep 1; done
    echo "$name is not well"; cat said "/tmp/$name.log"; exit 1
}
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if os.geteuid() != 0:
        pytest.skip("only root builds an image without an engine")
    for needed in ("buildah", "mmdebstrap", "unshare", "setpriv"):
        program(needed)
    folder = tmp_path_factory.mktemp("image")
    try:
        yield built(folder)
    finally:
        shutil.rmtree(folder)


def test_it_is_one_user_who_writes_to_its_volume_and_to_tmp_only(image: Image, tmp_path: Path) -> None:
    tries = "for one in / /etc /opt/imagesync /opt/imagesync/etc /usr /tmp /var/lib/imagesync; do "
    tries += "touch $one/x 2> /dev/null && echo $one; done; id -u; env"
    said = image.run("sh", "-c", tries, volume=tmp_path / "volume").splitlines()
    assert said[:3] == ["/tmp", "/var/lib/imagesync", str(USER)]
    assert [line for line in said if re.search("(?i)pip|uv_|proxy|secret|password", line)] == []
    assert image.config["User"] == f"{USER}:{USER}"
    assert list(image.config["Volumes"]) == ["/var/lib/imagesync"]
    assert image.config["Healthcheck"]["Test"][1:] == services()["catalogue"]["healthcheck"]["test"][1:]


def test_nothing_of_how_it_was_built_is_in_it(image: Image) -> None:
    assert [str(path) for path in (image.root / "source", image.root / "etc" / "pip.conf") if path.exists()] == []
    compiled = list((image.root / "opt" / "imagesync").rglob("imagesync_pipelines/__pycache__/definitions.*.pyc"))
    assert len(compiled) == 1, "every process would compile everything at its start"


def test_dagster_finds_the_definitions(image: Image, tmp_path: Path) -> None:
    said = image.run(
        "dagster", "definitions", "validate", "-m", "imagesync_pipelines.definitions", volume=tmp_path / "volume"
    )
    assert "All code locations passed validation" in said


def test_doctor_finds_nothing_wrong(image: Image, tmp_path: Path) -> None:
    assert "nothing is wrong" in image.run("imagesync", "doctor", volume=tmp_path / "volume")


@pytest.mark.timeout(1800)
def test_a_demo_synchronises_everything_and_the_servers_are_well_on_what_it_left(image: Image, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    said = image.run("imagesync", "demo", volume=volume)
    assert "image database → product_image" in said
    assert said.count("completed") >= 10
    started, script = list[str](), [_UNTIL_WELL]
    for name in STARTED:
        service = services()[name]
        words = [word for part in ("entrypoint", "command") for word in service.get(part, [])]
        given = ["env", *(f"{variable}={value}" for variable, value in GIVEN.get(name, {}).items())]
        server = shlex.join([*given, *([] if "entrypoint" in service else ["imagesync-entrypoint"]), *words])
        if "code" in service.get("depends_on", {}):
            script, started = [*script, *started], []
        script.append(f"mkdir -p /tmp/{name}; (cd /tmp/{name}; exec {server}) > /tmp/{name}.log 2>&1 &")
        started.append(shlex.join(["well", name, *service["healthcheck"]["test"][1:]]))
    said = image.run(
        "sh", "-c", "\n".join([*script, *started]), volume=volume,
        IMAGESYNC_CODE_HOST="127.0.0.1",
        RCLONE_AUTH_KEY=services()["s3"]["environment"]["RCLONE_AUTH_KEY"].replace("${S3_SECRET_KEY}", "secret"),
    )  # fmt: skip
    assert [line for line in said.splitlines() if line.endswith("is well")] == [f"{name} is well" for name in STARTED]
