"""Names that installations hold in their records, schedules and environments: none of them may go.

A name leaves the file only with a release that says so.
"""

import os
from pathlib import Path

import dagster as dg
import pytest

import imagesync_pipelines
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines_tests import generated

WRITTEN_DOWN = Path(__file__).with_name("names_that_stay.txt")
# Their fields may get other names; these variables are still read (their own test below).
LIMITS = {
    "IMAGESYNC_BRAKE_SHARE": "0.37", "IMAGESYNC_BRAKE_COUNT": "377",
    "IMAGESYNC_BRAKE_BARE": "37", "IMAGESYNC_BRAKE_FLOOR": "7",
}  # fmt: skip


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """All definitions with nothing set."""
    monkeypatch.setenv("IMAGESYNC_ENV_FILE", os.devnull)
    return build_definitions()


def names_of(definitions: dg.Definitions) -> set[str]:
    """Kind and name of everything that an installation may have written down."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    jobs = [name for name in repository.job_names if not name.startswith("__")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in _package().rglob("*.py"))
    return {
        *(f"asset {node.key.to_user_string()}" for node in nodes),
        *(f"partition set {node.partitions_def.name}" for node in nodes if getattr(node.partitions_def, "name", None)),  # type: ignore[union-attr]
        *(f"pool {pool}" for node in nodes if not node.is_external for pool in node.pools or ()),
        *(f"check {key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys),
        *(f"job {name}" for name in jobs),
        *(f"op {node.name}" for name in repository.job_names for node in repository.get_job(name).nodes),
        *(f"schedule {schedule.name}" for schedule in repository.schedule_defs),
        *(f"sensor {sensor.name}" for sensor in repository.sensor_defs),
        *(f"setting {name}" for _, kind in generated.SETTINGS for name in generated.variables(kind)),
        *(f"run tag {word}" for word in source.split('"') if word.startswith("imagesync/") and "{" not in word),
    }


def test_no_name_that_installations_hold_is_lost(definitions: dg.Definitions) -> None:
    written = WRITTEN_DOWN.read_text(encoding="utf-8").split("\n")[:-1]
    assert len(written) > 200
    assert written == sorted(set(written))
    lost = set(written) - names_of(definitions)
    assert lost <= {f"setting {name}" for name in LIMITS}, f"gone: {sorted(lost)}"


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_still_read_from_the_variable_of_the_first_release(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGESYNC_ENV_FILE", os.devnull)
    before = load_settings(Settings).model_dump()
    monkeypatch.setenv(name, LIMITS[name])
    after = load_settings(Settings).model_dump()
    changed = [value for field, value in after.items() if value != before[field]]
    assert [str(value) for value in changed] == [LIMITS[name]]


def _package() -> Path:
    return Path(imagesync_pipelines.__path__[0])
