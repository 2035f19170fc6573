"""Which groups of a plan are left alone by what is excluded when it is carried out."""

from collections.abc import Mapping

import pytest

from imagesync_pipelines.storage.plans import TAKES_AWAY, UNDOES
from imagesync_pipelines.sync.excluding import NOT_EXCLUDED, refused_groups


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        pytest.param({}, {"a": "sold out"}, id="a synchronisation leaves what is excluded alone"),
        pytest.param({UNDOES: "run"}, {}, id="an undo is about its run"),
        pytest.param({TAKES_AWAY: True}, {"b": NOT_EXCLUDED}, id="what is excluded no more is not taken away"),
    ],
)
def test_what_a_plan_must_not_write(scope: Mapping[str, object], refused: Mapping[str, str]) -> None:
    assert refused_groups(scope, ["a", "b"], {"a": "sold out", "c": "not in the plan"}) == refused
