"""Every effect is in the history, once, with the run, the plan and what was before."""

from collections import Counter
from typing import Any

from imagesync_pipelines_tests.conformance.subject import CHANGES, Subject


def test_every_effect_is_in_the_history_once_with_what_was_before(subject: Subject, site: Any) -> None:
    first = site.sync(**subject.whole)
    site.change()
    second = site.sync(**subject.whole)
    quiet = site.sync(**subject.whole)
    for outcome in (first, second):
        rows = site.told(outcome.run_id)
        changes = Counter(row["change"] for row in rows)
        assert [changes["add"], changes["update"], changes["remove"]] == [outcome.summary[name] for name in CHANGES]
        assert len({row["key"] for row in rows}) == len(rows)
    changed = [row for row in site.told(second.run_id) if row["change"] != "add"]
    assert changed
    assert [row for row in changed if "before" not in row] == [], "what was there can be written again"
    earlier = {row["key"]: row for row in site.told(first.run_id)}
    for row in changed:
        was, there = earlier[row.get("key_before", row["key"])], row["before"]
        assert row["fingerprint_before"] == was["fingerprint_after"]
        both = there.keys() & was.get("after", there).keys()
        assert both
        assert {name: there[name] for name in both} == {name: was.get("after", there)[name] for name in both}
    assert [row["lost"] for row in changed if "lost" in row] == []
    assert site.told(quiet.run_id) == []
    site.assert_told_once()
    plans = site.rows("SELECT connector, account, count(DISTINCT plan_id) FROM imagesync.effect GROUP BY 1, 2")
    assert plans == [(subject.name, subject.account, 2)]
