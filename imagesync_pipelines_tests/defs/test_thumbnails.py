"""Thumbnails are few, small and safe, and a picture that cannot be shown is a reason, never a failed run."""

import base64
import io
import re

import pytest
from PIL import Image
from pydantic import SecretStr

from imagesync_pipelines.defs.metadata import EDGE_PIXELS, SHOWN_PICTURES, thumbnails
from imagesync_pipelines.imaging.derivatives import icon

EMBEDDED = re.compile(r"!\[\]\(data:image/webp;base64,([A-Za-z0-9+/=]+)\)")


def picture_bytes(kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (400, 200)) -> bytes:
    target = io.BytesIO()
    Image.effect_noise(size, 80).convert(mode).save(target, kind)
    return target.getvalue()


def some(count: int) -> list[tuple[str, str]]:
    return [(f"SKU-{number}", f"https://media.example/thumbnails/{number:06}.jpg") for number in range(count)]


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P")]
)
def test_any_usual_picture_becomes_a_tiny_one_of_the_same_shape(kind: str, mode: str) -> None:
    with Image.open(io.BytesIO(icon(picture_bytes(kind, mode), EDGE_PIXELS))) as small:
        assert small.size == (EDGE_PIXELS, EDGE_PIXELS // 2)
    assert len(icon(picture_bytes(kind, mode), EDGE_PIXELS)) < 2500


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture_bytes()[:900]],
    ids=["nothing", "html", "svg", "truncated"],
)
def test_what_is_no_whole_picture_is_told_and_does_not_fail(body: bytes) -> None:
    text = thumbnails([("SKU-1", "https://media.example/1.jpg")], lambda url: body).md_str or ""
    assert "no picture" in text
    assert "data:" not in text


def test_at_most_twelve_are_fetched_and_embedded() -> None:
    fetched: list[str] = []

    def fetch(url: str) -> bytes:
        fetched.append(url)
        return picture_bytes()

    text = thumbnails(some(30), fetch).md_str or ""
    assert len(fetched) == SHOWN_PICTURES
    assert len(EMBEDDED.findall(text)) == SHOWN_PICTURES
    assert "12 of 30 pictures" in text
    assert len(text) < 30_000
    for body in EMBEDDED.findall(text):
        with Image.open(io.BytesIO(base64.b64decode(body))) as small:
            assert max(small.size) <= EDGE_PIXELS


def test_one_picture_that_cannot_be_fetched_leaves_the_others() -> None:
    def fetch(url: str) -> bytes:
        if url.endswith("1.jpg"):
            raise OSError("host [x](https://evil.example) said canary-3 https://me:canary-4@host/")
        return picture_bytes()

    text = thumbnails(some(3), fetch, [SecretStr("canary-3")]).md_str or ""
    assert len(EMBEDDED.findall(text)) == 2
    assert "no picture" in text
    assert "canary" not in text
    assert "](https://evil" not in text


def test_a_label_cannot_leave_its_cell() -> None:
    text = thumbnails([("a | b", "https://media.example/1.jpg")], lambda url: picture_bytes()).md_str or ""
    assert "a &#124; b" in text


def test_no_pictures_are_told() -> None:
    assert thumbnails([], lambda url: b"").md_str == "no pictures"
