"""Product pictures that are drawn, with what is right and wrong of each known: the same ones from the same seed.

Some kinds of products in dark, strong, light and white colours, on white, each with one fault or none.
"""

import io
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
# A product is drawn so large, then brought to the size that it has in the frame.
_CANVAS = 1400
_SIDE = 1000
COLOURS: Mapping[str, Colour] = {
    "black": (28, 28, 32),
    "red": (190, 35, 40),
    "blue": (40, 80, 170),
    "grey": (140, 142, 145),
    "beige": (228, 214, 190),
    "light": (244, 243, 240),
    "white": (250, 250, 250),
}


@dataclass(frozen=True)
class Fault:
    """What is wrong with a picture: at most one thing; the rest of the values are those of a good one."""

    name: str = "none"
    background: int = 255
    darkest: int = 255
    fill: float = 0.9
    cropped: str = ""
    blur: float = 0.0
    upscaled_from: int = 0
    shadow: int = 0
    words: str = ""
    opacity: float = 1.0
    transparent: bool = False
    side: int = _SIDE
    encoding: str = "PNG"
    quality: int = 90


@dataclass(frozen=True)
class MadeUp:
    """A drawn picture and what is true of it; fill: share of the frame of what was drawn."""

    kind: str
    colour: str
    fault: Fault
    fill: float
    body: bytes = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.fault.name}: {self.colour} {self.kind}"


def _faults() -> Iterator[Fault]:
    for quality in (95, 85, 60, 30):
        yield Fault(f"JPEG of quality {quality}", encoding="JPEG", quality=quality)
    yield Fault()
    for side in (400, 1600, 2400):
        yield Fault(f"none, {side} pixels", side=side, encoding="JPEG", quality=92)
    for value in (254, 253, 252, 250):
        yield Fault(f"background {value}", background=value, darkest=value)
        yield Fault(f"background {value}, JPEG", background=value, darkest=value, encoding="JPEG", quality=85)
    for darkest in (245, 225):
        yield Fault(f"gradient to {darkest}", darkest=darkest)
    for percent in (40, 60, 80, 84, 86, 90, 95):
        yield Fault(f"fills {percent} %", fill=percent / 100)
        yield Fault(f"fills {percent} %, JPEG", fill=percent / 100, encoding="JPEG", quality=75)
    for side in ("left", "top", "right", "bottom"):
        yield Fault(f"cropped {side}", cropped=side)
        yield Fault(f"cropped {side}, JPEG", cropped=side, encoding="JPEG", quality=75)
    for blur in (0.5, 1, 2, 3, 5, 8):
        yield Fault(f"blurred by {blur}", blur=blur)
    for small in (120, 200, 330, 500):
        yield Fault(f"enlarged from {small}", upscaled_from=small, encoding="JPEG", quality=90)
    for strength in (15, 60):
        yield Fault(f"shadow of {strength}", shadow=strength)
    yield Fault("transparent", transparent=True)
    for words in ("SALE -50%", "НОВИНКА", "Gratis Versand"):
        yield Fault(f"text {words}", words=words, encoding="JPEG", quality=88)
    for percent in (8, 15, 30, 60):
        yield Fault(f"watermark of {percent} %", words="© example.com", opacity=percent / 100)


FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _faults()}


