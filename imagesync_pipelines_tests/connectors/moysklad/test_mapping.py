"""A child account is asked once for what is not known yet, and the map follows what is gone and what is configured."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import MatchField, MoyskladAccount, MoyskladChild
from imagesync_pipelines.connectors.moysklad.counterparts import forget_entities, read_map
from imagesync_pipelines.connectors.moysklad.mapping import Mapped, find_counterparts
from imagesync_pipelines.connectors.moysklad.model import Entity, EntityType, values_of
from imagesync_pipelines.connectors.moysklad.reading import read_entities
from imagesync_pipelines_tests.connectors.moysklad.rows import entity
from imagesync_pipelines_tests.connectors.moysklad.test_reading import Account
from imagesync_pipelines_tests.connectors.moysklad.worlds import run_of

NORTH = MoyskladChild.model_construct(account=MoyskladAccount.model_construct(name="north", token=SecretStr("t")))
SOUTH = MoyskladChild.model_construct(account=MoyskladAccount.model_construct(name="south", token=SecretStr("t")))


@dataclass
class Child:
    """A child account that knows its entities and counts what it is asked."""

    entities: list[Entity]
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return len(self.asked)

    def find(self, kind: EntityType, match_field: MatchField, values: Sequence[str]) -> list[Entity]:
        self.asked.append((kind, list(values)))
        wanted = set(values)
        return [found for found in self.entities if found.type == kind and wanted & set(values_of(found, match_field))]


def found_in(database: sa.Engine, account: Child, child: MoyskladChild, entities: Sequence[Entity]) -> Mapped:
    return find_counterparts(run_of(database, child), account, entities)


def _child() -> Child:
    return Child(
        [
            entity("c1", external_code="ext-p1", code="one"),
            entity("c2", external_code="ext-p2", code="two"),
            entity("w1", "variant", external_code="ext-v1", product_id="c1"),
        ]
    )


WANTED = [entity("v1", "variant"), entity("p1", code="two"), entity("p3")]


def test_what_is_known_is_not_asked_for_again(database: sa.Engine) -> None:
    child = _child()
    first = found_in(database, child, NORTH, WANTED)
    assert first.ids == {"variant:v1": "w1", "product:p1": "c1"}
    assert [(found.key, found.reason) for found in first.unmatched] == [
        ("product:p3", "the child account has no product with externalCode ext-p3")
    ]
    assert (child.calls, len(first.new)) == (2, 2)
    again = found_in(database, child, NORTH, WANTED)
    assert (again.ids, again.new, child.calls) == (first.ids, [], 3)
    assert child.asked[-1] == ("product", ["ext-p3"])


def test_every_child_account_has_its_own_map(database: sa.Engine) -> None:
    found_in(database, _child(), NORTH, WANTED)
    assert read_map(database, SOUTH) == {}


def test_a_variant_brings_its_product_which_is_not_told_of(database: sa.Engine) -> None:
    read_entities(database, Account([entity("p1"), entity("p7")]), ["product:p1", "product:p7"])
    variants = [entity("v1", "variant"), entity("v7", "variant", product_id="p7")]
    found = found_in(database, _child(), NORTH, variants)
    assert found.ids == {"variant:v1": "w1"}
    assert [one.key for one in found.unmatched] == ["variant:v7"]
    assert read_map(database, NORTH) == {"variant:v1": "w1", "product:p1": "c1"}


@pytest.mark.parametrize("match_field", ["externalCode", "barcode"])
def test_what_the_main_account_has_twice_is_told_whichever_of_them_is_asked_for(
    database: sa.Engine, match_field: MatchField
) -> None:
    one, other = (entity(name, external_code="A", barcodes=("46", f"47{name}")) for name in ("p1", "p2"))
    # Two variants of two products may have the same value: each is looked for within its own.
    variants = [entity(f"v{n}", "variant", external_code="V", barcodes=("5",), product_id=f"p{n}") for n in (3, 4)]
    products = [entity(f"p{n}", external_code=f"P{n}", barcodes=(f"P{n}",)) for n in (3, 4)]
    account = Account([one, other, *variants, *products])
    read_entities(database, account, [found.key for found in account.entities])
    child = Child([
        entity("c1", external_code="A", barcodes=("46",)),
        *(entity(f"c{n}", external_code=f"P{n}", barcodes=(f"P{n}",)) for n in (3, 4)),
        *(entity(f"w{n}", "variant", external_code="V", barcodes=("5",), product_id=f"c{n}") for n in (3, 4)),
    ])  # fmt: skip
    north = NORTH.model_copy(update={"match_field": match_field})
    assert "the main account has several" in found_in(database, child, north, [one]).unmatched[0].reason
    assert found_in(database, child, north, variants).ids == {"variant:v3": "w3", "variant:v4": "w4"}


def test_what_is_forgotten_is_looked_for_anew(database: sa.Engine) -> None:
    child = _child()
    found_in(database, child, NORTH, WANTED)
    forget_entities(database, "north", ["product:p1"])
    child.entities[0] = entity("c9", external_code="ext-p1")
    assert found_in(database, child, NORTH, [entity("p1")]).ids == {"product:p1": "c9"}


def test_another_field_finds_anew_and_what_it_does_not_find_has_no_counterpart(database: sa.Engine) -> None:
    found_in(database, _child(), NORTH, WANTED)
    by_code = NORTH.model_copy(update={"match_field": "code"})
    found = found_in(database, _child(), by_code, [entity("p1", code="two"), entity("p2", code="one")])
    assert found.ids == {"product:p1": "c2", "product:p2": "c1"}
    assert read_map(database, by_code) == found.ids
    assert read_map(database, NORTH) == {"variant:v1": "w1"}


def test_the_database_itself_refuses_two_owners_of_one_counterpart(database: sa.Engine) -> None:
    found_in(database, _child(), NORTH, [entity("p1")])
    second = found_in(database, _child(), NORTH, [entity("p8", external_code="ext-p1")])
    assert "already that of product:p1" in second.unmatched[0].reason
    row = "'north', 'product:p8', 'c1', 'externalCode', 'ext-p1'"
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        connection.execute(sa.text(f"INSERT INTO imagesync.moysklad_entity_map VALUES ({row})"))
