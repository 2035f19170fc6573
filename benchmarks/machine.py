"""The machine that a benchmark ran on, so that its figures can be read later."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("pydantic", "orjson", "pyarrow", "pandas", "psycopg", "sqlalchemy", "dagster", "dlt")


def describe() -> list[str]:
    """Lines for people: date, processor, cores, memory, versions."""
    memory = psutil.virtual_memory()
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load before the start {load}",
        f"{_processor()}, {os.cpu_count()} cores, {memory.total / 2**30:.0f} GiB memory, {platform.system()}",
        f"Python {platform.python_version()}, PostgreSQL 18 embedded (fsync on), {versions}",
    ]


def _processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
