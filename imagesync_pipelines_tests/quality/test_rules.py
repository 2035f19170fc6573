"""Rule sets as files, and how they judge: a table of pictures with their scores."""

import tomllib
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from imagesync_pipelines.quality.rules import (
    MEASURES,
    REFUSED,
    TO_DO,
    Rule,
    RuleSet,
    Severity,
    Value,
    judge,
    read_rules,
    rule_sets,
    told,
    what_to_do,
)
from imagesync_pipelines.quality.settings import QualitySettings, sets_for, sets_of_channels
from imagesync_pipelines.settings import SettingsError, load_settings
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines_tests import generated
from imagesync_pipelines_tests.generated import ROOT

FINE = Measures("a" * 64, "JPEG", 1500, 2000, 1.0, 0.88, (), 0.9, 0.0, 7, ())
SHIPPED = ("amazon", "google", "own", "ozon", "wildberries")

OWN = """
name = "Ours"
[[rules]]
id = "size"
title = "Too few pixels"
measure = "longer_side"
at_least = 800
severity = "rank"
says = "{value} of {bound}"
sure = "ours"
"""


def settings(folder: Path | None = None, channels: str = "plytix=amazon") -> QualitySettings:
    return QualitySettings(rules_folder=folder, channels=channels)


def shipped(name: str) -> RuleSet:
    return rule_sets(settings())[name]


CASES: list[tuple[str, Measures, int, list[tuple[str, str, Value]]]] = [
    ("amazon", FINE, 100, []),
    ("google", FINE, 100, []),
    ("ozon", FINE, 100, []),
    ("wildberries", FINE, 100, []),
    ("own", FINE, 100, []),
    ("amazon", replace(FINE, white_background=0.9), 50, [("background", "refused", 0.9)]),
    ("amazon", replace(FINE, fill=0.5, words=("SALE", "-50 %")), 25,
     [("text", "refused", ("SALE", "-50 %")), ("fill", "refused", 0.5)]),
    ("amazon", replace(FINE, width=900, height=800, transparent=0.25), 91,
     [("zoom", "rank", 900.0), ("transparent", "advice", 0.25)]),
    # The worst first, though the file has it last: refused, rank, advice.
    ("google", replace(FINE, width=400, height=400, white_background=0.5), 40,
     [("size", "refused", 400.0), ("large", "rank", 400.0), ("background", "advice", 0.5)]),
    ("google", replace(FINE, fill=0.97), 98, [("room", "advice", 0.97)]),
    ("google", replace(FINE, format="MPO"), 50, [("format", "refused", "MPO")]),
    ("ozon", replace(FINE, width=2000), 93, [("shape", "rank", 1.0)]),
    ("wildberries", replace(FINE, width=600, height=800), 21,
     [("size", "refused", 600.0), ("height", "refused", 800.0), ("large", "rank", 600.0)]),
    ("own", replace(FINE, touched_sides=("left", "top")), 93, [("cropped", "rank", ("left", "top"))]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "measures", "score", "found"), CASES)
def test_a_rule_set_judges(name: str, measures: Measures, score: int, found: list[tuple[str, str, Value]]) -> None:
    judged = judge(measures, shipped(name))
    assert (judged.score, [(one.rule, one.severity.value, one.value) for one in judged.findings]) == (score, found)
    assert judged.not_looked_at == ()


def test_what_is_not_known_is_neither_passed_nor_broken_and_is_told() -> None:
    judged = judge(replace(FINE, words=None, fill=0.0), shipped("amazon"))
    assert (judged.score, judged.findings, judged.not_looked_at) == (100, (), ("text", "fill"))


def test_in_a_scene_nobody_can_say_where_the_product_ends() -> None:
    scene = replace(FINE, white_background=0.0, fill=1.0, touched_sides=("left", "top", "right", "bottom"))
    judged = judge(scene, shipped("amazon"))
    assert ([one.rule for one in judged.findings], judged.not_looked_at) == (["background"], ("cropped", "fill"))


def test_the_score_alone_says_whether_a_picture_is_refused() -> None:
    broken = [rule for rule in shipped("amazon").rules if rule.id != "large"]
    rules = [rule.model_copy(update={"severity": severity}) for rule in broken for severity in Severity]
    bad = replace(FINE, format="BMP", width=9, height=9, white_background=0, fill=0.1, touched_sides=("top",),
                  sharpness=0, transparent=1, words=("x",))  # fmt: skip
    every = judge(bad, shipped("amazon").model_copy(update={"rules": tuple(rules)}))
    assert len(every.findings) == len(rules)
    assert 0 <= every.score < REFUSED
    gentle = tuple(rule for rule in rules if rule.severity != Severity.REFUSED)
    assert REFUSED < judge(bad, shipped("amazon").model_copy(update={"rules": gentle})).score < 100


