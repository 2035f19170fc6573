"""Signatures tell the same picture, changed, from another picture of much the same."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.alike_pictures import OTHER, SAME, as_jpeg, drawn, products
from imagesync_pipelines.imaging.signatures import SIGNATURE_BYTES, are_same, says_something, signature_of

# The made-up set says how often these are missed; see docs/quality.md.
MISSED = {"brighter by a tenth", "cropped by 12 %, into the product"}


def signatures(*pictures: Image.Image) -> NDArray[np.uint8]:
    read = b"".join(signature_of(as_jpeg(one)) for one in pictures)
    return np.frombuffer(read, np.uint8).reshape(-1, SIGNATURE_BYTES)


def test_the_same_picture_changed_is_the_same_and_another_one_of_much_the_same_is_not() -> None:
    product = products(2)[1]
    changed = {name: change(drawn(product)) for name, change in SAME.items() if name not in MISSED}
    others = {name: drawn(change(product)) for name, change in OTHER.items()}
    found = signatures(drawn(product), *changed.values(), *others.values())
    same = are_same(np.repeat(found[:1], len(found) - 1, axis=0), found[1:])
    assert dict(zip([*changed, *others], same.tolist(), strict=True)) == {
        **dict.fromkeys(changed, True),
        **dict.fromkeys(others, False),
    }


def test_plain_surfaces_say_nothing() -> None:
    plain = Image.new("RGB", (300, 200), "white"), Image.new("RGB", (1, 1)), drawn(products(1)[0])
    assert says_something(signatures(*plain)).tolist() == [False, False, True]
