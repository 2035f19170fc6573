"""The primary pictures of many products chosen by a rule, in a person's name: a plan first, then all of it."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

import sqlalchemy as sa

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products.channel_pictures import version_of
from imagesync_pipelines.products.orders import PLACE
from imagesync_pipelines.products.primaries import choose_images, lock_products
from imagesync_pipelines.products.rules import Shown, display_order
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import pin, product, product_image


@dataclass(frozen=True)
class Picture:
    """A product image, as far as a rule looks at it, and whether it is the primary one."""

    id: int
    product_id: int
    source: str
    external_id: str
    priority: int
    newest_export: datetime | None
    is_front: bool
    is_primary: bool
    width: int | None
    height: int | None
    image_type: str = ""
    fingerprint: str = ""
    place: int | None = None
    version: str = ""

    @property
    def order(self) -> tuple[Any, ...]:
        """Its place among the pictures of the product, as the catalogue shows them."""
        return display_order(Shown(self.external_id, self.priority, self.newest_export, self.source, self.place))

    @property
    def own_order(self) -> tuple[Any, ...]:
        """The same as the sources' rules have it, whatever order a person gave them."""
        return display_order(Shown(self.external_id, self.priority, self.newest_export, self.source))


@dataclass(frozen=True)
class Choice:
    """What becomes of one product. before: its primary picture now; after: the one that is chosen.

    after is None where the rules are to choose again, or where nothing is to be done: then why says why. pinned_by: who
    chose the picture before, '' for nobody. stamp: a number that is another one as soon as one of the two is replaced.
    """

    product_id: int
    sku: str
    name: str
    before: int | None
    after: int | None
    pinned_by: str
    why: str = ""
    stamp: int = 0

    @property
    def pictures(self) -> tuple[int, ...]:
        """The pictures that are a part of it."""
        return tuple(one for one in (self.before, self.after) if one is not None)


One = TypeVar("One")
_AT_ONCE = 500
NO_BETTER: Mapping[int, int] = MappingProxyType({})
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


def newest_first(one: Picture) -> tuple[Any, ...]:
    """The key that sorts pictures by their moments; those that are alike stand as their sources' rules order them."""
    return (-((one.newest_export or _LONG_AGO) - _LONG_AGO).total_seconds(), *one.own_order)


UNPIN, BETTER = "unpin", "better"
# How each rule orders the pictures that it may choose, the best first.
_BEST: Mapping[str, Callable[[Picture], tuple[Any, ...]]] = MappingProxyType(
    {
        "front": lambda one: one.order,
        "largest": lambda one: (-(one.width or 0) * (one.height or 0), *one.order),
        "newest": newest_first,
    }
)
RULES: Mapping[str, str] = MappingProxyType(
    {
        "front": N_("the first front view"),
        "largest": N_("the picture with the most pixels"),
        "newest": N_("the newest picture"),
        BETTER: N_("one that the channels would take, where they refuse the present one"),
        UNPIN: N_("none: the rules choose again"),
    }
)


def chosen(pictures: Iterable[Picture], rule: str) -> Picture | None:
    """The picture that a rule chooses among those of a product; None where it has none that fits."""
    fitting = [one for one in pictures if one.is_front or rule != "front"]
    return min(fitting, key=_BEST[rule]) if fitting else None


def plan_choices(
    engine: sa.Engine, product_ids: Collection[int], rule: str, better: Mapping[int, int] = NO_BETTER
) -> list[Choice]:
    """What a rule would choose for these products, in the order of their SKUs; nothing is changed.

    better: for the rule BETTER the picture of each product that has a better one.
    """
    names = sa.select(product.c.id, product.c.sku, product.c.name).where(among(product.c.id, product_ids))
    pins = sa.select(pin).where(among(pin.c.product_id, product_ids))
    with engine.connect() as connection:
        products = connection.execute(names.order_by(product.c.sku, product.c.id)).all()
        pinned = {row.product_id: row for row in connection.execute(pins)}
        by_product = read_pictures(connection, product_ids)
    return [_choice(one, by_product.get(one.id, []), pinned.get(one.id), rule, better) for one in products]


def read_pictures(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, list[Picture]]:
    """The pictures of their own that products have, in no order."""
    columns = [product_image.c[name] for name in Picture.__dataclass_fields__ if name in product_image.c]
    query = sa.select(*columns, PLACE.label("place"), version_of(product_image).label("version")).where(
        among(product_image.c.product_id, product_ids)
    )
    found: dict[int, list[Picture]] = {}
    for row in connection.execute(query):
        found.setdefault(row.product_id, []).append(Picture(**row._mapping))
    return found


def _choice(
    one: sa.Row, pictures: Sequence[Picture], pinned: sa.Row | None, rule: str, better: Mapping[int, int]
) -> Choice:
    before = next((image for image in pictures if image.is_primary), None)
    after, why = None, ""
    if rule == UNPIN:
        why = "" if pinned is not None else told("nobody chose its picture")
    elif not pictures:
        why = told("it has no picture of its own")
    elif rule == BETTER:
        after = next((image for image in pictures if image.id == better.get(one.id)), None)
        why = told("none of its pictures is known to be better") if after is None else ""
    elif (after := chosen(pictures, rule)) is None:
        why = told("it has no front view")
    if (
        after is not None
        and pinned is not None
        and (pinned.source, pinned.external_id) == (after.source, after.external_id)
    ):
        why, after = told("it is chosen already"), None
    now, then = (image.id if image is not None else None for image in (before, after))
    stamp = _stamp(before, after)
    return Choice(one.id, one.sku, one.name, now, then, pinned.pinned_by if pinned is not None else "", why, stamp)


def _stamp(*pictures: Picture | None) -> int:
    versions = [one.version if one is not None else None for one in pictures]
    return int.from_bytes(hashlib.sha256(repr(versions).encode()).digest()[:7])


def carry_out(
    engine: sa.Engine, choices: Iterable[tuple[int, int | None, int | None, int]], who: str
) -> tuple[int, int]:
    """Choose what a plan showed: (product, picture before, after or None to unpin, stamp).

    Gives how many were done, and how many were left alone, because product or pictures moved since, or one of
    the pictures was replaced.
    """
    done = moved = 0
    for some in at_once({choice[0]: choice for choice in choices}.values()):
        wanted = {product_id: rest for product_id, *rest in some}
        with engine.begin() as connection:
            locked, chosen = lock_products(connection, wanted), dict[int, tuple[str, str] | None]()
            there = read_pictures(connection, wanted)
            for product_id, (before, after, stamp) in wanted.items():
                pictures = there.get(product_id, ())
                primary = next((one for one in pictures if one.is_primary), None)
                image = next((one for one in pictures if one.id == after), None)
                was = primary.id if primary is not None else None
                if was == before and (after is None or image is not None) and stamp == _stamp(primary, image):
                    chosen[product_id] = (image.source, image.external_id) if image is not None else None
            choose_images(connection, locked, chosen, who)
        done += len(chosen)
        moved += len(wanted) - len(chosen)
    return done, moved


def at_once(choices: Iterable[One]) -> Iterator[list[One]]:
    """As many choices as are carried out in one transaction: who writes one of their products waits no longer."""
    remaining = iter(choices)
    while some := list(islice(remaining, _AT_ONCE)):
        yield some
