"""What deep code says in English is said again in another language: whole sentences, those in others, and numbers."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from imagesync_pipelines.imaging.errors import BadImageError
from imagesync_pipelines.imaging.validation import check_label
from imagesync_pipelines.languages import retold
from imagesync_pipelines.languages.current import MARKED
from imagesync_pipelines.languages.texts import TOLD, Catalogue
from imagesync_pipelines.languages.told import Book
from imagesync_pipelines.products.matching import Matcher
from imagesync_pipelines.quality.rules import TO_DO, rule_sets, told
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.storage.faults import told as fault_told
from imagesync_pipelines.sync import blocks, choosing, health, stale, undoing
from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.guard import HELD_BACK, why_unproven
from imagesync_pipelines.sync.held import LIMIT, HeldEntry, sentences
from imagesync_pipelines.sync.model import Change
from imagesync_pipelines.upstream.addresses import judge_url
from imagesync_pipelines.upstream.errors import UnavailableError
from imagesync_pipelines_tests.texts import extracted

_HELD = HeldEntry(
    "k1", "g1", "f1", LIMIT, HELD_BACK + "7 removals of 20 rows are more than 10%", Change.REMOVE,
    connector="edge", account="north", since=datetime(2026, 11, 30, 3, 20, tzinfo=UTC), plan_id=12,
)  # fmt: skip
_CHANGED = "G-1 was changed since by somebody else"


# What code marks now, whatever the catalogues have of it by now.
_IDS = [message.id for message in extracted().values() if TOLD in message.auto_comments]
_BOOK = Book(MARKED, Catalogue({}, lambda n: 0, tuple((one,) if isinstance(one, str) else tuple(one) for one in _IDS)))


def _marked(text: str) -> str:
    return _BOOK.retold(text)


def _changed_setting() -> str:
    row = dict.fromkeys(PLAN_COLUMNS, "x") | {"group": "g1", "change": Change.ADD, "position": 0}
    return stale.stale_groups(pd.DataFrame([row]), {"MODE": "link"}, [stale.SourceNow(policy={"MODE": "patch"})])["g1"]


def _unknown_sku() -> str:
    with pytest.raises(choosing.UnknownSkuError) as raised:
        choosing.require_known("plytix", ["A-1", "B-2"], [])
    return str(raised.value)


def _mislabelled() -> str:
    with pytest.raises(BadImageError) as raised:
        check_label("PNG", "image/jpeg")
    return str(raised.value)


SENTENCES = {
    "a proof that is lacking": (
        why_unproven([4, 4], 3, rows="photos", source="the API"),
        "⟦3 different ⟦photos⟧ were read, but the API counts 4: some moved between pages⟧",
    ),
    "a limit, and what is counted": (
        _HELD.reason,
        "⟦⟦held back: ⟦7 removals⟧⟧ of 20 rows are more than 10%⟧",
    ),
    "a plan that expired": (
        _changed_setting(),
        "⟦MODE was link when the plan was made and is patch now; ⟦plan again⟧⟧",
    ),
    "an unknown product": (_unknown_sku(), "⟦plytix knows no product with the SKU A-1, B-2; nothing was planned.⟧"),
    "a picture that is none": (_mislabelled(), "⟦the body is PNG but is labelled image/jpeg⟧"),
    "a match that is none": (Matcher([]).match("A-9").reason, "⟦the ERP has no product A-9⟧"),
    "a clock": (health.clock("edge", 3600).said, "⟦is 3,600 s ahead of ours⟧"),
    "a full disk": (
        fault_told(OSError(28, "No space left on device", "/srv/x")) or "",
        "⟦The disk is full (/srv/x). Make room there.⟧ ⟦What was written is kept; run again afterwards.⟧",
    ),
    "an address": (str(judge_url("ftp://a.example", [])), "⟦the URL is neither http nor https⟧"),
    "a call that failed": (
        str(UnavailableError("no connection", host="api.example", path="/x", attempts=3)),
        "⟦api.example/x: ⟦no connection⟧ (3 attempts)⟧",
    ),
    "an undo that leaves something": (
        " ".join(undoing.warnings([_CHANGED], ["its bytes are not kept any more"] * 2, "products")),
        "⟦1 ⟦product⟧ is left as it is: ⟦G-1 was changed since by ⟦somebody else⟧⟧.⟧ "
        "⟦2 images cannot be brought back: ⟦its bytes are not kept any more⟧.⟧",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_of_deep_code_is_said_again(name: str) -> None:
    english, expected = SENTENCES[name]
    assert _marked(english) == expected
    assert retold(english) == english


def test_what_is_held_is_said_again_with_what_to_type() -> None:
    (said,) = sentences([_HELD])
    assert _marked(said) == (
        "⟦1 of edge/north are held back since 2026-11-30 03:20 UTC: ⟦⟦7 removals⟧ of 20 rows are more than 10%⟧; "
        "⟦`imagesync apply 12` carries them out; ⟦`imagesync held list` shows them; `imagesync held allow` lets them "
        "go, `imagesync held keep` keeps them⟧⟧.⟧"
    )


def test_a_block_of_pages_that_is_none_is_said_again() -> None:
    with pytest.raises(blocks.BadBlockError) as raised:
        blocks.block_pages("1-2")
    assert _marked(str(raised.value)) == "⟦'1-2' is no block of pages; one looks like 000001-000010.⟧"


def test_every_shipped_rule_is_said_again_in_whole_sentences() -> None:
    rules = [rule for one in rule_sets(QualitySettings()).values() for rule in one.rules]
    assert len(rules) > 20
    for rule in rules:
        for text in (rule.title, told(rule, 0.5)):
            marked = _marked(text)
            assert (marked[0], marked[-1], marked.strip("⟦⟧")) == ("⟦", "⟧", text)
    assert {_marked(text) for text in TO_DO.values()} == {f"⟦{text}⟧" for text in TO_DO.values()}
