"""Plans and writes of one entity against an account in memory: the engine's law, whatever is there and is refused."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.moysklad.accounts import Mode, MoyskladAccount, MoyskladChild, Ownership
from imagesync_pipelines.connectors.moysklad.errors import NotAnImageError
from imagesync_pipelines.connectors.moysklad.model import ChildRecord, Entity, ImageRow, KeptImage, Managed, Part
from imagesync_pipelines.connectors.moysklad.planning import ChildPlan, plan_child
from imagesync_pipelines.connectors.moysklad.rules import known_by_id, listing_of, seen_of, shown_by, staying
from imagesync_pipelines.connectors.moysklad.writing import Writer
from imagesync_pipelines.storage.contents import Content
from imagesync_pipelines.sync.model import EFFECTS, DeletionLimits

# Each is quick, but they are many.
pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = "product:p"
NO_LIMITS = DeletionLimits(1, 1000, 1000, 1000)
LIMIT = 1000


def row(name: str) -> ImageRow:
    return ImageRow(name, f"{name}.jpg", 10, "")


class Account:
    """A child account in memory with one entity: a list of names; the same name has the same id."""

    def __init__(self, names: Sequence[str], bad: frozenset[str]) -> None:
        self.names = list(names)
        self.bad = bad
        self.lists = [list(names)]
        self.requests = 0

    def rows(self) -> list[ImageRow]:
        return [ImageRow(f"id-{name}", f"{name}.jpg", 10, "") for name in self.names]

    def send(self, parts: Sequence[Part]) -> list[ImageRow]:
        self.requests += 1
        wanted = []
        for part in parts:
            name = part.id.removeprefix("id-") if isinstance(part, KeptImage) else part.filename.removesuffix(".jpg")
            assert not isinstance(part, KeptImage) or name in self.names, "named what is not there"
            if not isinstance(part, KeptImage) and name in self.bad:
                raise NotAnImageError(f"{name} is none")
            wanted.append(name)
        assert len(wanted) <= 10, "eleven images"
        self.names = wanted
        self.lists.append(wanted)
        return self.rows()


def synchronise(
    main: list[str], account: Account, child: MoyskladChild, record: ChildRecord
) -> tuple[ChildPlan, ChildRecord]:
    """One run: plan from the record, read the account, write it, and what is known of it afterwards."""
    images = tuple(row(name) for name in main)
    entity = Entity("product", "p", "Плед", "", "", "", (), False, "", NOW, len(images), images)
    planned = plan_child([entity], {KEY: "c"}, {KEY: record}, child, LIMIT, NO_LIMITS, {})
    if KEY not in planned.tasks:
        return planned, record
    rows = account.rows()
    there = shown_by(rows, known_by_id(rows, record.images))
    contents = {name: Content("JPEG", 1, 1, "", name, 10) for name in main}
    judged = [image.id for image in record.images] if child.ownership is Ownership.MIRROR else []
    listing = listing_of(planned.tasks[KEY], there, contents, {}, LIMIT, staying(there, judged))
    writer = Writer(account.send, lambda _: b"0" * 10, lambda _: None, there, limit=LIMIT)
    writer.write(listing)
    known = seen_of(writer.now, child.ownership)
    return planned, ChildRecord(known.images, (), known.others)


MAIN = st.lists(st.sampled_from("abcdefgh"), max_size=12)
OWNERS = st.lists(st.sampled_from(["X", "Y", "Z"]), unique=True, max_size=3)


@settings(max_examples=20)
@given(
    before=MAIN,
    after=MAIN,
    owners=OWNERS,
    places=st.lists(st.integers(0, 10), min_size=3, max_size=3),
    ownership=st.sampled_from(list(Ownership)),
    mode=st.sampled_from([Mode.FIRST, Mode.ALL]),
)
def test_a_run_gives_what_is_wanted_and_the_next_changes_nothing(
    before: list[str], after: list[str], owners: list[str], places: list[int], ownership: Ownership, mode: Mode
) -> None:
    child = MoyskladChild.model_construct(
        account=MoyskladAccount.model_construct(name="c"), mode=mode, ownership=ownership
    )
    account = Account([], frozenset())
    _, record = synchronise(before, account, child, ChildRecord())
    if ownership is Ownership.MANAGED:
        for name, place in zip(owners, places, strict=False):
            if len(account.names) < 10:
                account.names.insert(place, name)
    added = [name for name in account.names if name.isupper()]
    for _ in range(2):
        _, record = synchronise(after, account, child, record)
    count = 1 if mode is Mode.FIRST else 10 - record.others
    assert [name for name in account.names if name.islower()] == after[:10][:count]
    assert [name for name in account.names if name.isupper()] == added
    planned, _ = synchronise(after, account, child, record)
    assert not planned.plan["change"].isin(EFFECTS).any()


@settings(max_examples=20)
@given(before=MAIN, after=MAIN, bad=st.frozensets(st.sampled_from("abcdefgh"), max_size=4))
def test_bad_images_cost_only_themselves_and_never_the_last_image(
    before: list[str], after: list[str], bad: frozenset[str]
) -> None:
    child = MoyskladChild.model_construct(
        account=MoyskladAccount.model_construct(name="c"), mode=Mode.ALL, ownership=Ownership.MANAGED
    )
    account = Account([], frozenset())
    _, record = synchronise(before, account, child, ChildRecord())
    account.bad, account.requests = bad, 0
    _, record = synchronise(after, account, child, record)
    wanted = after[:10]
    good = [name for name in wanted if name not in bad or name in before[:10]]
    assert set(good) <= set(account.names)
    assert account.requests <= 2 * len(wanted) + 2
    if before and wanted:
        assert all(account.lists[1:]), "it was left bare"
    assert [image.source for image in record.images] == account.names
    assert all(isinstance(image, Managed) and image.id for image in record.images)
