"""What is held back is known until it goes, a person decides, or the source wants it again."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.effects import Author, effects_about
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.memory import unread_since
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync import excluding, held
from imagesync_pipelines.sync.carry_out import Broke, Loaded, applied_summary, carry_out, load_plan
from imagesync_pipelines.sync.excluding import EXCLUDE, EXCLUDED, Channel, ExclusionRefusedError
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.held import ALLOW, DOUBT, KEEP, HeldEntry, HeldRow
from imagesync_pipelines.sync.identity import take_as_restored
from imagesync_pipelines.sync.model import Change, PlanCost, Proof, Scope
from imagesync_pipelines.sync.plan import build_plan
from imagesync_pipelines.sync.plan_rows import part_of
from imagesync_pipelines.sync.planned import READ_SINCE, Planned, limits_of, plan_result, restored_note, store_plan
from imagesync_pipelines.sync.steps import RunContext, StepResult, Summary
from imagesync_pipelines.sync.tally import Applied
from imagesync_pipelines_tests.sync.fakes import Row, frame

PROVEN = Scope(None, Proof(7, True, ""))
ALL = "abcdefghij"


def rows(keys: str, fingerprint: str = "f") -> list[Row]:
    return [(key, "g", None, fingerprint, None) for key in keys]


@dataclass
class Account:
    """A target of rows of one letter; two removals a day are allowed."""

    installation: Installation
    holds: dict[str, Row] = field(default_factory=lambda: {row[0]: row for row in rows(ALL)})
    now: datetime = datetime(2026, 11, 29, 2, tzinfo=UTC)
    runs: int = 0

    def context(self) -> RunContext[Settings]:
        """The next run."""
        self.runs += 1
        settings = self.installation.settings
        run = Lineage(f"run-{self.runs}")
        return RunContext("toy", "one", run, self.installation, settings, clock=lambda: self.now)

    def plan(
        self, context: RunContext[Settings], wanted: str, *, dry_run: bool = False, of_some: bool = False
    ) -> tuple[int, StepResult]:
        """Plan that these keys are wanted, and what is told of it."""
        plan = build_plan(frame(*rows(wanted)), frame(*self.holds.values()), PROVEN)
        found = guard(plan, PROVEN, limits_of(context, lifted=False))
        planned = Planned(found.plan, found.held, PlanCost(0, 0, 0), owned=found.owned, warnings=found.warnings)
        planned = replace(planned, scope={READ_SINCE: restored_note(context)[0]}, of_some=of_some)
        number = store_plan(context, planned, dry_run=dry_run)
        return number, plan_result(context, planned, number, cost="", changes=planned.plan)

    def apply(self, context: RunContext[Settings], plan_id: int | None = None, *, dies: bool = False) -> Summary:
        """Carry a plan out; one that dies has taken away a half of what it was to."""
        loaded = load_plan(context, plan_id)
        leaving = list(loaded.rows.loc[loaded.rows["change"] == Change.REMOVE, "key"])

        def effect(_: Loaded, broke: Broke) -> Applied:
            gone = leaving[: len(leaving) // 2] if dies else leaving
            for key in gone:
                del self.holds[key]
            if dies:
                broke(Applied(removed=len(gone)))
                raise KeyboardInterrupt
            return Applied(removed=len(leaving), gone=frozenset(leaving))

        return applied_summary(context, loaded, carry_out(context, loaded, lambda _: (), effect), warnings=(), calls=0)

    def sync(self, wanted: str) -> Summary:
        """A whole run."""
        context = self.context()
        self.plan(context, wanted)
        return self.apply(context)

    def waiting(self) -> list[HeldEntry]:
        """What is undecided."""
        return held.undecided(self.installation.engine, "toy", "one")

    def decide(self, decision: str) -> None:
        """A person's word about all that waits."""
        held.decide(self.installation.engine, [one.id for one in self.waiting()], decision, "anna")

    @property
    def keys(self) -> str:
        """What it holds."""
        return "".join(sorted(self.holds))


@pytest.fixture
def account(database: sa.Engine, tmp_path: Path) -> Account:
    settings = Settings(deletion_limit_count=2, deletion_limit_share=1, deletion_limit_bare=9, deletion_limit_floor=0)
    return Account(Installation(settings, Locations(tmp_path, tmp_path, UPath(tmp_path), "", "", {}), database))


