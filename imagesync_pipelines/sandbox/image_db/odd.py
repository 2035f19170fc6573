"""Records that break the contract's shape: one for each way, and garbage without end.

What belongs here: what a careless upstream could send and JSON can carry. What does not: legal rarities (specials.py).
"""

from copy import deepcopy
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.image_db.catalogue import Catalogue
from imagesync_pipelines.sandbox.image_db.records import MEDIA_ROOT, Record

LONG = 5000
_TEXTS = (
    "", " ", "null", "803721", " 803721 ", "-1", "1e9", "Straße", "日本語", "🦊", "a\x00b", "'; DROP TABLE product; --",
    "<script>alert(1)</script>", "../../etc/passwd", "NaN", "2025-02-30T25:61:61Z", "\u202eabc", MEDIA_ROOT + "x.png",
    "http://[::1", "javascript:alert(1)", "x" * LONG,
)  # fmt: skip
_NUMBERS = (0, 1, -1, 803721, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -0.0, 1e308, 5e-324)


def odd_records(catalogue: Catalogue) -> dict[str, object]:
    """One record for each way to be odd, by the name of the way; file_ids are new unless the way is about them.

    Deterministic from the catalogue; the catalogue itself is not changed, put them in with
    mutate("insert_record", record=…).
    """
    model = next(record for record in catalogue.records() if record["exported_files"] and record["articles"])
    odd: dict[str, object] = {}
    file_ids = iter(range(950_001, 951_000))

    def fresh() -> Record:
        record: Record = deepcopy(model)
        record["original_file"]["file_id"] = record["original_file"]["db_id"] = next(file_ids)
        return record

    def with_original(way: str, **values: Any) -> None:
        odd[way] = fresh()
        odd[way]["original_file"].update(values)  # type: ignore[index]

    def with_link(way: str, **values: Any) -> None:
        odd[way] = fresh()
        odd[way]["articles"][0].update(values)  # type: ignore[index]

    def with_export(way: str, **values: Any) -> None:
        odd[way] = fresh()
        for export in odd[way]["exported_files"]:  # type: ignore[index]
            export.update(values)

    with_original("file_id null", file_id=None, db_id=None)
    with_original("file_id of another record", file_id=model["original_file"]["file_id"], type="Szene")
    with_original("file_id as text", file_id="950999")
    with_original("file_id differs from db_id", db_id=1)
    with_original("file_id beyond 32 bits", file_id=2**53 + 1)
    with_original("type null", type=None)
    with_original("type in lower case", type="produktfoto")
    with_original("type with NUL", type="Produkt\x00foto")
    with_original("type of 5000 characters", type="T" * LONG)
    with_original("original URL of 5000 characters", file_url=MEDIA_ROOT + "u" * LONG)
    with_original("original URL no URL", file_url="C:\\Bilder\\foto.jpg")
    with_original("imported_at no time", imported_at="gestern")
    with_original("unknown key in the original", rotation=90)
    with_link("number as a whole number", number=803721)
    with_link("number as a fraction", number=803721.0)
    with_link("number with blanks", number=f" {model['articles'][0]['number']}\t")
    with_link("number null", number=None)
    with_link("number empty", number="")
    with_link("number in other digits", number="８０３７２１")
    with_link("number with NUL", number="8037\x0021")
    with_link("variant null", variant=None)
    with_link("front null", front=None)
    with_link("front as text", front="true")
    with_link("stock a fraction", stock=1.5)
    with_link("stock as text", stock="viel")
    with_export("export URL of 5000 characters", image_url=MEDIA_ROOT + "u" * LONG)
    with_export("export URL null everywhere", image_url=None)
    with_export("resolution null everywhere", resolution=None)
    with_export("resolution of one number", resolution=[200])
    with_export("resolution as text", resolution="200x300")
    with_export("resolution zero", resolution=[0, 0])
    with_export("resolution negative", resolution=[-200, 200])
    with_export("created null", created=None)
    with_export("created without zone", created="2025-01-01T10:00:00")
    with_export("file_size negative", file_size=-1.0)
    with_export("export type unknown", type="webp")
    with_export("export id null", id=None)

    odd["null everywhere"] = _all_null(fresh())
    odd["articles null"] = fresh() | {"articles": None}
    odd["articles missing"] = {key: value for key, value in fresh().items() if key != "articles"}
    odd["articles an object"] = fresh() | {"articles": {"number": "803721"}}
    odd["articles with a null"] = fresh() | {"articles": [None]}
    odd["exports null"] = fresh() | {"exported_files": None}
    odd["exports missing"] = {key: value for key, value in fresh().items() if key != "exported_files"}
    odd["exports with a text"] = fresh() | {"exported_files": ["png"]}
    odd["original null"] = fresh() | {"original_file": None}
    odd["original missing"] = {key: value for key, value in fresh().items() if key != "original_file"}
    odd["original a list"] = fresh() | {"original_file": []}
    odd["unknown key"] = fresh() | {"deleted": False}
    odd["record empty"] = {}
    odd["record null"] = None
    odd["record a text"] = "record"
    odd["record a list"] = [1, 2, 3]
    return odd


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


def _all_null(value: Any) -> Any:
    """The same keys with null behind each of them, file_id too."""
    if isinstance(value, dict):
        return {key: _all_null(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_all_null(inner) for inner in value]
    return None
