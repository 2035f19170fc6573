"""The quality of main pictures by the API: channels, what to do, pictures page after page."""

from datetime import UTC, datetime

import pytest

from imagesync_pipelines.quality.scores import judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines_tests.quality.rows import measure, show
from imagesync_pipelines_tests.web.catalogue.api.calling import Caller, is_problem
from imagesync_pipelines_tests.web.catalogue.world import World


@pytest.fixture
def judged(world: World) -> None:
    """A fine listing, one on grey, and one of a store that is small and has no address; one was not measured."""
    measure(world.engine, "fine")
    measure(world.engine, "grey", white_background=0.2)
    measure(world.engine, "small", width=400, height=400)
    show(world.engine, "A", "fine")
    show(world.engine, "B", "grey", picture="https://me:secret@img.example/b.jpg")
    show(world.engine, "S", "small", connector="edge", account="berlin", picture="picture:edge/berlin/1/2")
    show(world.engine, "D", problem="it is no picture")
    judge_due(world.engine, QualitySettings(channels="plytix=amazon edge=own"), datetime(2026, 11, 30, tzinfo=UTC))


@pytest.mark.usefixtures("judged")
def test_channels_and_what_to_do_next(caller: Caller) -> None:
    answer = caller.read("/quality")
    assert [(one["rule_set"], one["account"], one["now"]["score"]) for one in answer["channels"]] == [
        ("own", "berlin", 48), ("amazon", "default", 75),
    ]  # fmt: skip
    assert answer["channels"][1]["now"] == {"day": "2026-11-30", "pictures": 2, "failing": 1, "score": 75.0}
    assert answer["channels"][1]["before"] is None
    assert [(one["title"], one["listings"], one["frees"]) for one in answer["to_do"]] == [
        ("Cut the product out, on pure white", 1, 1), ("Take or ask for a larger picture", 1, 1),
    ]  # fmt: skip
    assert answer["not_measured"] == [
        {"connector": "plytix", "account": "default", "pictures": 1, "failed": 1, "problem": "it is no picture"}
    ]


@pytest.mark.usefixtures("judged")
def test_the_trend_has_the_days_on_which_somebody_judged(caller: Caller, world: World) -> None:
    # Nobody judged for nine days.
    judge_due(world.engine, QualitySettings(channels="plytix=amazon edge=own"), datetime(2026, 12, 10, tzinfo=UTC))
    days = caller.read("/quality/trend", rule_set="amazon", connector="plytix")["days"]
    assert [(one["day"], one["pictures"], one["failing"]) for one in days] == [
        ("2026-11-30", 2, 1),
        ("2026-12-10", 2, 1),
    ]
    assert caller.read("/quality/trend", rule_set="amazon", days=1)["days"] == days[1:]
    assert caller.read("/quality/trend", rule_set="amazon", connector="edge") == {"days": []}
    assert is_problem(caller.call("GET", "/quality/trend"), 422)


@pytest.mark.usefixtures("judged")
def test_pictures_are_told_the_worst_first_with_why(caller: Caller) -> None:
    first = caller.read("/quality/pictures", limit=1)
    assert (first["items"][0]["code"], first["items"][0]["picture"]) == ("S", None)
    second = caller.read("/quality/pictures", limit=1, cursor=first["next_cursor"])
    (item,) = second["items"]
    assert (item["code"], item["score"], item["refused"], item["picture"]) == (
        "B",
        50,
        True,
        "https://img.example/b.jpg",
    )
    assert item["not_looked_at"] == ["text"]
    assert item["findings"] == [
        {
            "rule": "background",
            "title": "Background not pure white",
            "severity": "refused",
            "sentence": "20 % of the background is pure white (255, 255, 255): Amazon takes listings out of search for "
            "any other background of a main picture.",
            "to_do": "Cut the product out, on pure white",
        }
    ]
    asked = {"rule_set": "amazon", "connector": "plytix", "account": "default", "kind": "product", "rule": "background"}
    assert [one["code"] for one in caller.read("/quality/pictures", **asked, highest=50)["items"]] == ["B"]
    assert caller.read("/quality/pictures", code="nobody")["items"] == []


def test_a_wrong_cursor_and_a_missing_key_are_refused(caller: Caller) -> None:
    assert is_problem(caller.call("GET", "/quality/pictures", params={"cursor": "x"}), 422)
    assert is_problem(Caller(caller.address, "").call("GET", "/quality"), 401)
