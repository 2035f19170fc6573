"""A child account that is the main one's, or another child's, is refused with both names before anything is written."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Mode, MoyskladAccount, Ownership
from imagesync_pipelines.connectors.moysklad.child import ChildRun, forget_child
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.model import ACCOUNT_ID, NAME, Managed
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.mutation import mutate
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map
from imagesync_pipelines.sync.identity import IdentityRefusedError, accept
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

OTHER = "child-2"


@dataclass(frozen=True)
class Mixed(World):
    """A world in whose accounts file some names have the token of another account; `others` as in ChildRun."""

    tokens: dict[str, str] = field(default_factory=dict)
    others: frozenset[str] = frozenset({CHILD, OTHER})

    def api(self, alias: str) -> AbstractContextManager[MoyskladApi]:
        """A client of the account that the token in the file opens."""
        if alias not in self.tokens:
            return super().api(alias)
        clock = self.sandbox.clock
        account = MoyskladAccount.model_construct(
            name=alias, url=self.sandbox.api_url, token=SecretStr(self.tokens[alias])
        )
        timing = Timing(lambda: clock.now().timestamp(), clock.move, lambda: 0.5, lambda: clock.now().timestamp())
        hosts = frozenset({"127.0.0.1"})
        return closing(MoyskladApi(account, self.settings, self.place.engine, allowed_hosts=hosts, timing=timing))

    def child_run(self, run_id: str, *ancestors: str, alias: str = CHILD, **child: Any) -> ChildRun:
        """A run of a child account, which knows the other names of the file."""
        return replace(super().child_run(run_id, *ancestors, alias=alias, **child), others=self.others)

    def token_of(self, account: str) -> str:
        """Another token of an account, as a person makes one by hand."""
        handle = self.sandbox.account(account)
        return handle.add_principal(f"again-{next(self.numbers)}", PrincipalKind.USER).token

    def with_tokens(self, **tokens: str) -> "Mixed":
        """The same accounts with these tokens in the file, by alias with _ for -."""
        return replace(self, tokens={alias.replace("_", "-"): token for alias, token in tokens.items()})

    def shown(self, account: str) -> dict[str, list[str]]:
        """The file names that every entity of an account shows."""
        handle = self.sandbox.account(account)
        return {entity.id: [name for name, _, _ in handle.images(entity.id)] for entity in handle.entities()}

    def writes(self) -> int:
        """Calls since `count_anew` that could have changed an account."""
        writing = {"bulk", "put", "delete", "images post", "images delete", "image delete"}
        return sum(number for door, number in self.sandbox.calls_by_door().items() if door in writing)


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[Mixed]:
    with open_world(database, tmp_path) as made:
        yield Mixed(made.sandbox, made.place, made.settings, made.numbers)


@pytest.mark.parametrize("mode", [Mode.FIRST, Mode.ALL])
@pytest.mark.parametrize("ownership", list(Ownership))
@pytest.mark.parametrize("bulk", [False, True])
def test_a_child_with_the_main_accounts_token_is_refused(
    world: Mixed, mode: Mode, ownership: Ownership, bulk: bool
) -> None:
    before = world.shown(MAIN)
    mixed = world.with_tokens(child_2=world.token_of(MAIN))
    said = r"\[moysklad.children.child-2\] and of \[moysklad.main\] open one and the same account"
    for full in (False, True):
        with pytest.raises(IdentityRefusedError, match=said):
            mixed.sync(OTHER, mode=mode, ownership=ownership, bulk_first_fill=bulk, full=full, check_child=full)
    assert (world.shown(MAIN), world.writes()) == (before, 0)
    with world.place.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(moysklad_entity_map)).scalar() == 0


def test_two_children_of_one_account_are_refused_with_both_names(world: Mixed) -> None:
    world.sync(CHILD)
    before = world.shown(CHILD)
    world.count_anew()
    with pytest.raises(IdentityRefusedError, match=r"children.child-2\] and of \[moysklad.children.child-1\]"):
        world.with_tokens(child_2=world.token_of(CHILD)).sync(OTHER, mode=Mode.FIRST)
    assert (world.shown(CHILD), world.writes()) == (before, 0)


def test_swapped_tokens_of_two_children_write_into_neither(world: Mixed) -> None:
    world.sync(CHILD)
    world.sync(OTHER, mode=Mode.FIRST)
    before = world.shown(CHILD), world.shown(OTHER)
    swapped = world.with_tokens(child_1=world.token_of(OTHER), child_2=world.token_of(CHILD))
    for full in (False, True, True):
        for alias, mode in ((CHILD, Mode.ALL), (OTHER, Mode.FIRST)):
            with suppress(IdentityRefusedError):
                swapped.sync(alias, mode=mode, full=full, check_child=full)
    assert (world.shown(CHILD), world.shown(OTHER)) == before
    for alias, mode in ((CHILD, Mode.ALL), (OTHER, Mode.FIRST)):
        world.sync(alias, mode=mode, full=True, check_child=True)
        world.assert_same(alias, first=mode is Mode.FIRST)


def test_another_token_of_the_same_account_is_the_same_account(world: Mixed) -> None:
    world.sync(CHILD)
    mixed = world.with_tokens(child_1=world.token_of(CHILD), main=world.token_of(MAIN))
    world.child().set_images(world.child().by_code("product-1-00000").id, [])
    mixed.sync(CHILD, full=True, check_child=True)
    mixed.sync(OTHER)
    world.assert_same(CHILD)
    world.assert_same(OTHER)


def test_a_child_that_got_its_own_token_goes_on(world: Mixed) -> None:
    with pytest.raises(IdentityRefusedError):
        world.with_tokens(child_2=world.token_of(MAIN)).sync(OTHER)
    world.sync(OTHER)
    world.assert_same(OTHER)


@pytest.mark.parametrize("ownership", list(Ownership))
def test_a_map_of_before_does_not_lead_into_the_main_account(world: Mixed, ownership: Ownership) -> None:
    """The map holds the main account's own entities, as one had it that was made with the wrong token before."""
    mixed = world.with_tokens(child_2=world.token_of(MAIN))
    world.sync(CHILD)
    rows = [
        {
            "child": OTHER,
            "entity_key": f"{one.type}:{one.id}",
            "child_id": one.id,
            "field": "externalCode",
            "value": "x",
        }
        for one in world.main.entities()
    ]
    with world.place.engine.begin() as connection:
        connection.execute(moysklad_entity_map.insert(), rows)
    before = world.shown(MAIN)
    with pytest.raises(IdentityRefusedError, match=OTHER):
        mixed.sync(OTHER, mode=Mode.FIRST, ownership=ownership)
    assert world.shown(MAIN) == before
    world.sync(OTHER, ownership=ownership)
    world.assert_same(OTHER)


