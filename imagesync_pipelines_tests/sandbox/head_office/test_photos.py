"""Proves that the sandbox's photos are whole pictures of the promised sizes, each with bytes of its own."""

import hashlib

import pytest

from imagesync_pipelines.imaging.validation import BadImageError, Fault, check_image
from imagesync_pipelines.sandbox.head_office.photos import CONTENT_TYPES, bomb, kind_of, make_photo

pytestmark = pytest.mark.slow

KIB = 1000


@pytest.mark.parametrize("kind", sorted(CONTENT_TYPES))
def test_a_photo_of_any_kind_decodes_whole_and_is_what_it_says(kind: str) -> None:
    file = make_photo(1, 'Café "宮保" 7', kind)
    facts = check_image(file.content, content_type=file.content_type)
    assert CONTENT_TYPES[kind] == f"image/{facts.format.lower()}"
    assert file.extension == kind


@pytest.mark.parametrize("kind", sorted(CONTENT_TYPES))
def test_photos_have_40_to_500_kb(kind: str) -> None:
    sizes = [len(make_photo(1, str(nth), kind).content) for nth in range(120)]
    assert min(sizes) >= 40 * KIB
    assert max(sizes) <= 500 * KIB


def test_ten_thousand_photos_have_ten_thousand_checksums() -> None:
    checksums = {
        hashlib.md5(make_photo(1, str(nth), kind_of(nth)).content, usedforsecurity=False).digest()
        for nth in range(10_000)
    }
    assert len(checksums) == 10_000


def test_the_same_seed_and_label_give_the_same_bytes_and_another_seed_others() -> None:
    assert make_photo(1, "a") == make_photo(1, "a")
    assert make_photo(1, "a").content != make_photo(2, "a").content


def test_most_photos_are_jpeg() -> None:
    kinds = [kind_of(nth) for nth in range(150)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"jpg": 141, "png": 6, "webp": 3}


def test_the_bomb_is_small_and_refused() -> None:
    content = bomb()
    assert len(content) < 500 * KIB
    with pytest.raises(BadImageError) as raised:
        check_image(content, content_type="image/png")
    assert raised.value.fault is Fault.TOO_LARGE
