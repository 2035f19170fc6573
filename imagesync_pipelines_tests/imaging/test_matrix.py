"""Formats × modes × profiles × orientations × damages: the pixels are those of a reference decoder, or it is refused.

The reference is Pillow with LittleCMS, used by the book: scale to 8 bits, convert by the profile, turn as EXIF says.
"""

import io
import sys
import zlib
from itertools import product

import numpy as np
import pillow_heif
import pytest
import pyvips
from PIL import Image, ImageCms, ImageDraw, ImageOps

from imagesync_pipelines.imaging.derivatives import shrink
from imagesync_pipelines.imaging.errors import BadImageError
from imagesync_pipelines.imaging.hashes import look_at
from imagesync_pipelines.imaging.pixels import as_pillow, on_white, upright
from imagesync_pipelines.imaging.validation import check_image, checked

SIZE = (96, 64)
# Mean difference over all pixels and channels, of 255: JPEG and its colour tables take this much.
NEAR = 6.0
PROFILES = ("none", "srgb", "linear named sRGB", "wide", "broken")


def picture() -> Image.Image:
    """Smooth colours with three flat patches, so that compression changes little."""
    across = np.linspace(0, 255, SIZE[0])[None, :].repeat(SIZE[1], 0)
    down = np.linspace(255, 0, SIZE[1])[:, None].repeat(SIZE[0], 1)
    image = Image.fromarray(np.stack([across, down, np.full_like(across, 128)], 2).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for place, colour in enumerate(((230, 20, 20), (20, 200, 20), (255, 255, 255))):
        draw.rectangle((4 + place * 30, 6, 24 + place * 30, 26), fill=colour)
    return image


def profile(name: str) -> bytes | None:
    """An ICC profile: made by LittleCMS, or sRGB with its curves or primaries replaced."""
    body = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if name == "none":
        return None
    if name == "broken":
        return body[:200]
    if name == "srgb":
        return body
    tags = bytearray(body)
    count = int.from_bytes(tags[128:132], "big")
    places = {bytes(tags[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    if name == "wide":
        # Red and blue changed for each other: what is not converted is far off.
        red, blue = places[b"rXYZ"], places[b"bXYZ"]
        tags[red : red + 4], tags[blue : blue + 4] = b"bXYZ", b"rXYZ"
    else:
        # A curve of one point is a gamma; 1.0 is a straight line.
        place = int.from_bytes(tags[places[b"rTRC"] + 4 : places[b"rTRC"] + 8], "big")
        tags[place : place + 16] = b"curv" + bytes(4) + (1).to_bytes(4, "big") + (256).to_bytes(2, "big") + bytes(2)
    return bytes(tags)


def encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    target = io.BytesIO()
    exact = {"WEBP": {"lossless": True, "exact": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(kind, {})
    image.save(target, kind, **exact, **options)
    return target.getvalue()


def reference(body: bytes) -> np.ndarray:
    """The picture as Pillow and LittleCMS have it, on white."""
    with Image.open(io.BytesIO(body)) as opened:
        icc = opened.info.get("icc_profile")
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, np.uint32) >> 8).astype(np.uint8))
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colours = image if image.mode in {"L", "CMYK", "LAB"} else image.convert("RGB")
    if icc is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            turned = ImageCms.profileToProfile(
                colours, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.PERCEPTUAL, "RGB"
            )
            colours = turned or colours
        except (OSError, ImageCms.PyCMSError):
            pass
    flat = colours.convert("RGB")
    if alpha is not None:
        flat.putalpha(alpha)
        flat = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")
    return np.asarray(flat, np.int16)


def difference(found: Image.Image, wanted: np.ndarray) -> float:
    """The mean difference of a channel, of 255."""
    there = np.asarray(found.convert("RGB"), np.int16)
    assert there.shape == wanted.shape
    return float(np.abs(there - wanted).mean())


def files() -> dict[str, bytes]:
    """The generated files, by what they are."""
    base, found = picture(), {}
    for kind, icc, turn in product(("JPEG", "PNG", "TIFF", "WEBP"), PROFILES, range(1, 9)):
        exif = Image.Exif()
        exif[0x0112] = turn
        more = {"icc_profile": icc_bytes} if (icc_bytes := profile(icc)) is not None else {}
        found[f"{kind} {icc} turned {turn}"] = encoded(kind, base, exif=exif, **more)
    modes = {
        "JPEG": ("L", "CMYK"),
        "PNG": ("1", "L", "LA", "P", "RGBA", "I;16"),
        "TIFF": ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"),
        "WEBP": ("RGBA",),
        "GIF": ("L", "P", "1"),
        "BMP": ("1", "L", "P", "RGB"),
    }
    for kind, names in modes.items():
        for mode in names:
            for seen in ("as it is", "small", "tall"):
                size = {"as it is": SIZE, "small": (7, 5), "tall": (3, 90)}[seen]
                image = base.resize(size)
                if mode == "I;16":
                    image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
                elif mode in {"LA", "RGBA"}:
                    image = image.convert(mode)
                    image.putalpha(Image.linear_gradient("L").resize(size))
                else:
                    image = image.convert(mode)
                found[f"{kind} {mode} {seen}"] = encoded(kind, image)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "tiff_adobe_deflate", "jpeg"):
        found[f"TIFF {compression}"] = encoded("TIFF", base, compression=compression)
    for quality, progressive in product((60, 75, 90), (False, True)):
        target = io.BytesIO()
        base.save(target, "JPEG", quality=quality, progressive=progressive)
        found[f"JPEG of quality {quality}{' progressive' if progressive else ''}"] = target.getvalue()
    return found


def more_files() -> dict[str, bytes]:
    """What Pillow does not write: 16 bits a colour, interlaced, in tiles; and what is wrong without harm to pixels."""
    base, found = picture(), {}
    for kind, turn, size in product(("JPEG", "PNG", "TIFF", "WEBP"), range(1, 9), ((33, 9),)):
        exif = Image.Exif()
        exif[0x0112] = turn
        found[f"{kind} {size} turned {turn}"] = encoded(kind, base.resize(size), exif=exif)
    for mode, deep in product(("L", "LA", "RGB", "RGBA"), (False, True)):
        image = base.convert(mode)
        if mode.endswith("A"):
            image.putalpha(Image.linear_gradient("L").resize(SIZE))
        flat = pyvips.Image.new_from_array(np.asarray(image))
        if deep:
            flat = (flat.cast("ushort") * 257).copy(interpretation="grey16" if mode.startswith("L") else "rgb16")
        bits = f"{mode}{' of 16 bits' if deep else ''}"
        found[f"PNG {bits} interlaced"] = bytes(flat.pngsave_buffer(interlace=True))
        if not deep:
            for compression in ("none", "lzw", "deflate"):
                found[f"TIFF {bits} {compression} in tiles"] = bytes(
                    flat.tiffsave_buffer(tile=True, tile_width=32, tile_height=16, compression=compression)
                )
    for subsampling, restart in product((0, 1, 2), (0, 4)):
        target = io.BytesIO()
        base.save(target, "JPEG", quality=95, subsampling=subsampling, restart_marker_blocks=restart)
        found[f"JPEG sampled {subsampling}, restarts {restart}"] = target.getvalue()
    for name in ("P", "L"):
        found[f"GIF {name} interlaced"] = encoded("GIF", base.convert(name), interlace=1)
        found[f"GIF {name} with a line end behind it"] = encoded("GIF", base.convert(name)) + b"\r\n"
    for kind in ("JPEG", "PNG", "TIFF", "BMP"):
        found[f"{kind} with 40 bytes behind it"] = encoded(kind, base) + bytes(range(40))
    several = encoded("MPO", base, save_all=True, append_images=[base.resize((60, 40))])
    found["JPEG with an index to a picture that is not there"] = several[: several.index(b"\xff\xd9") + 2]
    return found


FILES = files() | more_files()


@pytest.mark.parametrize("name", FILES)
def test_the_pixels_are_those_of_the_reference(name: str) -> None:
    body = FILES[name]
    # Here and not in a child, which would take most of the time: what it does is the same.
    checked(body)
    assert difference(as_pillow(on_white(upright(body))), reference(body)) < NEAR


def test_there_are_as_many_files_as_we_say() -> None:
    assert len(FILES) >= 300


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"])
def test_a_cut_file_is_refused(kind: str, mode: str, share: float) -> None:
    if mode not in {"GIF": "LP", "JPEG": "L RGB CMYK", "TIFF": "L P RGB RGBA CMYK"}.get(kind, "L P RGB RGBA"):
        return
    body = encoded(kind, picture().convert(mode))
    with pytest.raises(BadImageError):
        # Here and not in a child, as above.
        checked(body[: int(len(body) * share)])


@pytest.mark.parametrize("share", [0.35, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_was_cut_and_closed_with_an_end_marker_is_refused(share: float, progressive: bool) -> None:
    body = encoded("JPEG", Image.effect_noise(SIZE, 60).convert("RGB"), progressive=progressive)
    with pytest.raises(BadImageError, match=r"(?i)premature end|corrupt"):
        check_image(body[: int(len(body) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}], ids=str)
def test_a_jpeg_with_zeros_in_its_middle_is_refused(options: dict[str, bool], share: float) -> None:
    across = np.arange(800)[None, :, None] / 800 * 255
    noise = np.random.default_rng(1).normal(0, 12, (600, 800, 3))
    target = io.BytesIO()
    Image.fromarray((across + noise).clip(0, 255).astype(np.uint8)).save(target, "JPEG", quality=75, **options)
    body = target.getvalue()
    place = int(len(body) * share)
    with pytest.raises(BadImageError, match=r"(?i)premature end|corrupt"):
        check_image(body[:place] + bytes(3000) + body[place + 3000 :])


def test_a_fax_with_bad_code_words_is_refused() -> None:
    body = bytearray(encoded("TIFF", picture().convert("1").resize((400, 300)), compression="group4"))
    check_image(bytes(body))
    for place in range(20, 200, 20):
        body[place] ^= 0xFF
    with pytest.raises(BadImageError):
        check_image(bytes(body))


def test_orientation_in_xmp_alone_turns_nothing() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    xmp += b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    image = upright(encoded("JPEG", picture(), xmp=xmp))
    assert (image.width, image.height) == SIZE


def test_sixteen_bits_of_grey_with_a_transparent_grey_stay_transparent_there() -> None:
    values = np.full((40, 60), 30_000, np.uint16)
    values[:, 30:] = 20_000
    target = io.BytesIO()
    Image.fromarray(values).save(target, "PNG", transparency=20_000)
    body = target.getvalue()
    if b"tRNS" not in body:
        chunk = b"tRNS" + (20_000).to_bytes(2, "big")
        place = body.index(b"IDAT") - 4
        whole = (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        body = body[:place] + whole + body[place:]
    image = upright(body)
    assert image.hasalpha()
    assert (image(5, 5)[-1], image(50, 5)[-1]) == (255, 0)
    assert look_at(body).white_edge > 0.3
    shown = Image.open(io.BytesIO(shrink(body, 100_000)))
    assert shown.getpixel((50, 5)) == (255, 255, 255)


def test_shrinking_and_looking_see_the_colours_that_are_shown() -> None:
    body = FILES["JPEG wide turned 6"]
    assert difference(Image.open(io.BytesIO(shrink(body, 1_000_000))), reference(body)) < NEAR
    grey = np.full((60, 80), 150 * 257, np.uint16)
    deep = encoded("PNG", Image.fromarray(grey))
    assert look_at(deep).white_edge == 0.0
    assert Image.open(io.BytesIO(shrink(deep, 100_000))).getpixel((9, 9)) == (150, 150, 150)


def test_a_narrow_picture_can_be_made_smaller() -> None:
    body = encoded("PNG", Image.effect_noise((3000, 60), 60).convert("RGB"))
    made = Image.open(io.BytesIO(shrink(body, 60_000)))
    assert made.width > 500
    assert len(shrink(body, 60_000)) <= 60_000


@pytest.mark.parametrize("depth", [16, 32])
def test_a_psd_of_many_bits_is_refused_for_that_reason(depth: int) -> None:
    head = b"8BPS" + (1).to_bytes(2, "big") + bytes(6) + (3).to_bytes(2, "big") + (9).to_bytes(4, "big") * 2
    body = head + depth.to_bytes(2, "big") + (3).to_bytes(2, "big") + bytes(14) + bytes(9 * 9 * 3 * depth // 8)
    with pytest.raises(BadImageError, match=f"PSD of {depth} bits"):
        check_image(body)


def test_heic_without_its_extra_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    body = (24).to_bytes(4, "big") + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100)
    with pytest.raises(BadImageError, match="extra `heic`"):
        checked(body)


def test_heic_is_read_with_its_extra() -> None:
    pillow_heif.register_heif_opener()
    body = encoded("HEIF", picture(), quality=95)
    assert (check_image(body, content_type="image/heic").format, look_at(body).white_edge) == ("HEIC", 0.0)
    assert difference(as_pillow(upright(body)), reference(body)) < NEAR
    with pytest.raises(BadImageError):
        check_image(body[: len(body) // 2])


def test_a_gif_with_a_line_end_behind_its_trailer_is_whole() -> None:
    assert check_image(encoded("GIF", picture().convert("P")) + b"\r\n").format == "GIF"


def test_avif_is_read() -> None:
    body = bytes(pyvips.Image.new_from_array(np.asarray(picture())).heifsave_buffer(compression="av1", Q=90))
    facts = check_image(body, content_type="image/avif")
    assert (facts.format, facts.width, facts.height) == ("AVIF", *SIZE)
    assert difference(as_pillow(upright(body)), np.asarray(picture(), np.int16)) < NEAR