SENTENCES: list[tuple[dict[str, object], Value, str, str]] = [
    ({"measure": "longer_side", "at_least": 500}, 400.0, "400 px, 500 px", "larger"),
    ({"measure": "longer_side", "at_most": 900}, 1000.0, "1000 px, 900 px", "smaller"),
    ({"measure": "white_background", "at_least": 0.98}, 0.9799, "97.9 %, 98 %", "cut_out"),
    ({"measure": "transparent", "at_most": 0}, 0.00004, "0.004 %, 0 %", "opaque"),
    ({"measure": "fill", "at_most": 0.9}, 0.95, "95 %, 90 %", "room"),
    ({"measure": "fill", "at_least": 0.85}, 0.6, "60 %, 85 %", "closer"),
    ({"measure": "aspect", "at_least": 0.7, "at_most": 0.8}, 4 / 3, "1.33, 0.70 to 0.80", "shape"),
    ({"measure": "sharpness", "at_least": 0.25}, 0.1, "0.10, 0.25", "sharper"),
    ({"measure": "touched_sides", "at_most": 0}, ("left", "top"), "left, top, 0.00", "whole"),
    ({"measure": "words", "at_most": 0}, tuple("abcdefg"), "a, b, c, d, e …, 0.00", "without_text"),
    ({"measure": "format", "one_of": ("JPEG", "PNG")}, "GIF", "GIF, JPEG, PNG", "format"),
]


@pytest.mark.parametrize(("bounds", "value", "sentence", "do"), SENTENCES)
def test_a_finding_is_a_sentence_and_something_to_do(
    bounds: dict[str, object], value: Value, sentence: str, do: str
) -> None:
    rule = Rule.model_validate(
        {"id": "a", "title": "A", "severity": "rank", "says": "{value}, {bound}", "sure": "ours", **bounds}
    )
    assert (told(rule, value), what_to_do(rule)) == (sentence, do)


def test_every_measure_has_something_to_do() -> None:
    assert {case[0]["measure"] for case in SENTENCES} | {"shorter_side"} == set(MEASURES)
    assert {case[3] for case in SENTENCES} == set(TO_DO)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_rule_says_where_it_is_from_and_how_sure_it_is(name: str) -> None:
    for rule in shipped(name).rules:
        source = shipped(name).sources.get(rule.source)
        assert rule.sure == "ours" or (source is not None and source.url)
        # Only what was read has a day on which it was.
        if rule.sure in {"read", "bound is ours"}:
            assert source is not None
            assert source.read_on is not None


def test_the_rule_sets_are_in_the_package_that_people_install() -> None:
    assert tuple(sorted(rule_sets(settings()))) == SHIPPED
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "quality/rule_sets/*.toml" in project["tool"]["setuptools"]["package-data"]["imagesync_pipelines"]


def test_the_docs_have_every_shipped_rule() -> None:
    text = generated.QUALITY.read_text(encoding="utf-8")
    assert generated.quality_page() == text, "python -m imagesync_pipelines_tests.generated makes it anew"
    assert all(f"`{rule.id}`: {rule.title}" in text for name in SHIPPED for rule in shipped(name).rules)
    example = text.split("### A rule set of your own")[1].split("The name of the file")[0]
    assert RuleSet(id="our_shop", **tomllib.loads(dedent(example))).rules[0].at_least == 1200


def test_own_rule_sets_come_beside_the_shipped_ones_or_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(OWN, encoding="utf-8")
    (tmp_path / "own.toml").write_text(OWN.replace("Ours", "Stricter"), encoding="utf-8")
    known, problems = read_rules(settings(tmp_path))
    assert (problems, set(known)) == ([], {*SHIPPED, "ours"})
    assert (known["own"].name, known["own"].version) == ("Stricter", known["ours"].version)


