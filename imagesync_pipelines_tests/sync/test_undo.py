"""Undo: a group gets back what it had before a run, but for what others changed; undoing that gives the run again."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.storage.effects import Author, Effect, EffectRow
from imagesync_pipelines.sync.apply import apply_database
from imagesync_pipelines.sync.guard import guard, wants
from imagesync_pipelines.sync.model import EFFECTS, DeletionLimits, Memory, Scope, Undone
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.undo import BY_COMMAND, marks_of, reverse, taken_away
from imagesync_pipelines_tests.sync.fakes import FakeDatabase, FakeQuarantine, Row, frame, rows_of
from imagesync_pipelines_tests.sync.worlds import NEVER, World, worlds

LIFTED = DeletionLimits(1, 0, 0, 0, lifted=True)


def effect(*rows: EffectRow, run: str = "r1", number: int = 1, group: str = "g") -> Effect:
    return Effect("toy", "", group, rows, Author(run), id=number)


def added(key: str, fingerprint: str = "new") -> EffectRow:
    return EffectRow(key, "add", "new", fingerprint_after=fingerprint)


def updated(key: str, before: str = "old", after: str = "new", key_before: str | None = None) -> EffectRow:
    old = key_before or key
    return EffectRow(key, "update", "", old, fingerprint_before=before, fingerprint_after=after, before={"was": before})


def removed(key: str, before: str = "old", lost: str | None = None) -> EffectRow:
    return EffectRow(key, "remove", "", key, fingerprint_before=before, before={"was": before}, lost=lost)


@pytest.mark.parametrize(
    ("rows", "now", "wanted", "refused"),
    [
        pytest.param([added("a")], {"a": "new", "o": "f"}, {"o": "f"}, "", id="an addition goes"),
        pytest.param([added("a")], {"a": "other"}, {}, "a", id="unless it is otherwise now"),
        pytest.param([added("a")], {"o": "f"}, {}, "a", id="or gone already"),
        pytest.param([updated("a")], {"a": "new"}, {"a": "old"}, "", id="an update is written back"),
        pytest.param([updated("a")], {"a": "old"}, {}, "a", id="unless somebody did that"),
        pytest.param([updated("a")], {}, {}, "a", id="or took it away"),
        pytest.param([removed("a")], {"o": "f"}, {"a": "old", "o": "f"}, "", id="what went comes back"),
        pytest.param([removed("a")], {"a": "old"}, {}, "a", id="unless it did so by itself"),
        pytest.param([updated("n", key_before="o")], {"n": "new"}, {"o": "old"}, "", id="a rename, a replacement"),
        pytest.param([updated("n", key_before="o")], {"n": "new", "o": "x"}, {}, "o", id="whose old key is taken"),
        pytest.param([added("a"), updated("b"), removed("c")], {"a": "x", "b": "new"}, {}, "a", id="a group is one"),
        pytest.param([EffectRow("a", "primary", "")], {"o": "f"}, {"o": "f"}, "", id="flags follow by themselves"),
        pytest.param([removed("a", lost="no bytes")], {"o": "f"}, {"o": "f"}, "", id="what is lost stays away"),
        pytest.param(
            [removed("a", lost="no bytes"), added("b")], {"b": "new", "o": "f"}, {"o": "f"}, "", id="and costs no other"
        ),
    ],
)
def test_what_a_group_had_before(
    rows: list[EffectRow], now: Mapping[str, str], wanted: Mapping[str, str], refused: str
) -> None:
    current = frame(*((key, "g", None, fingerprint, None) for key, fingerprint in now.items()))
    found = reverse([effect(*rows)], current, {})
    assert {key: row[3] for key, row in rows_of(found.wanted).items()} == wanted
    assert found.refused == ({"g": f"{refused} was changed since by somebody else"} if refused else {})
    assert found.lost == {row.key: row.lost for row in rows if row.lost}
    assert all(values == {"was": wanted[key]} for key, values in found.values.items())


@pytest.mark.parametrize(
    ("there", "theirs", "stays", "removed_keys"),
    [
        pytest.param("ab", "", "", "ab", id="all that is ours goes"),
        pytest.param("aXb", "X", "X", "ab", id="what others put there stays, in its place"),
        pytest.param("XY", "XY", "XY", "", id="nothing is ours"),
        pytest.param("", "", "", "", id="nothing is there"),
        pytest.param("abk", "", "k", "ab", id="what a person keeps stays"),
    ],
)
def test_what_is_ours_of_groups_is_taken_away(there: str, theirs: str, stays: str, removed_keys: str) -> None:
    current = frame(*((key, "g", place, "f", None) for place, key in enumerate(there)), ("z", "other", 0, "f", None))
    here = current[current["group"] == "g"]
    found = taken_away(here, here["key"].isin(list(theirs)) if theirs else None)
    assert {key: row[2] for key, row in rows_of(found.wanted).items()} == {key: there.index(key) for key in theirs}
    scope, limits = Scope(frozenset("g"), BY_COMMAND), replace(LIFTED, memory=Memory(kept=frozenset("k")))
    plan = guard(build_plan(found.wanted, here, scope, match_position=True), scope, limits, owned=current).plan
    by_change = dict(zip(plan["key"], plan["change"], strict=True))
    assert by_change == {**dict.fromkeys(stays, "keep"), **dict.fromkeys(removed_keys, "remove")}


def test_several_effects_of_one_run_are_taken_back_from_the_last() -> None:
    effects = [effect(updated("a")), effect(updated("a", "new", "newer"), added("b"), number=2)]
    found = reverse(effects, frame(("a", "g", None, "newer", None), ("b", "g", None, "new", None)), {})
    assert {key: row[3] for key, row in rows_of(found.wanted).items()} == {"a": "old"}
    assert found.values == {"a": {"was": "old"}}


def test_what_an_undo_began_is_ended_and_what_that_lost_is_no_matter() -> None:
    of_run = effect(updated("a"), added("b"))
    begun = Effect("toy", "", "g", (removed("b", "new", lost="no bytes"),), Author("r2", undoes_run="r1"), id=2)
    found = reverse([of_run, begun], frame(("a", "g", None, "new", None)), {"g": begun.by})
    assert {key: row[3] for key, row in rows_of(found.wanted).items()} == {"a": "old"}
    assert (found.refused, found.lost) == ({}, {})


@pytest.mark.parametrize(("place", "wanted"), [(2, 1), (3, None)], ids=["as it was left", "moved by others"])
def test_a_place_is_given_back_unless_others_moved_it(place: int, wanted: int | None) -> None:
    row = EffectRow(
        "a", "update", "position", "a", position=2, position_before=1, fingerprint_before="f", fingerprint_after="f"
    )
    found = reverse([effect(row)], frame(("a", "g", place, "f", None)), {})
    assert [row[2] for row in rows_of(found.wanted).values()] == ([] if wanted is None else [wanted])


def at(row: EffectRow, before: int | None = None, after: int | None = None) -> EffectRow:
    """The same with the places that it had and got."""
    return replace(row, position_before=before, position=after)


def moved(key: str, before: int, after: int) -> EffectRow:
    return at(EffectRow(key, "update", "position", key, fingerprint_before="f", fingerprint_after="f"), before, after)


@pytest.mark.parametrize(
    ("rows", "now", "wanted"),
    [
        pytest.param([at(removed("a"), 0)], "bc", "abc", id="what comes back pushes the others"),
        pytest.param([at(removed("a", lost="no bytes"), 0), at(removed("b"), 1)], "c", "bc", id="lost: none waits"),
        pytest.param([at(added("n", "f"), None, 1)], "anb", "ab", id="what goes makes room"),
        pytest.param([moved("a", 0, 1), moved("b", 1, 0)], "ba", "ab", id="the order of before"),
        pytest.param([moved("a", 0, 1), moved("b", 1, 0)], "boa", "abo", id="others between them"),
        pytest.param([moved("a", 0, 1), moved("b", 1, 0)], "ab", None, id="others put them in order"),
        pytest.param([at(removed("a"), 0), at(added("n", "f"), None, 0)], "nb", "ab", id="one in the place of another"),
    ],
)
def test_a_list_gets_its_order_back(rows: list[EffectRow], now: str, wanted: str | None) -> None:
    current = frame(*((key, "g", place, "f", None) for place, key in enumerate(now)))
    found = reverse([effect(*rows)], current, {}, listed=True)
    places = {row[2] or 0: key for key, row in rows_of(found.wanted).items()}
    assert (None if found.refused else "".join(key for _, key in sorted(places.items()))) == wanted


def test_a_picture_that_was_replaced_and_then_moved_is_given_back_whole() -> None:
    effects = [
        effect(EffectRow("a", "update", "position", "a", fingerprint_before="old", fingerprint_after="old")),
        effect(updated("a"), number=2),
    ]
    found = reverse(effects, frame(("a", "g", None, "new", None)), {})
    assert found.values == {"a": {"was": "old"}}


@pytest.mark.parametrize(
    ("by", "who"),
    [
        (Author(), "somebody else"),
        (Author(person="anna"), "anna"),
        (Author("r2", "anna"), "run r2"),
        (Author("r2", person="anna", undoes_run="r1"), "somebody else"),
        (Author("r2", undoes_run="r0"), "run r2"),
    ],
)
def test_a_group_that_was_changed_since_is_refused_with_who_did_it(by: Author, who: str) -> None:
    found = reverse([effect(added("a"))], frame(), {"g": by})
    assert found.refused == {"g": f"a was changed since by {who}"}


def effects_of(plan: pd.DataFrame, before: Mapping[str, Row], run: str) -> list[Effect]:
    """What a target that carried out a plan notes, one effect a group."""
    plain = plan[plan["change"].isin(EFFECTS)].astype(object)
    rows = plain.where(plain.notna(), None).to_dict(orient="records")
    names = (
        "key", "change", "reason", "key_before", "position", "position_before", "fingerprint_before",
        "fingerprint_after",
    )  # fmt: skip
    noted: dict[str, list[EffectRow]] = {}
    for row in rows:
        old = before.get(row["key_before"] or "")
        values = {"row": list(old)} if old is not None else None
        noted.setdefault(row["group"], []).append(EffectRow(**{name: row[name] for name in names}, before=values))
    return [effect(*some, run=run, group=group) for group, some in noted.items()]


def carried_out(target: FakeDatabase, plan: pd.DataFrame, wanted: Mapping[str, Row], run: str) -> list[Effect]:
    """Apply a plan; gives what is noted of it."""
    before, states = dict(target.rows), group_states(target.current())
    target.wanted = dict(wanted)
    done = apply_database(plan, target, FakeQuarantine(), states=states, rows_per_batch=3)
    assert done.errors == ()
    return effects_of(plan, before, run)


def undone(target: FakeDatabase, effects: list[Effect], run: str) -> tuple[list[Effect], pd.DataFrame]:
    """Take effects back; gives what is noted of that, and its plan."""
    found = reverse(effects, target.current(), {})
    scope = Scope(frozenset(one.group for one in effects) - found.refused.keys(), BY_COMMAND)
    wanted = rows_of(found.wanted)
    for key, values in found.values.items():
        old = values["row"]
        wanted[key] = (*wanted[key][:4], old[4])
    here = target.current()
    contents = here.set_index("key")["content"]
    full = frame(*(row if key in found.values else (*row[:4], contents[key]) for key, row in wanted.items()))
    full["content"] = full["content"].where(full["content"].notna())
    plan = guard(build_plan(full, here, scope), scope, LIFTED).plan
    return carried_out(target, plan, rows_of(full), run), plan


@settings(max_examples=25)
@given(worlds(NEVER), st.lists(st.tuples(st.integers(0, 40), st.sampled_from(("gone", "other", "new"))), max_size=3))
def test_the_law(world: World, others: list[tuple[int, str]]) -> None:
    """Sync, others change something, undo: as before but for that; undo of the undo: as after the sync."""
    before = rows_of(world.current)
    target = FakeDatabase(dict(before), {})
    plan = guard(
        build_plan(world.wanted, world.current, world.scope, match_position=world.match_position), world.scope, NEVER
    ).plan
    done = carried_out(target, plan, rows_of(world.wanted), "r1")
    after = dict(target.rows)
    touched: set[str] = set()
    for at, what in others:
        keys = sorted(target.rows)
        if what == "new":
            target.rows[f"g1/others{at}"] = (f"g1/others{at}", "g1", None, "others", None)
        elif keys:
            key = keys[at % len(keys)]
            row = target.rows.pop(key)
            if what == "other":
                target.rows[key] = (*row[:3], "others", row[4])
            touched.add(key)
    between = dict(target.rows)
    again, _ = undone(target, done, "r2")
    refused = {one.group for one in done if touched & {row.key for row in one.rows}}

    def expected(of: Mapping[str, Row]) -> dict[str, Row]:
        """These rows; but what others touched, and groups in which that was the run's, are as they left it."""
        ours = {key: row for key, row in of.items() if row[1] not in refused and key not in touched}
        theirs = {key: row for key, row in between.items() if row[1] in refused or key in touched or key not in after}
        return ours | theirs

    assert {key: row[:4] for key, row in target.rows.items()} == {key: row[:4] for key, row in expected(before).items()}
    undone(target, again, "r3")
    assert {key: row[:4] for key, row in target.rows.items()} == {key: row[:4] for key, row in expected(after).items()}


@settings(max_examples=25)
@given(worlds(NEVER))
def test_what_was_undone_is_not_done_again(world: World) -> None:
    """With the marks that the undo leaves the same source wants nothing; without them, the sync again."""

    def planned(memory: Memory) -> pd.DataFrame:
        built = build_plan(world.wanted, target.current(), world.scope, match_position=world.match_position)
        return guard(built, world.scope, DeletionLimits(1, 10**6, 10**6, 0, memory=memory)).plan

    target = FakeDatabase(rows_of(world.current), {})
    plan = planned(Memory())
    done = carried_out(target, plan, rows_of(world.wanted), "r1")
    _, plan_of_undo = undone(target, done, "r2")
    rows = plan_of_undo[plan_of_undo["change"].isin(EFFECTS)]
    marks = {one.key: Undone(one.fingerprint, "undone") for one in marks_of(rows, "undone")}
    assert not planned(Memory(undone=marks))["change"].isin(EFFECTS).any()
    effects = plan[plan["change"].isin(EFFECTS)]
    assert {key: mark.wanted for key, mark in marks.items() if key in set(effects["key"])} == dict(
        zip(effects["key"], wants(effects), strict=True)
    )
