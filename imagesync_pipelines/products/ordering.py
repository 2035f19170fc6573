"""The pictures of products put in order by a rule or by hand, in a person's name: a plan first, then each product."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import sqlalchemy as sa

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products.orders import set_orders
from imagesync_pipelines.products.pins_by_rule import Picture, at_once, newest_first, read_pictures
from imagesync_pipelines.products.primaries import lock_products, name_of
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import picture_order, pin, product

Arrange = Callable[[Sequence[Picture]], Sequence[Picture]]
"""The pictures of a product, as they are shown, in another order; none of them: the rules order them again."""

RULES: Mapping[str, str] = MappingProxyType(
    {
        "types": N_("by their types"),
        "newest": N_("the newest first"),
        "number": N_("by their numbers at the source"),
        "rules": N_("none: the source's rules order them again"),
    }
)
FRONT = "front"
TYPES = ("front", "Produktfoto", "side", "Detailfoto", "detail", "Szene")
"""The types as they come by themselves, `front` for every front view; all others stand behind."""

_PARTS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Order:
    """What becomes of one product: its pictures as they are shown now, and then.

    names: the order that is kept, none where the rules are to order them again. ordered_by: who ordered them before, ''
    for nobody. stamp: a number that is another one as soon as anything differs that this was made from. why: why
    nothing is to be done, '' where something is.
    """

    product_id: int
    sku: str
    name: str
    before: tuple[Picture, ...]
    after: tuple[Picture, ...]
    names: tuple[str, ...]
    ordered_by: str
    is_pinned: bool
    stamp: int
    why: str = ""

    @property
    def moves(self) -> bool:
        """Whether the pictures are shown in another order then."""
        return self.before != self.after


def by_rule(rule: str, types: Iterable[str] = TYPES) -> Arrange:
    """How one of RULES orders pictures. Those that are alike to it stand as their sources' rules order them."""
    if rule == "rules":
        return lambda pictures: ()
    if rule == "types":
        kinds = dict.fromkeys(kind for one in types if (kind := one.strip().casefold()))
        places = {kind: at for at, kind in enumerate(kinds)}
        return lambda pictures: sorted(pictures, key=lambda one: (_place(one, places), one.own_order))
    key = newest_first if rule == "newest" else lambda one: (*_natural(one.external_id), *one.own_order)
    return lambda pictures: sorted(pictures, key=key)


def by_hand(image_ids: Sequence[int]) -> Arrange:
    """The order that a person gave by the images' ids; those that are not named stand behind, as they do now."""
    places = {one: at for at, one in enumerate(image_ids)}
    return lambda pictures: sorted(pictures, key=lambda one: places.get(one.id, len(places)))


def _place(one: Picture, places: Mapping[str, int]) -> int:
    kinds = (one.image_type.strip().casefold(), *((FRONT,) if one.is_front else ()))
    return min(places.get(kind, len(places)) for kind in kinds)


def _natural(text: str) -> tuple[list[tuple[bool, int, str]]]:
    """Text in which 2 stands before 10."""
    parts, digits = (one for one in _PARTS.split(text) if one), "0123456789"
    return ([(one[0] not in digits, int(one) if one[0] in digits else 0, one) for one in parts],)


def plan_orders(connection: sa.Connection, product_ids: Collection[int], arrange: Arrange) -> list[Order]:
    """What would become of these products, in the order of their SKUs; nothing is changed."""
    kept, pinned = picture_order.c, pin.c
    columns = (kept.pictures, kept.ordered_by, pinned.source, pinned.external_id)
    query = (
        sa.select(product.c.id, product.c.sku, product.c.name, *columns)
        .outerjoin_from(product, picture_order, kept.product_id == product.c.id)
        .outerjoin(pin, pinned.product_id == product.c.id)
        .where(among(product.c.id, product_ids))
        .order_by(product.c.sku, product.c.id)
    )
    rows = connection.execute(query).all()
    pictures = read_pictures(connection, product_ids)
    return [_order(row, pictures.get(row.id, []), arrange) for row in rows]


def _order(row: sa.Row, pictures: Sequence[Picture], arrange: Arrange) -> Order:
    before = tuple(sorted(pictures, key=lambda one: (not one.is_primary, one.order)))
    arranged = tuple(arrange(before))
    names = tuple(name_of(one.source, one.external_id) for one in arranged)
    pinned = (row.source, row.external_id)
    then = arranged or sorted(before, key=lambda one: one.own_order)
    after = tuple(sorted(then, key=lambda one: (one.source, one.external_id) != pinned))
    why = ""
    if not names and row.pictures is None:
        why = told("nobody put its pictures in order") if before else told("it has no picture of its own")
    elif len(names) == 1:
        why = told("it has one picture")
    elif names and names == tuple(row.pictures or ()):
        why = told("they are in this order already")
    is_pinned = any((one.source, one.external_id) == pinned for one in before)
    state = repr((before, row.pictures, pinned)).encode()
    stamp = int.from_bytes(hashlib.sha256(state).digest()[:7])
    return Order(row.id, row.sku, row.name, before, after, names, row.ordered_by or "", is_pinned, stamp, why)


def carry_out(engine: sa.Engine, looked_at: Iterable[tuple[int, int]], arrange: Arrange, who: str) -> tuple[int, int]:
    """Put in order what a plan showed: (product, stamp of the plan).

    Gives how many were done, and how many were left alone because anything differs from what the plan was made from.
    """
    done = moved = 0
    for some in at_once(dict(looked_at).items()):
        stamps = dict(some)
        with engine.begin() as connection:
            locked = lock_products(connection, stamps)
            found = plan_orders(connection, stamps, arrange)
            same = [one for one in found if one.stamp == stamps[one.product_id]]
            moved += len(stamps) - len(same)
            done += set_orders(connection, locked, {one.product_id: one.names for one in same if not one.why}, who)
    return done, moved