WRONG = [
    ("name = 'x", "Unclosed string|Expected|Unterminated"),
    ("name = 'x'", "rules: Field required"),
    (OWN.replace("longer_side", "beauty"), "rules 1: there is no measure beauty; there are longer_side"),
    (OWN.replace("at_least = 800", ""), "rules 1: a rule has at_least or at_most"),
    (OWN.replace("{bound}", "{much}"), "rules 1: says may hold {value} and {bound}, and no other braces"),
    (OWN.replace('"rank"', '"fatal"'), "rules 1 severity: Input should be 'refused', 'rank' or 'advice'"),
    (
        OWN.replace('sure = "ours"', 'sure = "read"'),
        'rules 1: source names one of [sources], unless the rule is "ours"',
    ),
    (OWN.replace('sure = "ours"', 'sure = "read"\nsource = "s"'), "there is no source s; it belongs under [sources.s]"),
    (OWN + OWN.split('"Ours"')[1], "two rules have the id size"),
    (OWN.replace("800", "800\nat_most = 7"), "rules 1: at_least and at_most are two rules"),
    (OWN.replace("longer_side", "aspect").replace("800", "0.8\nat_most = 0.7"), "at_least is the lesser one"),
    (OWN.replace("800", "nan"), "rules 1 at_least: Input should be a finite number"),
    (OWN.replace("800", "inf"), "rules 1 at_least: Input should be a finite number"),
    (OWN.replace("800", '"800"'), "rules 1 at_least: Input should be a valid number"),
    (OWN.replace("{bound}", "{bound:>999999999}"), "rules 1: says may hold {value} and {bound}, and no other braces"),
    (OWN.replace("{bound}", "{bound.__class__}"), "rules 1: says may hold {value} and {bound}, and no other braces"),
    (
        OWN.replace("longer_side", "format").replace("at_least = 800", 'one_of = ["HEIF"]'),
        "rules 1: no picture is of the format HEIF; there are JPEG, PNG",
    ),
    ("name = " + "[" * 5_000, "it is nested too deep"),
    ("# " * 200_000 + OWN, "it has more than 256 KB"),
    (OWN + "".join(OWN.split('"Ours"')[1].replace('"size"', f'"s{n}"') for n in range(201)), "at most 200 items"),
]


@pytest.mark.parametrize(("text", "told_of"), WRONG, ids=[told for _, told in WRONG])
def test_a_bad_file_is_set_aside_with_its_reason_and_stops_no_other(tmp_path: Path, text: str, told_of: str) -> None:
    (tmp_path / "good.toml").write_text(OWN, encoding="utf-8")
    (tmp_path / "amazon.toml").write_text(text, encoding="utf-8")
    known, (problem,) = read_rules(settings(tmp_path))
    assert problem.startswith("amazon.toml is set aside: ")
    assert any(one in problem for one in told_of.split("|"))
    assert known["good"].name == "Ours"
    # Nobody asked to be judged by the shipped one in its place: scores stay as they are until it is mended.
    assert set(known) == {"good", *SHIPPED} - {"amazon"}


def test_what_is_no_file_of_rules_is_told_and_what_editors_write_is_read(tmp_path: Path) -> None:
    (tmp_path / "windows.toml").write_bytes(b"\xef\xbb\xbf" + OWN.replace("\n", "\r\n").encode())
    (tmp_path / "Our Shop.toml").write_text(OWN, encoding="utf-8")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe4'")
    for name in ("shop.yaml", "shop.json", "SHOP.TOML", "shop.toml.txt", "readme.md"):
        (tmp_path / name).write_text(OWN, encoding="utf-8")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nowhere")
    known, problems = read_rules(settings(tmp_path))
    assert set(known) == {"windows", *SHIPPED}
    told = dict(one.split(" is set aside: ") for one in problems)
    assert set(told) == {
        *("Our Shop.toml", "latin.toml", "folder.toml", "gone.toml"),
        *("shop.yaml", "shop.json", "SHOP.TOML", "shop.toml.txt"),
    }  # fmt: skip
    assert told["shop.yaml"] == told["SHOP.TOML"] == "a rule set is a file of TOML, and its name ends in .toml"
    assert told["Our Shop.toml"].startswith("its name may have small letters")
    assert told["latin.toml"] == "it is not written in UTF-8 (byte 9)"
    assert told["folder.toml"] == told["gone.toml"] == "it is no file, or leads nowhere"


def test_a_folder_that_may_not_be_listed_is_told_and_the_shipped_sets_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = rule_sets(settings())

    def refused(folder: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refused)
    known, problems = read_rules(settings(tmp_path))
    assert (known, len(problems)) == (shipped, 1)
    assert "no folder that can be read" in problems[0]


def test_a_folder_that_is_not_there_and_a_set_that_is_not_there_are_told(tmp_path: Path) -> None:
    known, problems = read_rules(settings(tmp_path / "no", "plytix=amazon,bol edge=own"))
    assert set(known) == set(SHIPPED)
    assert [one.split(":")[0] for one in problems] == ["QUALITY_RULES_FOLDER", "QUALITY_CHANNELS"]
    assert "plytix names the rule set bol" in problems[1]


def test_a_channel_is_a_connector_or_one_account_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = sets_of_channels(settings(channels="moysklad=wildberries,own moysklad/shop=ozon"))
    assert sets_for(channels, "moysklad", "shop") == ("ozon",)
    assert sets_for(channels, "moysklad", "other") == ("wildberries", "own")
    assert sets_for(channels, "edge", "1") == ()
    monkeypatch.setenv("QUALITY_CHANNELS", "plytix amazon")
    with pytest.raises(SettingsError, match="QUALITY_CHANNELS: plytix is no channel with its rule sets"):
        load_settings(QualitySettings)
