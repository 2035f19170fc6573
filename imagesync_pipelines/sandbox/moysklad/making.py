"""A made-up catalogue from a seed: the same entities in every account, images only in the main one.

What belongs here: which entities there are and what they show. What does not: changes over time (mutation.py).
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from random import Random

from imagesync_pipelines.sandbox.moysklad.drawing import jpeg, png
from imagesync_pipelines.sandbox.moysklad.handle import NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import Kind
from imagesync_pipelines.sandbox.moysklad.model import EntityType, NewEntity, NewImage

MAIN = "main"
PNG_EVERY = 5
_THINGS = ("Подушка", "Плед", "Наволочка", "Покрывало", "Скатерть", "Коврик", "Полотенце", "Штора")
_STUFFS = ("Лён", "Хлопок", "Бархат", "Муслин", "Вельвет", "Сатин")
_COLOURS = ("мох", "графит", "охра", "песок", "слива", "бирюза")
_SIZES = ("40×40", "45×45", "50×50", "60×60")


def catalogue(
    *,
    products: int = 12,
    images: int = 3,
    variants: int = 4,
    bundles: int = 2,
    children: int = 2,
    seed: int = 1,
    side: int = 120,
    kind: Kind = Kind.SOLUTION,
    permanent_links: bool = False,
) -> tuple[NewAccount, ...]:
    """The account `main` and so many `child-1`, `child-2` …; every entity of main shows `images` pictures.

    `variants` and `bundles` are how many there are in all; a variant belongs to one of the products in turn. Pictures
    are `side` pixels wide. External codes are the same in every account, ids are each account's own.
    """
    entities = tuple(_entities(products, variants, bundles, images, seed, side))
    bare = tuple(_without_images(entity) for entity in entities)
    names = [f"child-{nth}" for nth in range(1, children + 1)]
    return (
        NewAccount(MAIN, entities, kind, permanent_links),
        *(NewAccount(name, bare, kind) for name in names),
    )


def _entities(products: int, variants: int, bundles: int, images: int, seed: int, side: int) -> Iterator[NewEntity]:
    dice = Random(seed)  # noqa: S311 - made-up goods, no secret
    numbered = chain(
        ((EntityType.PRODUCT, nth) for nth in range(products)),
        ((EntityType.VARIANT, nth) for nth in range(variants)),
        ((EntityType.BUNDLE, nth) for nth in range(bundles)),
    )
    for kind, nth in numbered:
        thing, stuff, colour = dice.choice(_THINGS), dice.choice(_STUFFS), dice.choice(_COLOURS)
        is_variant = kind is EntityType.VARIANT
        name = {
            EntityType.PRODUCT: f"{thing} «{stuff}», {colour}",
            EntityType.VARIANT: f"{thing} «{stuff}» ({dice.choice(_SIZES)})",
            EntityType.BUNDLE: f"Комплект «{stuff}», {colour}",
        }[kind]
        code = f"{kind.value}-{seed}-{nth:05}"
        yield NewEntity(
            kind,
            name,
            external_code=code,
            code=f"{kind.value[:1].upper()}{nth:05}",
            article=f"ТК-{kind.value[:1].upper()}{nth:05}",
            barcodes=(f"{2_000_000_000_000 + seed * 10_000_000 + len(kind.value) * 1_000_000 + nth}",),
            product=f"{EntityType.PRODUCT.value}-{seed}-{nth % products:05}" if is_variant else "",
            images=tuple(_image(f"{thing.lower()}-{stuff.lower()}", code, place, side) for place in range(images)),
        )


def _image(name: str, code: str, place: int, side: int) -> NewImage:
    words = f"{code}/{place}"
    if (place + 1) % PNG_EVERY == 0:
        return NewImage(f"{name}-{place + 1}.png", png(words, side))
    return NewImage(f"{name}-{place + 1}.jpg", jpeg(words, side))


def _without_images(entity: NewEntity) -> NewEntity:
    return replace(entity, images=())
