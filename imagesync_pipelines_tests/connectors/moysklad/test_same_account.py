"""Two names are one account when the system says so, and only then."""

from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.moysklad.child import same_account

names, ids = st.sampled_from(["main", "north", "south", "east"]), st.sampled_from(["", "1", "2", "3"])


@given(names, ids, st.dictionaries(names, ids))
def test_another_name_of_the_same_account_is_told_and_nothing_else_is(
    name: str, said: str, known: dict[str, str]
) -> None:
    other = same_account(name, said, known)
    shared = {one for one, account_id in known.items() if one != name and account_id == said != ""}
    assert other == min(shared, default="")


def test_an_account_is_never_another_than_itself() -> None:
    assert same_account("north", "1", {"main": "2", "north": "1"}) == ""
    assert same_account("north", "2", {"main": "3", "north": "1"}) == ""


def test_what_does_not_say_who_it_is_refuses_nothing() -> None:
    assert same_account("north", "", {"main": "", "south": ""}) == ""
