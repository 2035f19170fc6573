"""Which groups of a stored plan must not be written any more, because what they rest on moved."""

from typing import Any

import pandas as pd
import pytest

from imagesync_pipelines.sync.model import Proof, Scope
from imagesync_pipelines.sync.plan import build_plan
from imagesync_pipelines.sync.stale import SourceNow, stale_groups
from imagesync_pipelines_tests.sync.fakes import frame

WANTED = frame(("a/new", "a", None, "n", None), ("b/kept", "b", None, "k", None), ("c/1", "c", None, "x2", None))
CURRENT = frame(("a/gone", "a", None, "g", None), ("b/kept", "b", None, "k", None), ("c/1", "c", None, "x1", None))
ALL = {"a/new": "n", "b/kept": "k", "c/1": "x2"}


def now(wanted: dict[str, str | None], **more: Any) -> SourceNow:
    return SourceNow(pd.DataFrame(list(wanted.items()), columns=["key", "fingerprint"], dtype="str"), **more)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        pytest.param([], {}, id="nothing newer is known"),
        pytest.param([now(ALL, whole=None)], {}, id="all is as it was"),
        pytest.param([now(ALL | {"b/more": "m"}, whole=None)], {}, id="the source wants more than that"),
        pytest.param(
            [now(ALL | {"a/gone": "g"})], {"a": "a/gone: the source has it again"}, id="what was to go is back"
        ),
        pytest.param([now(ALL | {"a/gone": "g2"})], {"a": "again"}, id="what was to go is back otherwise"),
        pytest.param([now({"c/1": "x3"})], {"c": "c/1: the source has it otherwise now"}, id="another fingerprint"),
        pytest.param([now({"c/1": None})], {}, id="it is there, however it is"),
        pytest.param([now({})], {}, id="a part of the source says nothing of what it lacks"),
        pytest.param([now({}, whole=frozenset({"c"}))], {"c": "does not have it any more"}, id="a group that lacks it"),
        pytest.param([now({"a/new": "n"}, whole=None)], {"c": "any more"}, id="what is kept is no matter"),
        pytest.param(
            [now({}, moved={"a": "100001 is another product", "z": "x"})], {"a": "another product"}, id="moved"
        ),
        pytest.param([now({}, policy={"its mode": "all"})], {}, id="the setting is as it was"),
        pytest.param([now({}, policy={"its font": "bold"})], {}, id="a setting that the plan does not name"),
        pytest.param(
            [now({}, policy={"its mode": "first"})],
            dict.fromkeys("ac", "its mode was all when the plan was made and is first now"),
            id="the setting changed",
        ),
        pytest.param([now(ALL), now({"c/1": "x3"}, by="scan 9")], {"c": "by scan 9"}, id="any of several says so"),
    ],
)
def test_a_group_is_stale_when_what_its_changing_rows_rest_on_moved(
    known: list[SourceNow], said: dict[str, str]
) -> None:
    plan = build_plan(WANTED, CURRENT, Scope(None, Proof(1, True, "")))
    assert set(plan["change"]) == {"add", "remove", "keep", "update"}
    found = stale_groups(plan, {"its mode": "all"}, known)
    assert found.keys() == said.keys()
    for group, words in said.items():
        assert words in found[group]
        assert found[group].endswith("; plan again")


@pytest.mark.parametrize(("there", "stale"), [({"a/2": "f"}, False), ({"a/1": "f", "a/2": "f"}, True)])
def test_a_rename_is_stale_when_the_old_key_is_there_too(there: dict[str, str | None], stale: bool) -> None:
    plan = build_plan(
        frame(("a/2", "a", None, "f", "url")), frame(("a/1", "a", None, "f", "url")), Scope(None, Proof(1, True, ""))
    )
    assert list(plan["reason"]) == ["renamed"]
    assert bool(stale_groups(plan, {}, [now(there)])) is stale
