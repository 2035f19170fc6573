"""`imagesync quality`: how channels stand, the worst with why, the same as JSON."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.quality.alike import find_alike
from imagesync_pipelines.quality.scores import judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines.storage.schema import pin, product, product_image
from imagesync_pipelines_tests.cli.terminals import Ended, call
from imagesync_pipelines_tests.quality.rows import listed_now, measure, show


def test_the_summary_the_worst_and_both_as_json(
    database: sa.Engine, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def quality(*words: str, **more: str) -> Ended:
        variables = {"IMAGESYNC_DATABASE_URL": database_url, "IMAGESYNC_DAGSTER_URL": database_url, **more}
        return call(None, capsys, "quality", *words, IMAGESYNC_HOME=str(tmp_path), **variables)

    assert quality().out == "No main picture was judged yet.\n"
    assert quality("--worst", "5").out == "No picture of these was judged.\n"
    measure(database, "grey", white_background=0.2)
    measure(database, "small", width=400, height=400)
    show(database, "B", "grey")
    show(database, "S", "small", connector="edge", account="berlin", name="")
    show(database, "D", problem="it is no picture")
    judge_due(database, QualitySettings(channels="plytix=amazon edge=own"), datetime(2026, 11, 30, tzinfo=UTC))

    said = quality().out
    missing = "plytix/default: 1 main pictures are not measured; 1 could not be, e.g. it is no picture"
    assert all(
        part in said for part in ("judged on 2026-11-30", "edge/berlin", "Cut the product out, on pure white", missing)
    )
    assert quality("--worst", "1").out == (
        " 48  S (edge/berlin, Own)\n"
        "       refused by the marketplace: The longer side has 400 px: below 500 px it looks poor on any screen.\n"
        "       advice: The longer side has 400 px: from 1000 px people can look closely.\n"
        "       not looked at: text\n"
    )
    assert "B Name of B (plytix/default, Amazon)" in quality("--worst", "5", "--channel", "plytix").out
    assert quality("--rule", "cropped").out == "No picture of these was judged.\n"

    told = json.loads(quality("--json", "--channel", "edge/berlin", QUALITY_RULES_FOLDER=str(tmp_path / "no")).out)
    assert [(one["rule_set"], one["now"]["score"]) for one in told["channels"]] == [("own", 48)]
    assert (told["to_do"][0]["title"], told["not_measured"]) == ("Take or ask for a larger picture", [])
    assert "QUALITY_RULES_FOLDER" in told["problems"][0]
    (worst,) = json.loads(quality("--json", "--worst", "1", "--rule-set", "amazon").out)["pictures"]
    assert (worst["code"], worst["score"], worst["findings"][0]["rule"]) == ("B", 50, "background")
    refused = quality("--rule-set", "bol")
    assert (refused.code, "there are amazon, google" in refused.err) == (1, True)
    for wrong, said in (
        (("--channel", "pltyix/x"), "There is no connector 'pltyix'; there are: "),
        (("--worst", "1", "--rule", "beauty"), "no rule set has a rule 'beauty'"),
    ):
        refused = quality(*wrong)
        assert (refused.code, said in refused.err) == (1, True)


def test_the_same_picture_and_the_better_one_are_told_and_a_person_decides(
    database: sa.Engine,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def quality(*words: str) -> Ended:
        variables = {"IMAGESYNC_DATABASE_URL": database_url, "IMAGESYNC_DAGSTER_URL": database_url}
        return call(None, capsys, "quality", *words, IMAGESYNC_HOME=str(tmp_path), **variables)

    measure(database, "grey", width=300, height=300, words=[])
    measure(database, "fine", words=[])
    with database.begin() as connection:
        product_id = connection.scalar(
            product.insert().values(kind="parent", erp_id="1", sku="A").returning(product.c.id)
        )
        for name in ("grey", "fine"):
            about = {"product_id": product_id, "external_id": name, "image_url": f"https://img.example/{name}.jpg"}
            connection.execute(product_image.insert().values(is_primary=name == "grey", **about))
    ours = {"connector": "image_db", "account": "", "product_id": product_id}
    show(database, "A", "grey", key="grey", **ours)
    show(database, "A", "fine", key="fine", is_main=False, **ours)
    show(database, "B", "grey")
    listed_now(database)
    judge_due(database, QualitySettings(channels="image_db=google"), datetime(2026, 11, 30, tzinfo=UTC))
    assert quality("alike").out == "Nothing is suggested.\n"
    find_alike(database)

    assert quality("alike").out == (
        "The same picture stands on different products: A (image_db), "
        "B (plytix default). Is it right for each?\n       --dismiss grey grey\nThat is all.\n"
    )
    assert json.loads(quality("alike", "--json").out)["suggestions"][0]["kind"] == "products"
    assert quality("alike", "--dismiss", "grey", "grey").code == 0
    assert quality("alike").out == "Nothing is suggested.\n"
    assert "somebody dismissed it before" in quality("alike", "--dismiss", "grey", "grey").err
    assert "Dismissed by " in quality("alike", "--dismissed").out
    assert quality("alike", "--restore", "grey", "grey").out == "It is suggested again.\n"
    assert quality("alike", "--dismissed").out == "Nothing was dismissed.\n"
    assert "--dismiss grey grey" in quality("alike").out
    assert "it is suggested again already" in quality("alike", "--restore", "grey", "grey").err
    both = ("--dismiss", "a", "b", "--restore", "a", "b")
    for wrong in (("alike", "--apply"), ("better", "--dismissed"), ("alike", *both)):
        assert quality(*wrong).code == 2

    shown = quality("better").out
    assert "because Google Merchant Center refuses the present one" in shown
    assert "Nothing was changed; --apply makes these pins." in shown
    assert json.loads(quality("better", "--json").out)["made"] == 0
    assert quality("better", "--apply", "--json").code == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert quality("better", "--apply").code == 1, "a person saw it and says no"
    with database.begin() as connection:
        assert connection.scalar(sa.select(pin.c.external_id)) is None
        chosen = {"product_id": product_id, "source": "image_db", "external_id": "grey", "pinned_by": "ben"}
        connection.execute(pin.insert().values(chosen))
    assert "1 more have a picture that a person chose" in quality("better", "--apply", "--yes").out
    with database.begin() as connection:
        assert connection.scalar(sa.select(pin.c.external_id)) == "grey"
        connection.execute(pin.delete())
    assert quality("better", "--apply", "--yes").out.endswith("Primary pictures chosen: 1.\n")
    with database.begin() as connection:
        assert connection.scalar(sa.select(pin.c.external_id)) == "fine"
        connection.execute(pin.delete())
        connection.execute(product_image.update().values(image_url="https://img.example/new.jpg"))
    assert quality("better").out == "No better picture is known.\n", "other pictures are there, which nobody judged"


def test_measuring_is_a_run_that_tells_how_it_ended(
    locations: Locations, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    variables = {
        "IMAGESYNC_HOME": str(locations.home), "IMAGESYNC_DATABASE_URL": locations.database_url,
        "IMAGESYNC_DAGSTER_URL": locations.dagster_url, "QUALITY_RULES_FOLDER": str(tmp_path / "no"),
    }  # fmt: skip
    ended = call(None, capsys, "quality", "measure", "--json", **variables)
    told = json.loads(ended.out)
    assert (ended.code, told["run"]["status"], told["channels"]) == (3, "completed with warnings", [])
    assert told["run"]["said"].startswith("0 pictures are shown")
    assert "QUALITY_RULES_FOLDER" in told["run"]["warnings"][-1]