def test_what_is_held_is_told_by_every_run_with_the_command_that_ends_it(account: Account) -> None:
    number, _ = account.plan(account.context(), "abcdefg")
    for _ in range(2):
        done = account.sync("abcdefg")
        number += 1
        assert (done.images_deleted, done.held_back) == (0, 3)
        assert f"`imagesync apply {number}`" in done.warnings[-1]
    check = held.nothing_is_held_back(account.context())
    assert (check.passed, check.shown["number"]) == (False, 3)
    done = account.apply(account.context(), number)
    assert (done.images_deleted, done.held_back, done.warnings) == (3, 0, ())
    assert held.nothing_is_held_back(account.context()).passed


def test_a_look_notes_nothing_and_its_number_ends_it_too(account: Account) -> None:
    number, told = account.plan(account.context(), "abcdefg", dry_run=True)
    assert (account.waiting(), told.summary.held_back if told.summary else 0) == ([], 3)
    assert f"`imagesync apply {number}`" in told.warnings[-1]
    assert account.apply(account.context(), number).images_deleted == 3


def test_what_is_wanted_again_or_gone_by_itself_is_held_no_more(account: Account) -> None:
    account.sync("abcdefg")
    del account.holds["j"]
    account.sync("abcdefgh")
    assert account.keys == "abcdefgh"
    assert account.waiting() == []


def test_what_a_person_allows_goes_and_that_is_used_up(account: Account) -> None:
    account.sync("abcdefg")
    account.decide(ALLOW)
    done = account.sync("abcdefg")
    assert (done.images_deleted, done.held_back, account.keys) == (3, 0, "abcdefg")
    account.holds |= {row[0]: row for row in rows("hij")}
    assert account.sync("abcdefg").held_back == 3


def test_what_a_person_allowed_is_judged_anew_when_it_changed(account: Account) -> None:
    account.sync("abcdefg")
    account.decide(ALLOW)
    account.holds |= {row[0]: row for row in rows("hij", "another")}
    assert account.sync("abcdefg").held_back == 3


def test_what_a_person_keeps_is_told_no_more_until_the_source_wants_it_again(account: Account) -> None:
    account.sync("abcdefg")
    account.decide(KEEP)
    for _ in range(2):
        done = account.sync("abcdefg")
        assert (done.images_deleted, done.held_back, done.warnings) == (0, 0, ())
    account.sync(ALL)
    assert account.sync("abcdefg").held_back == 3


def test_a_persons_word_is_in_the_history_of_what_it_is_about(account: Account) -> None:
    account.sync("abcdefg")
    held_now = account.waiting()
    account.decide(KEEP)
    assert held.decide(account.installation.engine, [10**6], KEEP, "bert") == 0
    with account.installation.engine.connect() as connection:
        told = effects_about(connection, [("toy", one.group) for one in held_now])
    said = [one for one in told if one.by == Author(person="anna")]
    assert sorted((one.rows[0].key, one.rows[0].change, one.account) for one in said) == [
        (one.key, KEEP, "one") for one in sorted(held_now, key=lambda one: one.key)
    ]
    assert [one for one in told if one.by.person == "bert"] == []


def test_what_a_person_keeps_is_not_carried_out_by_an_earlier_plan_s_number(account: Account) -> None:
    account.sync("abcdefg")
    number = account.waiting()[0].plan_id
    account.decide(KEEP)
    assert account.apply(account.context(), number).images_deleted == 0


def test_removals_of_a_day_count_together(account: Account) -> None:
    assert account.sync("cdefghij").images_deleted == 2
    account.now += timedelta(hours=23)
    assert account.sync("defghij").held_back == 1
    account.now += timedelta(hours=2)
    assert account.sync("defghij").images_deleted == 1


def test_what_a_run_that_broke_off_took_away_counts_once(account: Account) -> None:
    context = account.context()
    account.plan(context, "cdefghij")
    with pytest.raises(KeyboardInterrupt):
        account.apply(context, dies=True)
    assert account.keys == "bcdefghij"
    assert account.sync("cdefghij").images_deleted == 1
    assert account.sync("defghij").held_back == 1


