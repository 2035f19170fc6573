"""Proves that the made-up catalogue is the same every time, that a night changes it, and that it can be steered."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.moysklad.accounts import moysklad_accounts
from imagesync_pipelines.sandbox.control import ROOT
from imagesync_pipelines.sandbox.moysklad import server
from imagesync_pipelines.sandbox.moysklad.making import catalogue
from imagesync_pipelines.sandbox.moysklad.model import EntityType
from imagesync_pipelines.sandbox.moysklad.mutation import OPERATORS, mutate, night
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines.sandbox.mutation import MutationError
from imagesync_pipelines.settings import Settings

LISTS = EntityType.PRODUCT, EntityType.VARIANT, EntityType.BUNDLE


def test_the_same_entities_are_in_every_account_and_images_only_in_main() -> None:
    main, *children = catalogue(products=5, images=2, variants=7, bundles=3, children=3)
    assert [child.name for child in children] == ["child-1", "child-2", "child-3"]
    assert Counter(entity.type for entity in main.entities) == dict(zip(LISTS, (5, 7, 3), strict=True))
    assert {len(entity.images) for entity in main.entities} == {2}
    for child in children:
        assert [one.external_code for one in child.entities] == [one.external_code for one in main.entities]
        assert not any(entity.images for entity in child.entities)
    contents = [content for entity in main.entities for _, content in entity.images]
    assert len(set(contents)) == len(contents) == 30


def test_a_seed_says_it_all() -> None:
    assert catalogue(seed=3) == catalogue(seed=3) != catalogue(seed=4)


def test_ids_are_each_account_s_own() -> None:
    with moysklad_sandbox(accounts=catalogue(products=2)) as box:
        ids = [{entity.id for entity in box.account(name).entities()} for name in box.accounts]
    assert len(set().union(*ids)) == sum(map(len, ids))


def test_a_night_changes_main_in_every_way(box: MoyskladSandbox) -> None:
    def shown(box: MoyskladSandbox) -> dict[str, list[Any]]:
        return {entity.id: entity.images for entity in box.account("main").entities()}

    told = []
    for _ in range(2):
        with moysklad_sandbox(accounts=catalogue()) as made:
            before = shown(made)
            told.append(night(made.account("main"), seed=7))
            after = shown(made)
            assert len(before) - len(after) == 1
            assert sum(before[key] != after[key] for key in after) == len(OPERATORS) - 1
    assert told[0] == told[1]
    with pytest.raises(MutationError, match="a night needs"):
        night(box.account("main"))


WRONG: dict[str, tuple[str, dict[str, object]]] = {
    "an unknown operator": ("explode", {}),
    "an argument too few": ("reorder", {}),
    "no such entity": ("reorder", {"entity": "x"}),
    "no such image": ("remove_image", {"entity": "{product}", "place": 0}),
}


@pytest.mark.parametrize(("operator", "arguments"), WRONG.values(), ids=WRONG)
def test_a_change_that_cannot_be_made_says_why(
    box: MoyskladSandbox, product: str, operator: str, arguments: dict[str, object]
) -> None:
    filled = {name: product if value == "{product}" else value for name, value in arguments.items()}
    with pytest.raises(MutationError):
        mutate(box.account("main"), operator, **filled)


def test_it_can_be_steered_over_http(box: MoyskladSandbox, product: str) -> None:
    def tell(name: str, **values: object) -> requests.Response:
        return requests.post(f"{box.url}{ROOT}{name}", json=values, timeout=10)

    assert tell("mutate", account="main", operator="add_image", entity=product).status_code == 200
    assert tell("mutate", account="nobody", operator="add_image", entity=product).status_code == 400
    assert tell("night", account="main").status_code == 400
    assert tell("support", account="main").json() == {"bans": []}
    state = requests.get(f"{box.url}{ROOT}state", timeout=10).json()
    assert [one["images"] for one in state["accounts"]["main"]["entities"]] == [["новое.jpg"]]
    assert box.calls() == 0


def test_the_lines_for_the_accounts_file_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with moysklad_sandbox(accounts=catalogue()) as box:
        path = tmp_path / "accounts.toml"
        path.write_text("\n".join(server.accounts_of(box.api_url, permanent_links=True)), encoding="utf-8")
        for name, value in server.secrets_of().items():
            monkeypatch.setenv(name, value)
        accounts = moysklad_accounts(load_accounts(Settings(accounts=path, home=tmp_path)))
        assert accounts.main is not None
        assert accounts.main.permanent_links
        assert accounts.main.account_id == box.account("main").account.id
        child = accounts.named("child-2")
        assert (child.mode, child.account.url) == ("first", box.api_url)
        assert child.account.token is not None
        assert child.account.token.get_secret_value() == box.account("child-2").token
