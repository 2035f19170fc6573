"""What loading the definitions imports, by name in a fresh process: no start waits for what few need."""

import ast
import os
import subprocess
import sys

import pytest

# What is imported by whatever uses it, never by a process that only wants to know what there is.
_BY_THEIR_USERS = {
    "pandas", "numpy", "pyarrow", "apprise", "boto3", "botocore", "s3transfer", "obstore", "PIL", "pyvips",
    "fastapi", "starlette", "uvicorn", "requests", "alembic", "jwt", "cryptography", "orjson", "rich",
    "dagster_postgres", "psycopg2", "dagster_graphql", "babel",
}  # fmt: skip
# Each connector's declaration names functions that work with tables; these wait even so.
_BY_THE_USERS_OF_CONNECTORS = {
    "apprise", "boto3", "s3transfer", "fastapi", "starlette", "uvicorn", "jwt", "cryptography", "rich",
    "dagster_postgres", "psycopg2", "dagster_graphql", "babel",
}  # fmt: skip
# Quality is beside the synchronisations: what measures pictures is loaded by what is asked to.
_OF_QUALITY = {
    "imagesync_pipelines.imaging.measures",
    "imagesync_pipelines.imaging.words",
    "onnxruntime",
    "rapidocr",
    "cv2",
}
_EVERY_CONNECTOR = """loaded.defs()
import importlib, pkgutil, imagesync_pipelines.connectors as connectors, imagesync_pipelines.imaging.hashes
for one in pkgutil.walk_packages(connectors.__path__, connectors.__name__ + "."): importlib.import_module(one.name)
"""
# What a synchronisation says to people, and how it writes numbers.
_IN_ENGLISH = (
    _EVERY_CONNECTOR
    + """
from datetime import UTC, datetime; from zoneinfo import ZoneInfo
from imagesync_pipelines.languages import numbers, retold, told
retold(told("held back: 2 of 3 rows")); numbers.number(1234); numbers.moment(datetime.now(UTC), ZoneInfo("UTC"))
"""
)
_LOADED = "import sys; import imagesync_pipelines.definitions as loaded\n{}\nprint(*sys.modules)"


def imported_by(more: str) -> set[str]:
    """The packages that a fresh process has imported when it imported the definitions and did more."""
    environment = {**os.environ, "IMAGESYNC_ENV_FILE": os.devnull}
    command = [sys.executable, "-c", _LOADED.format(more)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = done.stdout.splitlines()[-1].split()
    return {name.partition(".")[0] for name in found} | {name for name in found if name in _OF_QUALITY}


@pytest.mark.slow
def test_importing_the_definitions_imports_dagster_and_the_drivers_of_our_database_and_nothing_heavy() -> None:
    found = imported_by("pass")
    assert {"dagster", "sqlalchemy", "psycopg", "pydantic"} <= found
    assert found & _BY_THEIR_USERS == set()


@pytest.mark.slow
def test_making_the_definitions_imports_every_connector_and_none_of_what_only_some_runs_need() -> None:
    found = imported_by("loaded.defs()")
    assert "pandas" in found
    assert found & _BY_THE_USERS_OF_CONNECTORS == set()


@pytest.mark.slow
def test_a_connector_with_all_of_its_modules_that_speaks_english_imports_no_other_language_and_measures_nothing() -> (
    None
):
    found = imported_by(_IN_ENGLISH)
    assert "PIL" in found
    assert found & {*_OF_QUALITY, "babel"} == set()


@pytest.mark.slow
def test_what_is_imported_is_not_searched_for_garbage_again_and_again() -> None:
    environment = {**os.environ, "IMAGESYNC_ENV_FILE": os.devnull}
    program = "import gc, imagesync_pipelines.definitions as d; d.defs(); print(gc.get_stats()[2], gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    stats, _, is_on = done.stdout.strip().rpartition(" ")
    assert ast.literal_eval(stats)["collections"] <= 2
    assert is_on == "True"
