"""The mirror follows the main account: nothing is called gone without proof, rows that did not come say nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.client.answers import AssortmentPage
from imagesync_pipelines.connectors.moysklad.errors import RowsMissingError
from imagesync_pipelines.connectors.moysklad.model import NAME, Entity, MainReading
from imagesync_pipelines.connectors.moysklad.reading import (
    ARCHIVED,
    DELETED,
    entities_of,
    mirrored,
    read_entities,
    read_main,
)
from imagesync_pipelines.connectors.moysklad.settings import EVERYTHING, NOTHING, EntityChoice
from imagesync_pipelines.storage import mirror as of_storage
from imagesync_pipelines.storage.mirror import read_cursor, read_gone, read_mirror
from imagesync_pipelines.upstream.errors import UnavailableError
from imagesync_pipelines_tests.connectors.moysklad.rows import MOMENT, entity, image

PICTURE = (image("i1"), image("i2"))


@dataclass
class Account:
    """An account in pages of two, which may change while it is read: `spoil` gets every page and its number."""

    entities: list[Entity]
    spoil: Callable[[AssortmentPage, int], AssortmentPage] = lambda page, number: page
    asked: list[datetime | Sequence[str] | None] = field(default_factory=list)
    calls: int = 0

    def assortment(
        self, *, ids: Sequence[str] | None = None, updated_since: datetime | None = None
    ) -> Iterator[AssortmentPage]:
        self.asked.append(updated_since if ids is None else ids)
        chosen = [found for found in self.entities if (found.id in ids if ids is not None else not found.archived)]
        chosen = [found for found in chosen if updated_since is None or found.updated >= updated_since]
        for offset in range(0, max(1, len(chosen)), 2):
            self.calls += 1
            yield self.spoil(AssortmentPage(tuple(chosen[offset : offset + 2]), offset, len(chosen)), self.calls)


def _read(database: sa.Engine, account: Account, *, full: bool = False) -> MainReading:
    return read_main(database, account, full=full, overlap=timedelta(minutes=10), repeats=2)


def _live(database: sa.Engine) -> list[str]:
    with database.connect() as connection:
        return list(read_mirror(connection, NAME, MAIN)["key"])


def _gone(database: sa.Engine, because: str) -> set[str]:
    with database.connect() as connection:
        return set(read_gone(connection, NAME, MAIN, [because]))


def _cursor(database: sa.Engine) -> str | None:
    with database.connect() as connection:
        return read_cursor(connection, NAME, MAIN)


def _account() -> Account:
    return Account([entity("p1", images=PICTURE), entity("b1", "bundle"), entity("v1", "variant", images=PICTURE[:1])])


def test_the_first_reading_takes_everything_and_the_next_what_changed(database: sa.Engine) -> None:
    account = _account()
    first = _read(database, account)
    assert (first.full, first.complete, first.new, first.images) == (True, True, 3, 3)
    assert first.seen == {"product": 1, "bundle": 1, "variant": 1}
    assert _cursor(database) == MOMENT.isoformat()
    later = MOMENT + timedelta(hours=1)
    account.entities[1] = entity("b1", "bundle", images=PICTURE, updated=later)
    second = _read(database, account)
    assert account.asked[-1] == MOMENT - timedelta(minutes=10)
    assert (second.full, second.changed, second.cursor_before, second.cursor_after) == (False, 1, MOMENT, later)
    with database.connect() as connection:
        assert entities_of(connection, ["bundle:b1", "product:p1", "product:p0"]) == account.entities[1::-1]


def test_a_reading_that_changes_nothing_says_so(database: sa.Engine) -> None:
    account = _account()
    _read(database, account)
    again = _read(database, account, full=True)
    assert (again.new, again.changed, again.deleted, again.complete) == (0, 0, 0, True)
    account.entities.clear()
    empty = _read(database, account)
    assert (empty.complete, empty.cursor_after) == (True, MOMENT)


def test_what_a_complete_reading_lacks_is_asked_for_by_its_id(database: sa.Engine) -> None:
    account = _account()
    _read(database, account)
    account.entities = [replace(account.entities[0], archived=True), account.entities[2]]
    found = _read(database, account, full=True)
    assert account.asked[-1] == ["b1", "p1"]
    assert (found.deleted, found.archived) == (1, 1)
    assert (_gone(database, DELETED), _gone(database, ARCHIVED)) == ({"bundle:b1"}, {"product:p1"})
    # Archived no longer: it is back with the next reading.
    account.entities = _account().entities
    assert _read(database, account, full=True).changed == 2
    assert len(_live(database)) == 3


def _grow(page: AssortmentPage, number: int) -> AssortmentPage:
    return replace(page, size=page.size + number % 2)


def _lose(page: AssortmentPage, number: int) -> AssortmentPage:
    return replace(page, entities=page.entities[1:]) if page.offset == 0 else page


def _twice(page: AssortmentPage, number: int) -> AssortmentPage:
    return replace(page, entities=(page.entities[0],) * len(page.entities))


@pytest.mark.parametrize(
    "spoil", [_grow, _lose, _twice], ids=["the size changes", "a row is skipped", "a row is twice"]
)
def test_a_reading_without_proof_is_made_again_and_calls_nothing_gone(
    database: sa.Engine, spoil: Callable[[AssortmentPage, int], AssortmentPage]
) -> None:
    account = _account()
    _read(database, account)
    account.spoil = spoil
    account.entities[0] = entity("p1", images=PICTURE[:1], updated=MOMENT + timedelta(hours=1))
    found = _read(database, account, full=True)
    assert not found.complete
    assert found.reason
    assert len(account.asked) == 4
    assert len(_live(database)) == 3
    assert _cursor(database) == MOMENT.isoformat()


def test_a_reading_that_is_proven_at_the_second_attempt_counts(database: sa.Engine) -> None:
    account = replace(_account(), spoil=lambda page, number: _lose(page, number) if number < 2 else page)
    assert _read(database, account).complete
    assert len(account.asked) == 2


@pytest.mark.parametrize(
    "row",
    [
        entity("p1", images=None, image_count=2),
        entity("p1", images=PICTURE[:1], image_count=2),
        entity("p1", images=None, image_count=-1),
        entity("p1", images=PICTURE, image_count=0),
    ],
    ids=["no rows", "too few rows", "images left out", "a count that is wrong"],
)
def test_rows_that_did_not_come_leave_the_mirror_as_it_was(database: sa.Engine, row: Entity) -> None:
    account = _account()
    _read(database, account)
    account.entities[0] = replace(row, updated=MOMENT + timedelta(hours=1))
    found = _read(database, account, full=True)
    assert found.complete
    assert list(found.unread) == ["product:p1"]
    with database.connect() as connection:
        assert entities_of(connection, ["product:p1"])[0].images == PICTURE


@pytest.mark.parametrize(
    "page",
    [AssortmentPage((), 0, 1), AssortmentPage((), 0, 1, {"row 0": "id is missing or no text"})],
    ids=["a row is counted and did not come", "a row without id"],
)
def test_an_answer_about_ids_that_is_not_whole_calls_nothing_deleted(database: sa.Engine, page: AssortmentPage) -> None:
    account = _account()
    _read(database, account)
    account.spoil = lambda _, number: page
    found = read_entities(database, account, ["product:p1", "bundle:b1"])
    assert found.deleted == 0
    assert len(_live(database)) == 3


def test_an_expansion_that_was_ignored_stops_the_reading(database: sa.Engine) -> None:
    account = _account()
    _read(database, account)
    account.entities = [replace(found, images=None) for found in account.entities]
    with pytest.raises(RowsMissingError, match="2 entities have images, and no row of them came"):
        _read(database, account, full=True)
    assert len(_live(database)) == 3


def test_an_account_that_lists_nothing_at_all_loses_nothing(database: sa.Engine) -> None:
    account = _account()
    _read(database, account)
    account.entities.clear()
    found = _read(database, account, full=True)
    assert "lists nothing, but there were 3" in found.reason
    assert len(_live(database)) == 3
    assert account.asked[-1] is None


def test_a_reading_that_breaks_off_changes_nothing(database: sa.Engine) -> None:
    account = _account()

    def down(page: AssortmentPage, number: int) -> AssortmentPage:
        if number > 1:
            raise UnavailableError("no answer")
        return page

    account.spoil = down
    with pytest.raises(UnavailableError):
        _read(database, account)
    assert (_live(database), _cursor(database)) == ([], None)


def test_single_entities_are_read_without_moving_the_cursor(database: sa.Engine) -> None:
    account = _account()
    _read(database, account)
    account.entities = [
        entity("p1", images=PICTURE[:1], updated=MOMENT + timedelta(hours=1)),
        replace(account.entities[2], archived=True),
    ]
    found = read_entities(database, account, ["product:p1", "bundle:b1", "variant:v1"])
    assert (found.changed, found.deleted, found.archived, found.full) == (1, 1, 1, False)
    assert _live(database) == ["product:p1"]
    assert _cursor(database) == MOMENT.isoformat()


def test_of_entities_that_are_named_no_others_are_read(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _read(database, Account([entity(name, images=PICTURE) for name in ("a", "b", "c")]))
    assert [one.id for some in mirrored(database, EVERYTHING) for one in some] == ["a", "b", "c"]

    def everything(*_: object) -> None:
        raise AssertionError("the keys of all entities were read")

    monkeypatch.setattr(of_storage, "read_mirror", everything)
    named = EntityChoice(keys=("product:c", "product:a", "product:gone"))
    for chosen, among, expected in (
        (named, None, ["a", "c"]),
        (EVERYTHING, {"product:b", "product:a"}, ["a", "b"]),
        (named, {"product:b", "product:a"}, ["a"]),
        (NOTHING, {"product:b"}, []),
        (EVERYTHING, set[str](), []),
    ):
        assert [one.id for some in mirrored(database, chosen, among) for one in some] == expected
