"""What is measured of a picture: of its first frame, upright, in sRGB, whatever the file is."""

import random
from collections.abc import Mapping

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.made_up import FAULTS, draw
from imagesync_pipelines.imaging.decoding import DecodeLimits
from imagesync_pipelines.imaging.errors import BadImageError
from imagesync_pipelines.imaging.hashes import look_at
from imagesync_pipelines.imaging.measures import (
    SIDES,
    background_of,
    fill_of,
    large_parts,
    measure,
    sharpness_of,
    touched_by,
)
from imagesync_pipelines_tests.imaging.test_matrix import encoded, profile

WIDTH, HEIGHT = 300, 200


def picture(mode: str = "RGB", background: int = 255) -> Image.Image:
    """Red, 240 of 300 points wide and 100 of 200 high, at the left edge."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (background,) * 3)
    ImageDraw.Draw(image).rectangle((0, 50, 239, 149), (180, 30, 30))
    return image.convert(mode)


def patches(side: int) -> Image.Image:
    """Squares of ten points in any grey."""
    greys = np.random.default_rng(1).integers(0, 255, (side // 10, side // 10), np.uint8)
    return Image.fromarray(greys).resize((side, side), Image.Resampling.NEAREST)


def sixteen_bits() -> bytes:
    flat = pyvips.Image.new_from_array(np.asarray(picture(), np.uint16) * 257).copy(interpretation="rgb16")
    return bytes(flat.pngsave_buffer(bitdepth=16))


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    # Stored on its side: who turns it clockwise sees the picture.
    return encoded("PNG", picture().transpose(Image.Transpose.ROTATE_90), exif=exif)


def transparent() -> bytes:
    image = picture("RGBA")
    image.putalpha(Image.eval(image.getchannel("G"), lambda value: 0 if value == 255 else 255))
    return encoded("PNG", image)


FILES: Mapping[str, bytes] = {
    "JPEG": encoded("JPEG", picture()),
    "JPEG in CMYK": encoded("JPEG", picture("CMYK")),
    "JPEG with a wide profile": encoded("JPEG", picture(), icc_profile=profile("wide")),
    "PNG with a linear profile": encoded("PNG", picture(), icc_profile=profile("linear named sRGB")),
    "PNG of 16 bits": sixteen_bits(),
    "PNG on its side": turned(),
    "PNG with a palette": encoded("PNG", picture("P")),
    "GIF whose second frame is black": encoded(
        "GIF", picture("P"), save_all=True, append_images=[Image.new("P", (WIDTH, HEIGHT))]
    ),
    "WEBP": encoded("WEBP", picture()),
    "TIFF": encoded("TIFF", picture()),
    "BMP": encoded("BMP", picture()),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_measures(name: str) -> None:
    found = measure(FILES[name])
    assert (found.width, found.height) == (WIDTH, HEIGHT)
    assert found.format == name.partition(" ")[0]
    assert found.touched_sides == ("left",)
    assert found.fill == pytest.approx(0.8, abs=0.03)
    assert found.white_background == 1.0
    assert found.sharpness > 0.8
    assert found.transparent == 0.0
    assert found.hash == look_at(FILES[name]).hash


def test_what_is_transparent_counts_as_white_and_is_told() -> None:
    found = measure(transparent())
    assert (found.white_background, found.touched_sides) == (1.0, ("left",))
    assert found.transparent == pytest.approx(0.6)


@pytest.mark.parametrize(("background", "share"), [(255, 1.0), (254, 0.0), (250, 0.0), (200, 0.0)])
def test_only_pure_white_is_white_and_a_product_is_seen_on_any_grey(background: int, share: float) -> None:
    found = measure(encoded("PNG", picture(background=background)))
    assert (found.white_background, found.fill, found.touched_sides) == (share, 0.8, ("left",))


def test_a_scene_has_no_background_and_goes_to_every_side() -> None:
    found = measure(encoded("PNG", patches(300)))
    assert (found.white_background, found.fill, found.touched_sides) == (0.0, 1.0, SIDES)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (3000, 2), (17, 17)])
def test_nothing_is_seen_in_an_empty_picture_of_any_shape(size: tuple[int, int]) -> None:
    found = measure(encoded("PNG", Image.new("RGB", size, (255, 255, 255))))
    assert (found.fill, found.touched_sides, found.sharpness) == (0.0, (), 0.0)
    assert (found.width, found.height) == size


@pytest.mark.parametrize("blur", [0, 2])
def test_sharpness_depends_neither_on_the_size_nor_on_how_much_white_there_is(blur: float) -> None:
    product = patches(600)
    shown = []
    for frame in (600, 1000):
        image = Image.new("L", (frame, frame), 255)
        image.paste(product.filter(ImageFilter.GaussianBlur(blur)), ((frame - 600) // 2,) * 2)
        shown.append(sharpness_of(np.asarray(image)))
        small = image.resize((frame // 2,) * 2, Image.Resampling.LANCZOS)
        shown.append(sharpness_of(np.asarray(small.filter(ImageFilter.GaussianBlur(blur)) if blur else small)))
    assert max(shown) - min(shown) < 0.25
    assert (min(shown) > 0.6) if not blur else (max(shown) < 0.35)


def test_a_white_product_on_white_is_seen_by_its_outline() -> None:
    found = measure(draw("box", "white", FAULTS["none"], random.Random(1)).body)
    assert (found.fill, found.white_background, found.touched_sides) == (0.9, 1.0, ())


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF"])
def test_a_picture_that_ends_too_early_is_told_so_and_not_blamed_for_what_is_missing(name: str) -> None:
    body = encoded(name, picture())
    assert measure(body).white_background == 1
    with pytest.raises(BadImageError):
        measure(body[: len(body) * 2 // 3])


def test_a_bomb_is_refused_by_the_limits_of_decoding() -> None:
    body = encoded("PNG", Image.new("L", (4000, 4000)))
    with pytest.raises(BadImageError, match="allowed"):
        measure(body, DecodeLimits(max_pixels=1_000_000))
    with pytest.raises(BadImageError):
        measure(b"<svg/>")
    apart = measure(body, DecodeLimits(here_pixels=1))
    assert (apart.width, apart.fill) == (4000, 0.0)


MASKS = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(MASKS)
def test_background_and_product_are_apart_and_turning_a_picture_turns_its_measures(seen: np.ndarray) -> None:
    product, background = large_parts(seen), background_of(seen)
    assert not (product & ~seen).any()
    assert not (seen & background).any()
    assert 0 <= fill_of(product) <= 1
    assert (fill_of(product) == 0) == (not seen.any())
    assert fill_of(product.T) == fill_of(product)
    swapped = {"left": "top", "top": "left", "right": "bottom", "bottom": "right"}
    assert {swapped[side] for side in touched_by(product)} == set(touched_by(product.T))
    assert (background_of(seen.T) == background.T).all()


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_sharpness_is_a_share_and_the_same_of_the_negative_and_of_the_turned_picture(grey: np.ndarray) -> None:
    found = sharpness_of(grey)
    assert 0 <= found <= 1
    assert sharpness_of(255 - grey) == pytest.approx(found)
    assert sharpness_of(grey.T) == pytest.approx(found)