def made_up(each: int = 9, faults: Mapping[str, Fault] = FAULTS, seed: int = 16) -> Iterator[MadeUp]:
    """So many pictures of each fault, of products and colours in turn."""
    for number, fault in enumerate(faults.values()):
        for turn in range(each):
            kind = list(KINDS)[(number + turn) % len(KINDS)]
            colour = list(COLOURS)[(number // 2 + turn) % len(COLOURS)]
            yield draw(kind, colour, fault, random.Random(f"{seed} {fault.name} {turn}"))


def draw(kind: str, colour: str, fault: Fault, chance: random.Random) -> MadeUp:
    """One picture of a product."""
    product = _cut_out(kind, COLOURS[colour], chance)
    side = fault.side
    factor = fault.fill * side / max(product.size)
    product = product.resize(
        (max(1, round(product.width * factor)), max(1, round(product.height * factor))), Image.Resampling.LANCZOS
    )
    left, top = (side - product.width) // 2, (side - product.height) // 2
    if fault.cropped in ("left", "right"):
        left = -product.width // 6 if fault.cropped == "left" else side - product.width * 5 // 6
    if fault.cropped in ("top", "bottom"):
        top = -product.height // 6 if fault.cropped == "top" else side - product.height * 5 // 6
    layer = Image.new("RGBA", (side, side), (*COLOURS[colour], 0))
    layer.paste(product, (left, top))
    box = layer.getchannel("A").point(lambda value: 255 * (value > 127)).getbbox() or (0, 0, 0, 0)
    ground = _ground(fault)
    if fault.shadow:
        dark = ImageChops.offset(layer.getchannel("A"), 0, side // 50).filter(ImageFilter.GaussianBlur(side / 60))
        ground.paste((0, 0, 0), mask=dark.point(lambda value: value * fault.shadow // 255))
    picture = layer if fault.transparent else Image.alpha_composite(ground.convert("RGBA"), layer).convert("RGB")
    if fault.words:
        picture = _with_words(picture, fault, chance)
    if fault.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(fault.blur))
    if fault.upscaled_from:
        small = picture.resize((fault.upscaled_from,) * 2, Image.Resampling.LANCZOS)
        picture = small.resize((side, side), Image.Resampling.BICUBIC)
    target = io.BytesIO()
    picture.save(target, fault.encoding, **({"quality": fault.quality} if fault.encoding == "JPEG" else {}))
    fill = max(box[2] - box[0], box[3] - box[1]) / side
    return MadeUp(kind, colour, fault, fill, target.getvalue())


def _ground(fault: Fault) -> Image.Image:
    """A background: one grey, or one that gets darker towards the bottom."""
    first, last = fault.background, fault.darkest
    line = bytes(round(first + (last - first) * row / (fault.side - 1)) for row in range(fault.side))
    return Image.frombytes("L", (1, fault.side), line).resize((fault.side, fault.side)).convert("RGB")


def _with_words(picture: Image.Image, fault: Fault, chance: random.Random) -> Image.Image:
    """Text in a corner, or, where it shines through, all across as watermarks are."""
    over = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    pen, side = ImageDraw.Draw(over), picture.width
    ink = (120, 120, 120) if fault.opacity < 1 else chance.choice([(200, 20, 20), (20, 20, 20), (20, 60, 160)])
    size = side // 9 if fault.opacity < 1 else side // chance.choice([12, 16, 20])
    place = (side // 8, int(side * 0.45)) if fault.opacity < 1 else (side // 40, side // 40)
    pen.text(place, fault.words, (*ink, round(255 * fault.opacity)), ImageFont.load_default(size))
    return Image.alpha_composite(picture.convert("RGBA"), over).convert("RGB")


def _cut_out(kind: str, colour: Colour, chance: random.Random) -> Image.Image:
    """A product without anything around it, shaded as a lamp from the left would."""
    product = Image.new("RGBA", (_CANVAS, _CANVAS), (*colour, 0))
    KINDS[kind](ImageDraw.Draw(product), colour, chance)
    shade = Image.linear_gradient("L").rotate(90 + chance.uniform(-25, 25)).resize(product.size)
    light = Image.merge("RGB", [shade.point(lambda value: 225 + value * 30 // 255)] * 3)
    lit = ImageChops.multiply(product.convert("RGB"), light)
    lit.putalpha(product.getchannel("A"))
    return lit.crop(lit.getchannel("A").getbbox())


def _darker(colour: Colour, by: float) -> Colour:
    return tuple(round(value * (1 - by)) for value in colour)


def _box(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    height = chance.randint(500, 1200)
    pen.rectangle((100, 100, 1100, height), colour)
    pen.polygon([(1100, 100), (1300, 220), (1300, height - 60), (1100, height)], _darker(colour, 0.12))
    pen.rectangle((100, height // 2 - 40, 1100, height // 2 + 40), _darker(colour, 0.08))


def _bottle(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    pen.rectangle((620, 60, 780, 400), _darker(colour, 0.15))
    pen.rounded_rectangle((450, 360, 950, 1340), 120, colour)
    label = 600 + chance.randint(0, 200)
    pen.rectangle((450, label, 950, label + 300), _darker(colour, 0.1))
    pen.ellipse((600, label + 50, 800, label + 250), _darker(colour, 0.2))


def _mug(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    pen.rounded_rectangle((150, 250, 1000, 1200), 90, colour)
    pen.arc((860, 420, 1330, 1000), -100, 100, _darker(colour, 0.06), chance.randint(70, 110))
    pen.ellipse((150, 180, 1000, 340), _darker(colour, 0.18))


def _ball(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    for ring in range(60):
        pen.ellipse(
            (100 + ring * 4, 100 + ring * 3, 1300 - ring * 7, 1300 - ring * 8), _darker(colour, 0.12 - ring / 500)
        )
    pen.arc((300, 100, 1100, 1300), chance.randint(0, 90), 270, _darker(colour, 0.3), 14)


def _chair(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    for x in (330, 1010):
        pen.rectangle((x, 60, x + 50, 1340), _darker(colour, 0.05))
    for y in range(120, 600, chance.randint(110, 160)):
        pen.rectangle((330, y, 1060, y + 60), colour)
    pen.polygon([(330, 720), (1060, 720), (1160, 860), (230, 860)], _darker(colour, 0.1))
    for x in (240, 1100):
        pen.rectangle((x, 860, x + 50, 1300), colour)


def _shirt(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    outline = [(500, 120), (900, 120), (1320, 380), (1200, 640), (1030, 540), (1030, 1300), (370, 1300), (370, 540)]
    pen.polygon([*outline, (200, 640), (80, 380)], colour)
    pen.ellipse((560, 60, 840, 260), _darker(colour, 0.15))
    for fold in range(4):
        x = chance.randint(420, 980)
        pen.line((x, 600 + fold * 40, x + chance.randint(-40, 40), 1250), _darker(colour, 0.07), 8)


def _set(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    for column in range(3):
        for row in range(2):
            x, y, length = 120 + column * 420, 150 + row * 600, chance.randint(280, 340)
            pen.rounded_rectangle((x, y, x + length, y + 420), 60, colour)
            pen.ellipse((x + 60, y + 80, x + 200, y + 220), _darker(colour, 0.2))


def _cable(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    for ring in range(3):
        pen.ellipse((150 + ring * 60, 150 + ring * 50, 1150 - ring * 40, 1150 - ring * 60), outline=colour, width=26)
    pen.rectangle((1080, 1000 + chance.randint(0, 80), 1320, 1260), _darker(colour, 0.15))


def _shoe(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    heel = chance.randint(380, 480)
    outline = [(120, heel), (420, heel - 60), (560, 640), (980, 740), (1280, 880), (1300, 1000), (110, 1000)]
    pen.polygon(outline, colour)
    pen.rectangle((100, 1000, 1300, 1070), _darker(colour, 0.25))
    for lace in range(5):
        pen.line((500 + lace * 60, 560 + lace * 40, 640 + lace * 60, 700 + lace * 20), _darker(colour, 0.3), 12)


KINDS: Mapping[str, Callable[[ImageDraw.ImageDraw, Colour, random.Random], None]] = {
    "box": _box, "bottle": _bottle, "mug": _mug, "ball": _ball, "chair": _chair, "shirt": _shirt, "set": _set,
    "cable": _cable, "shoe": _shoe,
}  # fmt: skip
