"""Smaller copies: their size, orientation and colours are right, from every kind of original, within limits."""

import io

import pytest
import pyvips
from PIL import Image, ImageCms, ImageDraw

from imagesync_pipelines.imaging.derivatives import SIDES, CannotDeriveError, Derived, Encoding, derive
from imagesync_pipelines.imaging.validation import DecodeLimits, check_image

RED, BLUE, GREEN, WHITE = (230, 20, 20), (20, 20, 230), (20, 200, 20), (255, 255, 255)
NEAR = 30


def picture(size: tuple[int, int] = (1200, 800), mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue, the top left corner green."""
    image = Image.new("RGB", size, RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((size[0] // 2, 0, *size), fill=BLUE)
    draw.rectangle((0, 0, size[0] // 5, size[1] // 5), fill=GREEN)
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def derived(body: bytes, side: int = 160, encoding: Encoding = Encoding.WEBP, **limits: int) -> Derived:
    return derive(body, check_image(body), side, encoding, DecodeLimits(**limits))


def opened(copy: Derived) -> Image.Image:
    return Image.open(io.BytesIO(copy.body)).convert("RGB")


def is_near(found: object, wanted: tuple[int, int, int]) -> bool:
    assert isinstance(found, tuple)
    return all(abs(one - other) < NEAR for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize(("purpose", "side"), SIDES.items())
def test_every_purpose_in_every_encoding_is_as_large_as_it_should_be(
    purpose: str, side: int, encoding: Encoding
) -> None:
    copy = derived(saved(picture((1500, 1000)), "JPEG"), side, encoding)
    image = Image.open(io.BytesIO(copy.body))
    assert (image.format, image.size) == (encoding.name, (copy.width, copy.height))
    assert image.size == (side, round(side * 2 / 3))
    assert is_near(opened(copy).getpixel((side - 5, 5)), BLUE)


def test_a_small_original_is_not_made_larger() -> None:
    assert opened(derived(saved(picture((90, 60)), "PNG"))).size == (90, 60)


def test_a_copy_is_the_same_bytes_every_time() -> None:
    body = saved(picture(), "JPEG")
    assert derived(body) == derived(body)


# EXIF orientation: which corner of the upright picture shows what was the top left corner of the stored one.
@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 1)), (8, (0, 1))],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_copy_is_upright_and_says_nothing_of_it(kind: str, orientation: int, corner: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    copy = derived(saved(picture(), kind, exif=exif), 150)
    image = opened(copy)
    assert image.size == ((150, 100) if orientation < 5 else (100, 150))
    assert is_near(image.getpixel((corner[0] * (image.width - 1), corner[1] * (image.height - 1))), GREEN)
    assert dict(Image.open(io.BytesIO(copy.body)).getexif()) == {}


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "P"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB"), ("JPEG", "CMYK"), ("TIFF", "CMYK"),
        ("TIFF", "LAB"), ("PNG", "RGBA"),
    ],
)  # fmt: skip
def test_every_mode_of_colour_ends_as_the_same_picture(kind: str, mode: str) -> None:
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = ImageCms.applyTransform(picture(), to_lab)
        assert image is not None
    else:
        image = picture(mode=mode)
    found = opened(derived(saved(image, kind)))
    assert is_near(found.getpixel((40, 80)), RED)
    assert is_near(found.getpixel((120, 80)), BLUE)


@pytest.mark.parametrize(
    ("mode", "grey"), [("L", 128), ("LA", (128, 255)), ("I;16", 128 * 256), ("1", 1)], ids=["8", "alpha", "16", "1 bit"]
)
def test_grey_stays_as_bright_as_it_was(mode: str, grey: int) -> None:
    wanted = 255 if mode == "1" else 128
    found = opened(derived(saved(Image.new(mode, (400, 400), grey), "PNG"), encoding=Encoding.JPEG))
    assert is_near(found.getpixel((50, 50)), (wanted, wanted, wanted))


def test_what_is_transparent_stays_so_or_becomes_white() -> None:
    image = Image.new("RGBA", (400, 400), (*RED, 0))
    image.paste(Image.new("RGBA", (200, 400), (*RED, 255)), (0, 0))
    body = saved(image, "PNG")
    assert is_near(opened(derived(body, encoding=Encoding.JPEG)).getpixel((150, 80)), WHITE)
    for encoding in (Encoding.WEBP, Encoding.AVIF):
        kept = Image.open(io.BytesIO(derived(body, encoding=encoding).body))
        assert kept.mode == "RGBA"
        assert kept.getchannel("A").getpixel((150, 80)) == 0


def test_another_profile_is_turned_into_srgb_and_left_out() -> None:
    swapped = _profile_with_red_and_blue_swapped()
    copy = derived(saved(picture(), "JPEG", icc_profile=swapped))
    assert is_near(opened(copy).getpixel((40, 80)), BLUE)
    assert "icc_profile" not in Image.open(io.BytesIO(copy.body)).info


@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 128], ids=["text", "zeros"])
def test_a_profile_that_is_none_changes_nothing(profile: bytes) -> None:
    assert is_near(opened(derived(saved(picture(), "JPEG", icc_profile=profile))).getpixel((40, 80)), RED)


def test_a_picture_over_the_limits_is_refused_and_a_large_one_decoded_in_the_child() -> None:
    body = saved(picture(), "PNG")
    with pytest.raises(CannotDeriveError, match="1200 x 800 pixels"):
        derive(body, check_image(body), 160, Encoding.WEBP, DecodeLimits(max_pixels=1000))
    assert derived(body, here_pixels=1000) == derived(body)


@pytest.mark.slow
def test_the_child_keeps_to_its_memory() -> None:
    body = bytes(pyvips.Image.black(12_000, 12_000, bands=3).pngsave_buffer(interlace=True))
    facts = check_image(body)
    with pytest.raises(CannotDeriveError, match="more memory than it may have"):
        derive(body, facts, 160, Encoding.WEBP, DecodeLimits(child_memory=400 * 1024 * 1024))


def test_a_body_that_is_none_is_refused() -> None:
    facts = check_image(saved(picture(), "PNG"))
    with pytest.raises(CannotDeriveError, match="no smaller copy"):
        derive(b"\x89PNG and nothing", facts, 160, Encoding.WEBP)


def _profile_with_red_and_blue_swapped() -> bytes:
    """The sRGB profile with the tags of its red and blue changed for each other, under another name."""
    body = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    body = body.replace(b"s\0R\0G\0B", b"o\0t\0h\0e").replace(b"sRGB built-in", b"other profile")
    count = int.from_bytes(body[128:132], "big")
    for place in range(132, 132 + 12 * count, 12):
        name = bytes(body[place : place + 4])
        body[place : place + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(body)
