"""Made-up product pictures with known answers: what is the same picture changed, and what only resembles it."""

import colorsys
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 1000
SHAPES = ("bottle", "box", "mug", "shoe", "lamp", "shirt")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Product:
    """What is on a picture. label, cut: seeds of what is printed on it and of its proportions."""

    shape: str
    cut: int
    label: int
    hue: float
    fill: float = 0.8
    shift: float = 0.0


def products(count: int, seed: int = 7) -> list[Product]:
    """So many products: several of each shape, all different."""
    dice = Random(seed)
    return [
        Product(SHAPES[n % len(SHAPES)], dice.getrandbits(30), dice.getrandbits(30), dice.random())
        for n in range(count)
    ]


def drawn(product: Product) -> Image.Image:
    """The picture of a product, in RGB, on white."""
    cut, label = Random(product.cut), Random(product.label)
    layer = Image.new("RGBA", (SIDE, SIDE))
    brush = ImageDraw.Draw(layer)
    body = _colour(product.hue, 0.75, 0.55 + 0.3 * cut.random())
    for form, box in _forms(product.shape, cut):
        points = tuple(round(SIDE * one) for one in box)
        getattr(brush, form)(points, fill=body)
    _shade(layer)
    mask = layer.getchannel("A")
    prints = layer.copy()
    brush = ImageDraw.Draw(prints)
    for _ in range(label.randint(2, 7)):
        x, y = label.uniform(0.25, 0.65), label.uniform(0.3, 0.75)
        w, h = label.uniform(0.05, 0.3), label.uniform(0.03, 0.2)
        shade = _colour((product.hue + label.choice((0.0, 0.5))) % 1, 0.5, label.choice((0.15, 0.95)))
        points = tuple(round(SIDE * one) for one in (x, y, x + w, y + h))
        getattr(brush, label.choice(("rectangle", "ellipse")))(points, fill=shade)
    layer.paste(prints, mask=mask)
    layer = layer.crop(layer.getbbox())
    scale = SIDE * product.fill / max(layer.size)
    layer = layer.resize((round(layer.width * scale), round(layer.height * scale)))
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    place = ((SIDE - layer.width) // 2 + round(SIDE * product.shift), (SIDE - layer.height) // 2)
    picture.paste(layer, place, layer)
    return picture


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue), 255


def _forms(shape: str, cut: Random) -> list[tuple[str, Box]]:
    a, b = cut.uniform(0.05, 0.15), cut.uniform(0.0, 0.1)
    return {
        "bottle": [
            ("rectangle", (0.45 - a / 3, 0.05, 0.55 + a / 3, 0.35)),
            ("rectangle", (0.35 - a, 0.3 - b, 0.65 + a, 0.95)),
        ],
        "box": [("rectangle", (0.15 + a, 0.2 + b, 0.85 - a, 0.8 - b))],
        "mug": [("rectangle", (0.25, 0.25 + b, 0.65, 0.8)), ("ellipse", (0.5, 0.35, 0.75 + a, 0.7))],
        "shoe": [("ellipse", (0.05, 0.45 + b, 0.95, 0.8)), ("rectangle", (0.05 + b, 0.25 + a, 0.35 + a, 0.7))],
        "lamp": [
            ("ellipse", (0.3 - a, 0.1, 0.7 + a, 0.45 + b)),
            ("rectangle", (0.47, 0.4, 0.53, 0.9)),
            ("ellipse", (0.35, 0.85, 0.65, 0.95)),
        ],
        "shirt": [("rectangle", (0.3 - b, 0.2, 0.7 + b, 0.9)), ("rectangle", (0.1, 0.2, 0.9, 0.35 + a))],
    }[shape]


def _shade(layer: Image.Image) -> None:
    """Light from the left."""
    dark = Image.linear_gradient("L").rotate(90).resize(layer.size).point(lambda one: one // 3)
    layer.paste(
        Image.new("RGBA", layer.size, "black"),
        mask=Image.composite(dark, Image.new("L", layer.size), layer.getchannel("A")),
    )


def as_jpeg(picture: Image.Image, quality: int = 90) -> Image.Image:
    """The picture as it comes back from a JPEG."""
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=quality)
    return Image.open(body).convert("RGB")


def _marked(picture: Image.Image, place: tuple[float, float], height: float, strength: int) -> Image.Image:
    layer = Image.new("RGBA", picture.size)
    font = ImageFont.load_default(round(height * picture.height))
    where = round(place[0] * picture.width), round(place[1] * picture.height)
    ImageDraw.Draw(layer).text(where, "SHOP.EXAMPLE", font=font, fill=(90, 90, 90, strength))
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _cropped(picture: Image.Image, share: float) -> Image.Image:
    side = round(share * picture.width)
    return picture.crop((side, side // 2, picture.width - side // 2, picture.height - side))


def _with_margins(picture: Image.Image) -> Image.Image:
    wide = Image.new("RGB", (1600, 1300), "white")
    wide.paste(picture, (420, 200))
    return wide


# The same picture, changed: what should be found.
SAME: Mapping[str, Callable[[Image.Image], Image.Image]] = MappingProxyType(
    {
        "scaled to 300": lambda one: one.resize((300, 300), Image.Resampling.LANCZOS),
        "JPEG of quality 30": lambda one: as_jpeg(one, 30),
        "blurred": lambda one: one.filter(ImageFilter.GaussianBlur(4)),
        "brighter by a tenth": lambda one: one.point(lambda value: min(255, round(1.1 * value))),
        "cropped by 3 %": lambda one: _cropped(one, 0.03),
        "cropped by 12 %, into the product": lambda one: _cropped(one, 0.12),
        "watermark in a corner": lambda one: _marked(one, (0.55, 0.93), 0.05, 200),
        "watermark across": lambda one: _marked(one, (0.06, 0.45), 0.13, 110),
        "other margins": _with_margins,
    }
)
# Another picture of much the same: what should not be found.
OTHER: Mapping[str, Callable[[Product], Product]] = MappingProxyType(
    {
        "another colour": lambda one: replace(one, hue=(one.hue + 0.35) % 1),
        "a shade of its colour": lambda one: replace(one, hue=(one.hue + 0.08) % 1),
        "another print on it": lambda one: replace(one, label=one.label + 1),
        "other proportions and print": lambda one: replace(one, label=one.label + 1, cut=one.cut + 1),
    }
)
