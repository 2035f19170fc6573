"""Made-up records and pages of the image database, in the contract's shape, for the tests beside this file."""

import json
from typing import Any

MEDIA = "https://media.example.com/media/"


def export(kind: str = "png", number: int = 1, size: tuple[int, int] | None = (300, 200), **changed: Any) -> dict:
    """One exported file; `changed` overrides any field."""
    name = f"{kind}-{number}"
    return {
        "id": number,
        "type": kind,
        "filename": name,
        "file_size": 59.6015625,
        "resolution": list(size) if size else None,
        "created": "2024-02-01T10:00:00.123456+00:00",
        "image_url": MEDIA + name,
        **changed,
    }


def placeholder(number: int = 9) -> dict:
    """The psd entry of newer records: keys are there, values are null."""
    return export("psd", number, None, filename=None, file_size=None, image_url=None)


def link(number: Any = "803721", variant: Any = "BE", front: Any = True, stock: Any = 4) -> dict:
    """One article of a record."""
    return {"number": number, "variant": variant, "front": front, "stock": stock}


def full_exports(first: int = 1) -> list[dict]:
    """The usual set: a 200-pixel PNG, two 1280-pixel JPEGs, a TIFF, the psd placeholder."""
    return [
        export("tiff", first, (7016, 4961)),
        export("png", first + 1, (300, 200)),
        export("jpg_g", first + 2, (1920, 1280)),
        export("jpg_k", first + 3, (1920, 1280)),
        placeholder(first + 4),
    ]


def record(file_id: Any = 1001, links: Any = None, exports: Any = None, **original: Any) -> dict:
    """One record; keyword arguments override fields of original_file."""
    return {
        "original_file": {
            "db_id": file_id,
            "file_id": file_id,
            "type": "Produktfoto",
            "format": "psd",
            "imported_at": "2023-05-02T10:00:00.123456+00:00",
            "is_processed": True,
            "uploaded_from": "Desktop app",
            "file_url": f"{MEDIA}original-{file_id}.psd",
            **original,
        },
        "exported_files": full_exports() if exports is None else exports,
        "articles": [link()] if links is None else links,
    }


def page(*records: Any, count: int | None = None, following: str | None = None) -> bytes:
    """One page as the API sends it; `following` is the next link."""
    envelope = {
        "count": len(records) if count is None else count,
        "next": following,
        "previous": None,
        "results": list(records),
    }
    return json.dumps(envelope).encode()
