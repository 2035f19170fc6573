"""Proves that only whole, decodable pictures of known kinds pass, within limits, and that the child is kept in its."""

import io
import json
import random
import re
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagesync_pipelines.imaging.validation import BadImageError, DecodeLimits, Fault, ImageFacts, check_image

HERE = ["JPEG", "PNG", "GIF"]
IN_CHILD = ["TIFF", "PSD", "AVIF", "WEBP", "BMP"]
FRAMES_DAMAGED = "the frames after the first are damaged; the first, which people see, is whole"


def picture(width: int = 120, height: int = 80, mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((width, height), 60).convert(mode)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    image = image or picture()
    if kind == "PSD":
        head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, image.height, image.width, 8, 3) + bytes(12) + bytes(2)
        return head + b"".join(channel.tobytes() for channel in image.split())
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def fault_of(body: bytes, **options: object) -> Fault:
    with pytest.raises(BadImageError) as caught:
        check_image(body, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value.fault


@pytest.mark.parametrize("kind", HERE + IN_CHILD)
def test_a_whole_picture_gives_its_facts(kind: str) -> None:
    facts = check_image(encoded(kind))
    assert (facts.format, facts.width, facts.height, facts.frames) == (kind, 120, 80, 1)
    assert len(facts.sha256) == 64


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg_passes(mode: str, progressive: bool) -> None:
    facts = check_image(encoded("JPEG", picture(1000, 700, mode), progressive=progressive))
    assert (facts.format, facts.width, facts.height, facts.notes) == ("JPEG", 1000, 700, ())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_passes(mode: str) -> None:
    image = Image.new("I;16", (9, 9)) if mode == "I;16" else picture(9, 9).convert(mode)
    assert check_image(encoded("PNG", image)).format == "PNG"


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}], ids=str)
def test_every_compression_of_tiff_passes(options: dict[str, object]) -> None:
    assert check_image(encoded("TIFF", **options)).format == "TIFF"


def test_a_jpeg_of_several_pictures_is_a_jpeg() -> None:
    body = encoded("MPO", picture(), save_all=True, append_images=[picture(60, 40)])
    assert (check_image(body).format, check_image(body).frames, check_image(body).notes) == ("JPEG", 2, ())


