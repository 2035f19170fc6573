"""The files of the mirror to the rows that product_image should have, and the files that name no product."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import pandas as pd

from imagesync_pipelines.connectors.folder.rules import RULES_VERSION, named, stem
from imagesync_pipelines.products.applying import Unmatched
from imagesync_pipelines.products.matching import Matcher, products_of
from imagesync_pipelines.products.rules import alt_text
from imagesync_pipelines.products.target import Values, image_key
from imagesync_pipelines.storage.contents import own_address

NO_NAME = "the name does not fit FOLDER_PATTERN"


@dataclass(frozen=True)
class FolderWanted:
    """What should be.

    wanted: the engine's columns; content is the hash of the picture, so that a new name of it is a rename. payload: key
    and the columns of target.Values, with metadata as text. unmatched: the files that name no product.
    """

    wanted: pd.DataFrame
    payload: pd.DataFrame
    unmatched: Unmatched


def plan_files(files: pd.DataFrame, products: pd.DataFrame, pattern: str, url: str) -> FolderWanted:
    """What should be, from the files of the mirror (key, sha256, width, height, format) and all products.

    url: where the catalogue is reached. A file belongs to one product at most.
    """
    products = products.assign(sku=products["sku"].str.normalize("NFC").str.strip())
    matcher = Matcher(products_of(products))
    skus = frozenset(products.loc[products["in_erp"], "sku"])
    compiled = re.compile(pattern)
    rows: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for file in files.to_dict(orient="records"):
        path, address = str(file["key"]), own_address(url, str(file["sha256"]))
        name = named(path, compiled, skus)
        match = matcher.match(name.sku) if name is not None else None
        if name is None or match is None or match.product is None:
            number = name.sku if name is not None else stem(path)
            near = [one._asdict() for one in matcher.nearest(number)] if name is not None else []
            lost.append(_unmatched(path, address, number, match.reason if match is not None else NO_NAME, near))
            continue
        product = match.product
        text = alt_text(product.name, name.view)
        parts = (RULES_VERSION, file["sha256"], address, text, name.is_front, name.priority, match.rule)
        rows.append(
            {
                "key": image_key(product.id, path),
                "group": str(product.id),
                "image_url": address,
                "thumbnail_url": None,
                "image_type": name.view,
                "is_front": name.is_front,
                "priority": name.priority,
                "alt_text": text,
                "metadata": json.dumps({"file": path, "sha256": file["sha256"]}, ensure_ascii=False),
                "fingerprint": blake2b(repr(parts).encode(), digest_size=16).hexdigest(),
                "original_url": f"sha256:{file['sha256']}",
                "newest_export": None,
                "matched_by": match.rule,
                "chosen_because": "the file as it is in the folder",
                "width": int(file["width"]),
                "height": int(file["height"]),
                "image_format": file["format"],
            }
        )
    payload = pd.DataFrame(rows, columns=["key", "group", *Values._fields])
    wanted = pd.DataFrame(
        {
            "key": payload["key"].astype("str"),
            "group": payload["group"].astype("str"),
            "position": pd.Series(pd.NA, index=payload.index, dtype="Int64"),
            "fingerprint": payload["fingerprint"].astype("str"),
            "content": payload["original_url"].astype("str"),
        }
    )
    return FolderWanted(wanted, payload.drop(columns="group"), Unmatched(_frame(lost), _frame([])))


def values_of(payload: pd.DataFrame) -> Mapping[str, Values]:
    """The values of product images by key, from the payload as a plan keeps it."""
    found = {}
    for row in payload.astype(object).where(payload.notna(), None).to_dict(orient="records"):
        values = {name: row[name] for name in Values._fields}
        values |= {"metadata": str(row["metadata"]).encode(), "is_front": bool(row["is_front"])}
        values |= {name: int(row[name]) for name in ("priority", "width", "height")}
        found[str(row["key"])] = Values(**values)
    return found


_COLUMNS = ("number", "variant", "external_id", "image_type", "image_url", "reason", "candidates")


def _unmatched(path: str, address: str, number: str, reason: str, near: list[dict[str, str]]) -> dict[str, Any]:
    return dict(zip(_COLUMNS, (number, "", path, "", address, reason, near), strict=True))


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(_COLUMNS))