def test_what_a_person_took_away_by_number_does_not_count_on(account: Account) -> None:
    account.sync("defghij")
    account.apply(account.context(), account.waiting()[0].plan_id)
    assert account.sync("fghij").images_deleted == 2


def test_a_doubted_input_holds_what_hangs_on_it_and_lets_it_go_again(account: Account) -> None:
    engine = account.installation.engine

    def hold(*keys: str, only: str | None = None) -> None:
        found = [HeldRow(key, "g", "f", DOUBT, "the answer is empty") for key in keys]
        held.hold(engine, "toy", "one", "assortment", found, only=only)

    hold("a", "b")
    assert account.sync(ALL).held_back == 2, "a plan releases only what a plan holds"
    assert "2 of toy/one are held back" in account.sync(ALL).warnings[-1]
    hold(only="a")
    assert [one.key for one in account.waiting()] == ["b"]
    account.decide(KEEP)
    hold("b")
    assert account.waiting() == []
    hold()
    assert held.entries(engine) == []


def test_the_plan_that_shows_what_is_held_is_kept(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagesync_pipelines.sync.planned.KEPT_PLANS", 1)
    account.sync("abcdefg")
    shown = account.waiting()[0].plan_id
    for _ in range(2):
        account.plan(account.context(), ALL, dry_run=True)
    assert shown in {header.id for header in account.context().plans.all("toy")}


def test_a_replacement_that_is_held_is_known_by_the_old_picture(account: Account) -> None:
    there = frame(*((f"old{n}", f"g{n}", 1, "f", f"c{n}") for n in range(2)))
    wanted = frame(*((f"new{n}", f"g{n}", 1, "f", f"d{n}") for n in range(2)))
    context = account.context()
    limits = limits_of(context, lifted=False)
    limits = type(limits)(1, 9, 9, 9, replaced_floor=0, memory=limits.memory)
    found = guard(build_plan(wanted, there, PROVEN, match_position=True), PROVEN, limits)
    held.settle(context, found.plan, found.held, found.owned, 1)
    assert [(one.key, one.change) for one in account.waiting()] == [("old0", "update"), ("old1", "update")]
    back = build_plan(there, there, PROVEN)
    again = guard(back, PROVEN, limits)
    held.settle(context, again.plan, again.held, again.owned, 2)
    assert account.waiting() == []


def test_rows_of_another_account_are_no_matter(account: Account) -> None:
    account.sync("abcdefg")
    assert held.undecided(account.installation.engine, "toy", "two") == []
    assert pd.Series([one.owner for one in account.waiting()]).unique().tolist() == ["toy/one"]


def test_what_was_undone_is_decided_and_kept_until_it_is_released_or_the_source_wants_something_else(
    account: Account,
) -> None:
    engine, wanted = account.installation.engine, "abcdefghi"  # without j, with z

    def mark() -> None:
        words = {"j": ("", "remove"), "z": ("f", "add")}
        undone = [HeldRow(key, "g", word, held.UNDONE, "undone by anna", do) for key, (word, do) in words.items()]
        with engine.begin() as connection:
            held.mark_undone(connection, "toy", "one", undone, "anna", 7, None)

    def effects(wanted: str) -> list[str]:
        _, result = account.plan(account.context(), wanted)
        assert result.summary is not None
        assert (result.summary.held_back, result.warnings) == (0, ())
        rows = result.shown["changes"].frame  # type: ignore[union-attr]
        return list(rows.loc[rows["change"] != Change.KEEP, "key"])

    mark()
    mark()
    assert account.waiting() == []
    assert (effects(wanted + "z"), len(held.entries(engine))) == ([], 2)
    assert (effects(wanted), len(held.entries(engine))) == ([], 2), "a source that lacks it for once says nothing"
    first, second = held.entries(engine)
    assert (first.decision, first.decided_by, first.origin) == (held.KEEP, "anna", held.UNDONE)
    assert not held.anything_allowed(account.context())
    held.decide(engine, [second.id], held.ALLOW, "anna")
    assert held.anything_allowed(account.context())
    assert effects(wanted + "z") == ["z"]
    assert not held.anything_allowed(account.context())
    assert [one.key for one in held.entries(engine)] == ["j"]
    begun = account.context()
    mark()
    account.plan(begun, ALL)
    assert len(held.entries(engine)) == 2, "the undo ended after this run had looked at the target"
    assert (effects(ALL), [one.key for one in held.entries(engine)]) == ([], ["z"]), "it is wanted again"
    mark()
    with engine.begin() as connection:
        held.unmark_undone(connection, "toy", "one", {"j": "f", "z": ""})
    assert effects(wanted + "z") == [], "they are not as the source wants them"
    with engine.begin() as connection:
        held.unmark_undone(connection, "toy", "one", {"j": "", "z": "f"})
    assert sorted(effects(wanted + "z")) == ["j", "z"]


def test_an_excluded_product_is_held_no_more_and_its_end_is_work_for_one_run(account: Account) -> None:
    engine, context = account.installation.engine, account.context()
    channel = Channel("toy", "one", lambda connection, name, skus: [("g", "100")] if "100" in skus else [])
    account.sync("abcdefg")
    held.decide(engine, [one.id for one in account.waiting() if one.key == "h"], held.KEEP, "anna")
    with pytest.raises(ExclusionRefusedError, match="'200'"):
        excluding.exclude(engine, channel, ["100", "200"], "anna")
    assert excluding.look_at(engine, channel, ["100", "200"], EXCLUDE) == {
        "100": "",
        "200": "neither the ERP nor toy/one knows it",
    }
    assert excluding.exclude(engine, channel, ["100"], "anna", "sold out") == ["100"]
    assert excluding.exclude(engine, channel, ["100"], "bert") == []
    with engine.connect() as connection:
        told = effects_about(connection, [("toy", "g")])[-1]
    assert (told.by, told.rows[0].change, told.rows[0].reason) == (Author(person="anna"), EXCLUDE, "sold out")
    plan = build_plan(frame(*rows("abcdefgz")), frame(*account.holds.values()), PROVEN)
    context = replace(account.context(), groups_by_sku=channel.groups_by_sku)
    found = guard(plan, PROVEN, limits_of(context, lifted=False))
    planned = Planned(found.plan, found.held, PlanCost(0, 0, 0), owned=found.owned)
    number = store_plan(context, planned)
    assert [one.key for one in held.entries(engine)] == ["h"], "what a person keeps is kept when the exclusion ends"
    said = str(context.plans.header(number).scope[EXCLUDED])
    assert said.startswith("4 images stay as they are: 100 is excluded by anna since ")
    assert said.endswith(" (sold out); `imagesync include` ends that.")
    assert not held.anything_allowed(context)
    assert excluding.include(engine, channel, ["100", "200"], "anna") == ["100"]
    assert (excluding.list_exclusions(engine), held.anything_allowed(context)) == ([], True)
    account.apply(context)
    later = datetime.now(UTC) + timedelta(days=1)
    for named, of_some in ((True, False), (False, True), (False, False)):
        run = replace(account.context(), started_at=later)
        number, _ = account.plan(run, ALL, dry_run=named, of_some=of_some)
        assert held.anything_allowed(context), "no plan of before, only named, or of chosen products is that work"
        account.apply(run, number if named else None)
    assert not held.anything_allowed(context), "a plan without anything to do ends it too"


@pytest.mark.parametrize(("done_by", "word"), [(6, "f"), (8, ""), (None, "f")])
def test_a_mark_says_what_the_source_wanted_last(account: Account, done_by: int | None, word: str) -> None:
    engine = account.installation.engine
    for plan_id, wanted, by in ((7, "f", None), (9, "", done_by)):
        with engine.begin() as connection:
            rows = [HeldRow("z", "g", wanted, held.UNDONE, "undone by anna")]
            held.mark_undone(connection, "toy", "one", rows, "anna", plan_id, by)
    assert [(one.fingerprint, one.plan_id) for one in held.entries(engine)] == [(word, 9)]


def test_only_a_whole_plan_ends_that_an_account_is_not_believed(account: Account) -> None:
    engine = account.installation.engine
    take_as_restored(account.installation)
    context = account.context()
    number, _ = account.plan(context, ALL, dry_run=True)
    for applied, is_believed in ((part_of(context.plans, context.plans.header(number), {"g"}), False), (number, True)):
        account.apply(account.context(), applied)
        assert (unread_since(engine, "toy/one") == "") == is_believed