def test_the_first_frame_decides_and_damage_to_the_others_is_told() -> None:
    several = encoded("MPO", picture(), save_all=True, append_images=[picture(60, 40)])
    # The index points to a second picture that is not there.
    alone = several[: several.index(b"\xff\xd9") + 2]
    assert check_image(several[:-100]).notes == (FRAMES_DAMAGED,)
    assert (check_image(alone).width, check_image(alone).notes) == (120, (FRAMES_DAMAGED,))
    assert fault_of(several[: len(alone) // 2]) is Fault.BROKEN
    frames = [picture(40, 40) for _ in range(4)]
    animated = encoded("PNG", frames[0], save_all=True, append_images=frames[1:])
    place = animated.rindex(b"fdAT") + 30
    damaged = animated[:place] + bytes(20) + animated[place + 20 :]
    assert check_image(damaged).notes == ("the checksum of the chunk fdAT is wrong; it was left out of account",)


def test_every_frame_of_an_animation_is_decoded() -> None:
    frames = [picture(40, 40) for _ in range(4)]
    body = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    assert check_image(body).frames == 4
    assert fault_of(body[: len(body) * 3 // 4]) is Fault.BROKEN


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 8, 12, 13, 100, 0.5, 0.9])
@pytest.mark.parametrize("kind", HERE)
def test_a_cut_picture_is_refused(kind: str, missing: float) -> None:
    body = encoded(kind)
    cut = int(missing if missing >= 1 else len(body) * missing)
    assert fault_of(body[:-cut]) in {Fault.BROKEN, Fault.NO_IMAGE}


@pytest.mark.parametrize("missing", [1, 0.5])
@pytest.mark.parametrize("kind", IN_CHILD)
def test_a_cut_picture_is_refused_by_the_child(kind: str, missing: float) -> None:
    body = encoded(kind)
    cut = int(missing if missing >= 1 else len(body) * missing)
    assert fault_of(body[:-cut]) in {Fault.BROKEN, Fault.NO_IMAGE}


def test_a_jpeg_without_its_end_marker_is_refused_whatever_its_picture() -> None:
    # Pillow takes about one in a hundred of these for whole: all its data is there.
    for _ in range(300):
        assert fault_of(encoded("JPEG")[:-2]) is Fault.BROKEN


@pytest.mark.parametrize("damage", ["no end", "cut", "cut and closed", "zeros"])
def test_what_is_damaged_at_a_source_that_gives_its_checksum_passes_and_is_told(damage: str) -> None:
    whole = encoded("JPEG", picture(400, 300))
    half = len(whole) // 2
    body = {
        "no end": whole[:-2], "cut": whole[:half], "cut and closed": whole[:half] + b"\xff\xd9",
        "zeros": whole[:half] + bytes(3000) + whole[half + 3000 :],
    }[damage]  # fmt: skip
    assert fault_of(body) is Fault.BROKEN
    facts = check_image(body, is_as_listed=True)
    assert (facts.width, facts.notes) == (400, ())
    assert re.search("(?i)premature end|corrupt", facts.damage)
    assert check_image(whole, is_as_listed=True).damage == ""


@pytest.mark.parametrize("kind", HERE + IN_CHILD)
def test_of_what_nothing_can_be_decoded_no_checksum_makes_a_picture(kind: str) -> None:
    body = encoded(kind)
    assert fault_of(body[:30], is_as_listed=True) in {Fault.BROKEN, Fault.NO_IMAGE}
    assert fault_of(body, content_type="text/html", is_as_listed=True) is Fault.MISLABELLED


def test_a_jpeg_with_a_small_picture_inside_needs_an_end_of_its_own() -> None:
    inner = encoded("JPEG", picture(20, 10))
    body = encoded("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + inner)
    assert check_image(body).width == 120
    assert check_image(body + b"trailing bytes that some cameras write").width == 120
    assert fault_of(body[:-2]) is Fault.BROKEN


def test_a_cut_progressive_jpeg_is_refused() -> None:
    body = encoded("JPEG", picture(400, 300), progressive=True)
    assert fault_of(body[:-2]) is Fault.BROKEN
    assert fault_of(body[: len(body) // 2]) is Fault.BROKEN


def test_one_altered_byte_anywhere_in_a_png_is_found() -> None:
    body = encoded("PNG", picture(30, 20))
    for place in range(8, len(body), 7):
        altered = body[:place] + bytes([body[place] ^ 0x55]) + body[place + 1 :]
        fault_of(altered)


@pytest.mark.parametrize(
    ("body", "fault", "words"),
    [
        pytest.param(b"", Fault.EMPTY, "empty", id="nothing"),
        pytest.param(b"<!DOCTYPE html><html>login</html>", Fault.MARKUP, "HTML", id="HTML"),
        pytest.param(b"\xef\xbb\xbf \n<HTML>", Fault.MARKUP, "HTML", id="HTML with a byte order mark"),
        pytest.param(b'<svg xmlns="http://www.w3.org/2000/svg"/>', Fault.MARKUP, "SVG", id="SVG"),
        pytest.param(b'<?xml version="1.0"?><!-- x --><svg/>', Fault.MARKUP, "SVG", id="SVG after a prolog"),
        pytest.param(b"<Error><Code>NoSuchKey</Code></Error>", Fault.MARKUP, "XML", id="XML of an object store"),
        pytest.param(b'{"detail": "Not found."}', Fault.NO_IMAGE, "no picture", id="JSON"),
        pytest.param(b"%PDF-1.7 ...", Fault.NO_IMAGE, "no picture", id="PDF"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", Fault.NO_IMAGE, "no picture", id="EPS"),
        pytest.param(b"\x00" * 1000, Fault.NO_IMAGE, "no picture", id="zeros"),
        pytest.param(b"\xff\xd8\xff", Fault.BROKEN, "cannot be decoded", id="only the start of a JPEG"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_content(body: bytes, fault: Fault, words: str) -> None:
    with pytest.raises(BadImageError, match=words) as caught:
        check_image(body, content_type="image/jpeg")
    assert caught.value.fault is fault


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "JPEG2000", "PCX"])
def test_a_kind_that_is_not_on_the_list_is_refused(kind: str) -> None:
    assert fault_of(encoded(kind, picture(32, 32))) is Fault.NO_IMAGE


@pytest.mark.parametrize(
    ("kind", "label", "good"),
    [
        ("JPEG", "image/jpeg", True),
        ("JPEG", "IMAGE/JPG; charset=binary", True),
        ("JPEG", "", True),
        ("JPEG", "application/octet-stream", True),
        ("JPEG", "binary/octet-stream", True),
        ("JPEG", "image/png", False),
        ("JPEG", "text/html", False),
        ("PNG", "image/jpeg", False),
        ("PNG", "image/png", True),
        ("GIF", "image/gif", True),
        ("PSD", "image/vnd.adobe.photoshop", True),
        ("TIFF", "image/tiff", True),
        ("WEBP", "image/jpeg", False),
        ("JPEG", "image/jfif", True),
        ("JPEG", "image/mpo", True),
        ("PNG", "image/apng", True),
        ("JPEG", '"image/jpeg"', True),
        ("JPEG", "image/*", True),
        ("JPEG", "application/x-octet-stream", True),
        ("AVIF", "image/avif", True),
    ],
)
def test_a_label_that_contradicts_the_content_is_reported(kind: str, label: str, good: bool) -> None:
    body = encoded(kind)
    if good:
        assert check_image(body, content_type=label).format == kind
    else:
        assert fault_of(body, content_type=label) is Fault.MISLABELLED


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(13_000, 13_000), (60_000, 60_000), (2_000_000_000, 2_000_000_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    assert fault_of(bomb(width, height)) is Fault.TOO_LARGE


def test_a_bomb_in_a_tiff_is_refused_by_the_child() -> None:
    body = encoded("TIFF", picture(200, 200))
    assert fault_of(body, limits=DecodeLimits(max_pixels=39_999)) is Fault.TOO_LARGE
    assert fault_of(body, limits=DecodeLimits(max_pixels=10_000)) is Fault.TOO_LARGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_picture_is_decoded_in_a_child_and_the_facts_are_the_same(kind: str) -> None:
    body = encoded(kind, picture(200, 100))
    assert check_image(body, limits=DecodeLimits(here_pixels=19_999)) == check_image(body)
    assert fault_of(body[:-20], limits=DecodeLimits(here_pixels=1)) is Fault.BROKEN


def test_an_animation_counts_all_its_frames() -> None:
    frames = [picture(40, 40) for _ in range(4)]
    body = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    assert check_image(body, limits=DecodeLimits(here_pixels=6399)).frames == 4


def large_tiff(pixels: int) -> bytes:
    return encoded("TIFF", Image.new("RGB", (pixels, pixels)), compression="tiff_deflate")


def interlaced(pixels: int) -> bytes:
    """A PNG that nothing can stream: all of it has to be in memory at once."""
    return bytes(pyvips.Image.black(pixels, pixels, bands=3).pngsave_buffer(interlace=True))


@pytest.mark.slow
def test_the_child_may_not_take_more_memory_than_allowed() -> None:
    limits = DecodeLimits(child_memory=400 * 1024**2, here_pixels=1)
    assert check_image(interlaced(100), limits=limits).width == 100
    with pytest.raises(BadImageError, match="needs more memory than it may have") as caught:
        check_image(interlaced(12_000), limits=limits)
    assert caught.value.fault is Fault.LIMITS
    assert check_image(large_tiff(12_000), limits=limits).width == 12_000, "what can be streamed needs little"


def test_the_child_may_not_take_longer_than_allowed() -> None:
    assert fault_of(large_tiff(100), limits=DecodeLimits(child_seconds=0.01)) is Fault.LIMITS


def test_the_child_may_not_take_more_processor_time_than_allowed() -> None:
    body = large_tiff(12_000)
    assert fault_of(body, limits=DecodeLimits(child_cpu=0)) is Fault.LIMITS


def test_the_child_gets_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    assert check_image(encoded("TIFF")).format == "TIFF"


def test_pictures_are_checked_in_many_threads_at_once() -> None:
    bodies = [encoded(kind) for kind in HERE * 4]
    found: list[str] = []
    threads = [threading.Thread(target=lambda body=body: found.append(check_image(body).format)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(HERE * 4)


def test_facts_can_be_kept_as_json() -> None:
    facts = check_image(encoded("PNG"))
    assert asdict(ImageFacts(**json.loads(json.dumps(vars(facts))))) == {**asdict(facts), "notes": []}


@pytest.mark.parametrize("kind", HERE)
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_picture_passes_or_is_refused_and_nothing_else_is_raised(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    body = bytearray(encoded(kind, Image.new("RGB", (24, 16), (200, 30, 90))))
    damage: list[Callable[[], None]] = [
        lambda: body.__setitem__(chance.randrange(len(body)), chance.randrange(256)),
        lambda: body.__delitem__(slice(chance.randrange(len(body)), None, chance.randrange(1, 9))),
        lambda: body.extend(chance.randbytes(chance.randrange(1, 60))),
    ]
    for _ in range(chance.randrange(1, 12)):
        if len(body) > 1:
            chance.choice(damage)()
    with suppress(BadImageError):
        assert check_image(bytes(body), limits=DecodeLimits(here_pixels=10**6, max_pixels=10**6)).format == kind
