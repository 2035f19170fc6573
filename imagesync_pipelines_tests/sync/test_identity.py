"""Whose account answered: the rule over what systems tell, and what is recorded of it."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage import identities, memory
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.schema_accounts import target_memory
from imagesync_pipelines.sync.identity import (
    UNPROVEN,
    Identity,
    IdentityRefusedError,
    Judged,
    Verdict,
    check_installation,
    judge,
    move_installation_on,
    take_as_restored,
)

A, B = ("place", "a"), ("place", "b")
OTHER_A = ("other place", "a")
CASES = {
    "first time": ([A], {}, "", Judged(Verdict.NEW, "place", "a")),
    "again": ([A], {"place": "a"}, "", Judged(Verdict.SAME, "place", "a")),
    "written otherwise": ([("place", " A ")], {"place": "a"}, "", Judged(Verdict.SAME, "place", "a")),
    "moved": ([B], {"place": "a"}, "", Judged(Verdict.MOVED, "place", "b", "a")),
    "says nothing": ([], {"place": "a"}, "", Judged(Verdict.UNPROVEN)),
    "says a blank": ([("place", " ")], {"place": "a"}, "", Judged(Verdict.UNPROVEN)),
    "says two": ([A, B], {"place": "c"}, "", Judged(Verdict.UNPROVEN)),
    "says it elsewhere": ([OTHER_A], {"place": "b"}, "", Judged(Verdict.NEW, "other place", "a")),
    "the stronger place is new": ([("strong", "x"), A], {"place": "a"}, "", Judged(Verdict.SAME, "place", "a")),
    "the stronger place decides": (
        [("strong", "x"), B], {"strong": "x", "place": "a"}, "", Judged(Verdict.SAME, "strong", "x"),
    ),
    "declared": ([A], {}, "A", Judged(Verdict.NEW, "place", "a")),
    "declared after a move": ([B], {"place": "a"}, "b", Judged(Verdict.NEW, "place", "b")),
    "declared another": ([B], {}, "a", Judged(Verdict.NOT_DECLARED, "place", "b", "a")),
    "declared another than recorded": ([B], {"place": "b"}, "a", Judged(Verdict.NOT_DECLARED, "place", "b", "a")),
    "declared and not told": ([], {}, "a", Judged(Verdict.UNPROVEN)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_an_answer_means(case: str) -> None:
    told, recorded, declared, judged = CASES[case]
    assert judge(told, recorded=recorded, declared=declared) == judged


ids = st.sampled_from(["", "1", "2", "3"])
names = st.dictionaries(st.sampled_from(["main", "north", "south"]), ids)


@given(st.lists(ids, max_size=2), names, names, ids, ids)
def test_a_source_and_another_name_of_the_same_account_are_always_refused_and_nothing_is_for_nothing(
    said: list[str], sources: dict[str, str], others: dict[str, str], recorded: str, declared: str
) -> None:
    found = judge(
        [("place", one) for one in said],
        recorded={"place": recorded} if recorded else {},
        declared=declared,
        sources={name: {"place": one} for name, one in sources.items() if one},
        others={name: {"place": one} for name, one in others.items() if one},
    )
    told = set(said) - {""}
    if told & set(sources.values()):
        assert found.verdict is Verdict.OWN_SOURCE
        assert sources[found.other] == found.told
    elif told & set(others.values()):
        assert found.verdict is Verdict.SHARED
        assert others[found.other] == found.told
    elif len(told) != 1:
        assert found.verdict is Verdict.UNPROVEN
    else:
        wanted = declared or recorded
        refused = {Verdict.NOT_DECLARED, Verdict.MOVED}
        assert (found.verdict in refused) == (wanted not in ("", *told))


def account(engine: sa.Engine, name: str, **more: object) -> Identity:
    return Identity(engine, "plytix", name, f"[plytix.accounts.{name}]", "run", **more)  # type: ignore[arg-type]


def test_a_look_records_nothing_and_a_run_that_writes_does(database: sa.Engine) -> None:
    one = account(database, "main")
    one.look([A])
    one.look([])
    assert one.said() == UNPROVEN
    one.record([A, OTHER_A])
    assert one.said() == "other place a, place a"
    with pytest.raises(
        IdentityRefusedError, match=r"^\[plytix.accounts.main\] opens another .*: b \(place\), and a was"
    ):
        account(database, "main").record([B])
    with database.connect() as connection:
        refused = {row.told_by: row.refused for row in identities.read_identities(connection, "plytix")}
    assert refused == {"place": "b", "other place": ""}
    account(database, "main").record([("place", "A")])


def test_of_two_names_of_one_account_the_second_is_refused_with_both(database: sa.Engine) -> None:
    others = {"north": "[north]", "south": "[south]"}
    account(database, "north", others=others).record([A])
    with pytest.raises(IdentityRefusedError, match=r"\[plytix.accounts.south\] and of \[north\] open one and the same"):
        account(database, "south", others=others).look([A])
    account(database, "south").record([A])


def test_what_a_source_tells_is_recorded_with_its_target(database: sa.Engine) -> None:
    from_main = {"sources": {"main": "[main]"}, "told_by_sources": lambda: {"main": [A]}}
    with pytest.raises(IdentityRefusedError, match=r"\[plytix.accounts.north\] and of \[main\] open one"):
        account(database, "north", **from_main).look([A])
    account(database, "north", **from_main).record([B])
    with pytest.raises(IdentityRefusedError, match=r"\[main\] open one"):
        account(database, "south", sources={"main": "[main]"}).look([A])


def test_the_storage_of_another_database_is_refused_and_an_empty_database_is_adopted(
    database: sa.Engine, tmp_path: Path
) -> None:
    place = Installation(Settings(), Locations(tmp_path, tmp_path, UPath(tmp_path), "", "", {}), database)
    assert check_installation(place, record=False) == identities.kept_installation(place.storage)[0] == ""
    assert check_installation(place, record=True) == ""
    ours, _ = identities.kept_installation(place.storage)
    assert ours == identities.installation_id(database)
    identities.keep_installation(place.storage, "another", 7)
    assert "(installation " + ours in check_installation(place, record=False)
    account(database, "main").record([A])
    with pytest.raises(IdentityRefusedError, match=rf"installation {ours}, and .* belongs to installation another"):
        check_installation(place, record=True)
    assert identities.kept_installation(place.storage) == ("another", 7)
    (place.storage / "installation-id").write_bytes(bytes(40))
    assert check_installation(place, record=True) == "", "what a power cut left refuses nothing"
    assert identities.kept_installation(place.storage)[0] == ours
    (place.storage / "installation-id").write_bytes(b"\xff\xfe")
    with pytest.raises(IdentityRefusedError, match="belongs to installation"):
        check_installation(place, record=True)


def test_a_database_that_is_older_than_the_storage_root_is_one_of_a_backup(database: sa.Engine, tmp_path: Path) -> None:
    place = Installation(Settings(), Locations(tmp_path, tmp_path, UPath(tmp_path), "", "", {}), database)
    for _ in range(2):
        assert check_installation(place, record=True) == ""
        move_installation_on(place)
    assert identities.kept_installation(place.storage) == (identities.installation_id(database), 2)
    assert memory.unread_since(database, "plytix/main") == ""
    with database.begin() as connection:
        connection.execute(target_memory.update().values(counter=1))
    assert "restored from a backup" in check_installation(place, record=False)
    assert check_installation(place, record=True) == "", "it is told once; the accounts' runs go on to tell it"
    restored_at = memory.unread_since(database, "plytix/main")
    memory.note_read(database, "plytix/main", restored_at)
    assert memory.unread_since(database, "plytix/main") == ""
    assert memory.unread_since(database, "plytix/other") == restored_at
    assert take_as_restored(place).isoformat() != restored_at
    assert memory.unread_since(database, "plytix/main") > restored_at
    move_installation_on(place)
    assert identities.kept_installation(place.storage)[1] == 3
