"""Thumbnails per second: the catalogue's recipe beside the plain one that everybody writes with Pillow."""

import io
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from PIL import Image

from imagesync_pipelines.imaging.derivatives import SIDES, Encoding, make_copy
from imagesync_pipelines.imaging.validation import check_image

WIDTH, HEIGHT, DIFFERENT = 3000, 2000, 8
OPTIONS = {Encoding.JPEG: {"quality": 82}, Encoding.WEBP: {"quality": 80}, Encoding.AVIF: {"quality": 60}}


def main(times: int) -> None:
    """Measure, and print the pictures per second of processor time as JSON."""
    originals = [_draw(seed) for seed in range(DIFFERENT)]
    bodies = originals * times
    rows = []
    for purpose in ("thumb", "small"):
        for encoding in (Encoding.WEBP, Encoding.AVIF, Encoding.JPEG):
            side = SIDES[purpose]
            makers = (partial(make_copy, side=side, encoding=encoding), partial(_plain, side=side, encoding=encoding))
            ours, plain = _rates(makers, bodies)
            rows.append({"what": f"{purpose}, {side} pixels, {encoding.name}", "ours": ours, "plain": plain})
    (checked,) = _rates((check_image,), bodies)
    print(json.dumps({"rows": rows, "checked": checked, "bytes": sum(map(len, originals)) // DIFFERENT}))


def _plain(body: bytes, side: int, encoding: Encoding) -> bytes:
    """What a tutorial says: open, convert, thumbnail, save. No orientation, no colours, no care for metadata."""
    with Image.open(io.BytesIO(body)) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side))
    target = io.BytesIO()
    small.save(target, encoding.name, **OPTIONS[encoding])
    return target.getvalue()


def _rates(makers: Sequence[Callable[[bytes], object]], bodies: Sequence[bytes]) -> list[float]:
    """Pictures per second of processor time; the makers take turns, so that all meet the same machine."""
    spent = [0.0] * len(makers)
    for nth, body in enumerate([bodies[0], *bodies]):
        for which, make in enumerate(makers):
            began = time.process_time()
            make(body)
            spent[which] += (time.process_time() - began) if nth else 0.0
    return [len(bodies) / seconds for seconds in spent]


def _draw(seed: int) -> bytes:
    """A JPEG as a camera makes them, six megapixels: soft shapes, fine enough not to be flat."""
    noise = random.Random(seed)
    blocks = Image.frombytes("RGB", (WIDTH // 20, HEIGHT // 20), noise.randbytes(WIDTH // 20 * (HEIGHT // 20) * 3))
    target = io.BytesIO()
    blocks.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(target, "JPEG", quality=88)
    return target.getvalue()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
