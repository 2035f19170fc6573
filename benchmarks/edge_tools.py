"""What other programs need for the same objects: s5cmd and rclone, to plain files, without looking at what came."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from imagesync_pipelines.storage.objects import S3Place


def s5cmd(place: S3Place, target: Path) -> tuple[float, float]:
    """Seconds of `s5cmd cp` of the whole bucket, and its processor seconds."""
    keys = {"AWS_ACCESS_KEY_ID": place.access_key, "AWS_SECRET_ACCESS_KEY": place.secret_key.get_secret_value()}
    command = [
        "s5cmd",
        "--endpoint-url",
        place.endpoint_url,
        "--log",
        "error",
        "cp",
        f"s3://{place.bucket}/*",
        f"{target}/",
    ]
    return _seconds(command, {**keys, "AWS_REGION": place.region}, target)


def rclone(place: S3Place, target: Path) -> tuple[float, float]:
    """Seconds of `rclone copy` of the whole bucket, and its processor seconds."""
    settings = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_S3_PROVIDER": "Rclone",
        "RCLONE_S3_ENDPOINT": place.endpoint_url,
        "RCLONE_S3_ACCESS_KEY_ID": place.access_key,
        "RCLONE_S3_SECRET_ACCESS_KEY": place.secret_key.get_secret_value(),
    }
    return _seconds(["rclone", "copy", f":s3:{place.bucket}", str(target)], settings, target)


def _seconds(command: Sequence[str], settings: dict[str, str], target: Path) -> tuple[float, float]:
    target.mkdir(parents=True)
    program = Path(sys.executable).with_name(command[0])
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, *command[1:]], check=True, env={**os.environ, **settings}, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(target)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