def test_a_name_that_left_the_file_or_is_off_is_no_matter(world: Mixed) -> None:
    world.sync(CHILD)
    renamed = replace(world.with_tokens(child_2=world.token_of(CHILD)), others=frozenset({OTHER}))
    renamed.sync(OTHER)
    world.assert_same(CHILD)


def test_the_stand_in_gives_an_account_one_id_in_every_entity(world: Mixed) -> None:
    ids = {}
    for account in (MAIN, CHILD, OTHER):
        mixed = world.with_tokens(**{account.replace("-", "_"): world.token_of(account)})
        with mixed.api(account) as again, world.api(account) as api:
            pages = [*api.assortment(), *again.assortment()]
            found = api.find("product", "externalCode", ["product-1-00000"])
        ids[account] = {one.account_id for one in [*(one for page in pages for one in page.entities), *found]}
        assert ids[account] == {world.sandbox.account(account).account.id}
    assert len(set.union(*ids.values())) == len(ids)


def test_it_costs_no_call(world: Mixed) -> None:
    world.sync(CHILD)
    first = world.calls()
    world.count_anew()
    world.sync(OTHER)
    assert world.calls(OTHER) <= first
    world.count_anew()
    world.sync(OTHER)
    assert (world.calls(MAIN), world.calls(OTHER)) == (1, 0)


def images_of(world: Mixed) -> dict[str, tuple[Managed, ...]]:
    """What we know of the child account's images, by entity."""
    return {key: record.images for key, record in world.child_run("any").records().items()}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("ownership", list(Ownership))
def test_an_account_that_lacks_all_that_is_remembered_says_who_it_is_before_anything_is_forgotten(
    world: Mixed, ownership: Ownership, full: bool
) -> None:
    """The child was synchronised with its own token; then it got the main account's."""
    world.sync(CHILD, ownership=ownership)
    remembered = images_of(world)
    mutate(world.main, "add_image", entity=world.main.by_code("product-1-00000").id)
    before = world.shown(MAIN)
    world.count_anew()
    mixed = world.with_tokens(child_1=world.token_of(MAIN))
    with pytest.raises(IdentityRefusedError, match=r"child-1\] and of \[moysklad.main\] open one and the same"):
        mixed.sync(CHILD, ownership=ownership, full=full, check_child=full)
    assert world.writes() == 0
    assert world.shown(MAIN) == before
    assert images_of(world) == remembered
    world.sync(CHILD, ownership=ownership, full=full, check_child=full)
    world.assert_same(CHILD)


def test_a_child_that_was_moved_is_refused_until_a_person_accepts_it(world: Mixed) -> None:
    world.sync(CHILD)
    moved = replace(world.with_tokens(child_1=world.token_of(OTHER)), others=frozenset({CHILD}))
    ids = {name: world.sandbox.account(name).account.id for name in (CHILD, OTHER)}
    said = f"another account than before: {ids[OTHER]} .accountId., and {ids[CHILD]} was recorded"
    with pytest.raises(IdentityRefusedError, match=said):
        moved.sync(CHILD, full=True, check_child=True)
    assert all(names == [] for names in world.shown(OTHER).values())
    world.sync(CHILD)
    run = world.child_run("declared")
    declared = run.child.account.model_copy(update={"account_id": "other"})
    identity = replace(run, child=run.child.model_copy(update={"account": declared})).identity
    with pytest.raises(IdentityRefusedError, match=f"opens the account {ids[CHILD]} .* its account_id says other"):
        identity.look([(ACCOUNT_ID, ids[CHILD])])
    assert accept(world.place.engine, NAME, CHILD, forget=forget_child) == ids[OTHER]
    moved.sync(CHILD)
    world.assert_same(OTHER)
