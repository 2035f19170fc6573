"""A made-up catalogue from a seed: the same entities in every account, images only in the main one."""

import colorsys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from math import ceil, sqrt
from random import Random

from PIL import Image, ImageDraw

from imagesync_pipelines.sandbox.answers import encoded
from imagesync_pipelines.sandbox.moysklad.handle import NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.model import EntityType, NewEntity

SIDE, QUALITY = 120, 85
_HUE_STEP = 0.618034


def jpeg(words: str, side: int = SIDE) -> bytes:
    """A picture as a JPEG file; other words give other bytes."""
    return encoded(_cushion(words, side), "JPEG", quality=QUALITY)


def png(words: str, side: int = SIDE) -> bytes:
    """The same as a PNG file."""
    return encoded(_cushion(words, side), "PNG", quality=QUALITY)


def noisy(words: str, size: int) -> bytes:
    """A PNG file of at least so many bytes, and hardly more: noise cannot be made smaller."""
    side = ceil(sqrt(size / 3))
    noise = Random(words).randbytes(side * side * 3)
    return encoded(Image.frombytes("RGB", (side, side), noise), "PNG", quality=QUALITY)


def _cushion(words: str, side: int) -> Image.Image:
    """Four patches on a light ground, in colours and places of the words' own."""
    dice = Random(words)
    picture = Image.new("RGB", (side, side), (250, 248, 244))
    pen, hue, inset = ImageDraw.Draw(picture), dice.random(), side // 10
    across, down = dice.randrange(side // 3, side * 2 // 3), dice.randrange(side // 3, side * 2 // 3)
    corners = ((inset, inset, across, down), (across, inset, side - inset, down))
    below = ((inset, down, across, side - inset), (across, down, side - inset, side - inset))
    for nth, box in enumerate((*corners, *below)):
        shade = colorsys.hsv_to_rgb((hue + nth * _HUE_STEP) % 1, 0.25 + dice.random() / 2, 0.55 + dice.random() / 3)
        pen.rectangle(box, fill=tuple(round(255 * part) for part in shade))
    return picture


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
    kind: PrincipalKind = PrincipalKind.SOLUTION,
    permanent_links: bool = False,
) -> tuple[NewAccount, ...]:
    """The account `main` and so many `child-1`, `child-2` …; every entity of main shows `images` pictures.

    `variants` and `bundles` are how many there are in all; a variant belongs to one of the products in turn. Pictures
    are `side` pixels wide. External codes are the same in every account, ids are each account's own.
    """
    entities = tuple(_entities(products, variants, bundles, images, seed, side))
    bare = tuple(replace(entity, images=()) for entity in entities)
    names = [f"child-{nth}" for nth in range(1, children + 1)]
    return (NewAccount(MAIN, entities, kind, permanent_links), *(NewAccount(name, bare, kind) for name in names))


def _entities(products: int, variants: int, bundles: int, images: int, seed: int, side: int) -> Iterator[NewEntity]:
    dice = Random(seed)
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


def _image(name: str, code: str, place: int, side: int) -> tuple[str, bytes]:
    words = f"{code}/{place}"
    if (place + 1) % PNG_EVERY == 0:
        return f"{name}-{place + 1}.png", png(words, side)
    return f"{name}-{place + 1}.jpg", jpeg(words, side)
