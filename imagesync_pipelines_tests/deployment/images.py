"""The image of deploy/Containerfile, really built and really run, on a machine without an engine for containers.

buildah builds it (root, chroot isolation), on a base that mmdebstrap makes of the machine's own distribution. What is
run has the image's files as a read-only root, processes and a loopback of its own, and nothing to write to but its
volume and /tmp. Where packages come from is the machine's own configuration of apt and of pip.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imagesync_pipelines_tests import generated
from tools import install

# The distribution's Python, and what python:3.11-slim has besides.
PACKAGES = "python3,python3-venv,ca-certificates"
USER = 10001
_SOURCES = "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"
_LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))
"""
# In namespaces of its own, so that nothing is left mounted, and that everything ends with its first process.
_CONTAINER = """
set -e
"$PYTHON" -I -c "$LOOPBACK_UP"
mount --rbind "$ROOT" "$ROOT"
mount -o remount,ro,bind "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=1777,size=1g tmpfs "$ROOT/tmp"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
for one in null zero random urandom; do touch "$ROOT/dev/$one"; mount --bind "/dev/$one" "$ROOT/dev/$one"; done
ln -s /proc/self/fd "$ROOT/dev/fd"
mkdir -m 1777 "$ROOT/dev/shm"
mount --bind "$VOLUME" "$ROOT/var/lib/imagesync"
exec setpriv --no-new-privs chroot --userspec=10001:10001 --groups= "$ROOT" env -i -C /var/lib/imagesync "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image: its files in a folder of this machine, and what its configuration says."""

    root: Path
    environment: Sequence[str]
    entrypoint: Sequence[str]
    config: Mapping[str, Any]

    def run(self, *command: str, volume: Path, seconds: float = 800, **variables: str) -> str:
        """What a command says, run as the image's user with a read-only root; fails when its exit status is not 0."""
        volume.mkdir(mode=0o700, exist_ok=True)
        os.chown(volume, USER, USER)
        given = [f"{name}={value}" for name, value in variables.items()]
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", _CONTAINER, "sh",
             *self.environment, *given, *self.entrypoint, *command],
            env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, "LOOPBACK_UP": _LOOPBACK_UP,
                 "ROOT": str(self.root), "VOLUME": str(volume)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout


def built(folder: Path) -> Image:
    """The image; the folder holds all that is made for it, and can be removed as it is."""
    buildah = (
        "buildah", "--storage-driver", "vfs", "--root", str(folder / "storage"), "--runroot", str(folder / "run"),
    )  # fmt: skip

    def build(*arguments: str) -> str:
        return _said(*buildah, *arguments)

    base = folder / "base.tar"
    release, sources = _distribution()
    _said("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PACKAGES}",
          "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
          release, str(base), *sources)  # fmt: skip
    empty = build("from", "scratch")
    build("add", empty, str(base), "/")
    build("commit", "--rm", empty, "imagesync-base:test")
    base.unlink()
    pip, mounts = _pip(folder / "pip.conf")
    build("build", "--quiet", "--isolation", "chroot", "--format", "docker", "--build-arg", "BASE=imagesync-base:test",
          *pip, *mounts, "-f", str(generated.ROOT / "deploy" / "Containerfile"), "-t", "imagesync:test",
          str(generated.ROOT))  # fmt: skip
    config = json.loads(build("inspect", "--type", "image", "imagesync:test"))["Docker"]["config"]
    root = Path(build("mount", build("from", "imagesync:test")))
    # As every engine does it.
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    return Image(root, config["Env"], config["Entrypoint"], config)


def _distribution() -> tuple[str, list[str]]:
    """The code name of this machine's Debian or Ubuntu, and where its packages come from, as apt is configured."""
    words = Path("/etc/os-release").read_text(encoding="utf-8").split("\n")
    release = next(word.partition("=")[2].strip('"') for word in words if word.startswith("VERSION_CODENAME="))
    rows = {tuple(line.split("|")[1:]) for line in _said("apt-get", "indextargets", "--format", _SOURCES).splitlines()
            if line.startswith("Packages|")}  # fmt: skip
    return release, [
        f"deb {place} {name} {component}"
        for origin, name, place, component in sorted(rows)
        if origin in {"Debian", "Ubuntu"} and name.split("-")[0] == release and component == "main"
    ]


def _pip(file: Path) -> tuple[list[str], list[str]]:
    """Options of buildah that give the build this machine's configuration of pip, and the places that this names."""
    configured = install.configured()
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in configured.items()))
    places: set[Path] = set()
    for name, value in configured.items():
        for word in value.split():
            path = Path(urlsplit(word).path if word.startswith("file:") else word)
            if path.is_absolute() and path.exists():
                # An index on disk links to its files beside it.
                places.add(path.parent if name.endswith("index-url") else path)
    return ["--secret", f"id=pip.conf,src={file}"], [f"--volume={place}:{place}:ro" for place in sorted(places)]


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
