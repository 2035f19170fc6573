"""Records that are garbage without end, for tests that must survive any."""

from copy import deepcopy
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.image_db.records import MEDIA_ROOT, Record
from imagesync_pipelines_tests.sandbox.image_db.odd import LONG

_TEXTS = (
    "", " ", "null", "803721", " 803721 ", "-1", "1e9", "Straße", "日本語", "🦊", "a\x00b", "'; DROP TABLE product; --",
    "<script>alert(1)</script>", "../../etc/passwd", "NaN", "2025-02-30T25:61:61Z", "\u202eabc", MEDIA_ROOT + "x.png",
    "http://[::1", "javascript:alert(1)", "x" * LONG,
)  # fmt: skip
_NUMBERS = (0, 1, -1, 803721, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -0.0, 1e308, 5e-324)


def fuzzed_record(rng: Random) -> Any:
    """Garbage that JSON can carry: an ordinary-looking record with some values replaced, or anything at all.

    About three quarters still have a legible file_id. Texts may hold NUL, never lone surrogates, which no UTF-8 server
    can send.
    """
    if rng.random() < 0.1:
        return _anything(rng, 3)
    file_id = rng.randrange(1_000_000, 2_000_000)
    record: Record = {
        "original_file": {
            "db_id": file_id,
            "file_id": file_id,
            "type": "Produktfoto",
            "format": "psd",
            "imported_at": "2024-05-01T10:00:00.000001+00:00",
            "is_processed": True,
            "uploaded_from": "Desktop app",
            "file_url": f"{MEDIA_ROOT}{file_id}.psd",
        },
        "exported_files": [
            {
                "id": nth,
                "type": kind,
                "filename": f"{file_id}_{nth}.png",
                "file_size": 59.6015625,
                "resolution": [300, 200],
                "created": "2024-05-01T10:05:00.000001+00:00",
                "image_url": f"{MEDIA_ROOT}{file_id}_{nth}.png",
            }
            for nth, kind in enumerate(rng.choices(("png", "jpg_k", "jpg_g", "tiff", "psd"), k=rng.randrange(4)))
        ],
        "articles": [
            {"number": str(rng.randrange(100_000, 1_000_000)), "variant": "BE", "front": True, "stock": 3}
            for _ in range(rng.randrange(4))
        ],
    }
    for _ in range(rng.randint(1, 4)):
        _spoil(rng, record)
    return record


def _spoil(rng: Random, part: Any) -> None:
    """Walk down to a random place and put something else there, take it away or add to it."""
    keys = list(part) if isinstance(part, dict) else list(range(len(part)))
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(part[key], dict | list) and part[key] and rng.random() < 0.85:
        _spoil(rng, part[key])
        return
    chance = rng.random()
    if chance < 0.75:
        part[key] = _anything(rng, 2)
    elif chance < 0.9:
        del part[key]
    elif isinstance(part, dict):
        part[rng.choice(_TEXTS)] = _anything(rng, 2)
    else:
        part.append(deepcopy(part[key]))


def _anything(rng: Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 5)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice(_NUMBERS)
    if kind in (3, 4):
        return rng.choice(_TEXTS)
    if kind == 5:
        return [_anything(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(_TEXTS): _anything(rng, depth - 1) for _ in range(rng.randrange(4))}
