"""When another picture of a product would be the better main picture, and why."""

from dataclasses import replace

import pytest

from imagesync_pipelines.quality.better import compared
from imagesync_pipelines.quality.rules import judge, rule_sets
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.facts import Measures

GOOD = Measures("", "JPEG", 2000, 2000, 1.0, 0.88, (), 0.9, 0.0, 0, ())
GREY, SMALL = replace(GOOD, white_background=0.4), replace(GOOD, width=300, height=300)
UNREAD = replace(GOOD, words=None)


@pytest.mark.parametrize(
    ("present", "other", "why"),
    [
        (GREY, GOOD, "Amazon refuses the present one (40 % of the background"),
        (GREY, SMALL, ""),
        (GOOD, GOOD, ""),
        (SMALL, UNREAD, "not looked at in it: Text in the picture"),
        (replace(GOOD, words=("SALE",)), UNREAD, ""),
    ],
)
def test_a_picture_is_better_that_a_channel_would_take_in_place_of_a_refused_one(
    present: Measures, other: Measures, why: str
) -> None:
    amazon = rule_sets(load_settings(QualitySettings))["amazon"]
    found = compared([(amazon, judge(present, amazon))], other)[1]
    assert (why in found) if why else (found == "")


def test_what_another_channel_refuses_is_no_better() -> None:
    sets = rule_sets(load_settings(QualitySettings))
    both = [(one, judge(GREY, one)) for one in (sets["amazon"], sets["google"])]
    # Google takes pictures of 300 points no more, Amazon those of 500 and more.
    assert compared(both, SMALL)[1] == ""
    assert compared(both, GOOD)[1]
