"""The made-up pages of the benchmarks: what the sandbox does not make are copies with ids and products of their own."""

import csv
import json
from pathlib import Path

import pytest

from benchmarks import pages


def read(made: pages.MadePages) -> tuple[list[dict], list[str]]:  # type: ignore[type-arg]
    """All records, and the ERP's numbers."""
    records = [record for body in made.bodies() for record in json.loads(body)["results"]]
    skus = []
    for path in (made.parents, made.variants):
        with path.open(encoding="utf-8", newline="") as file:
            skus += [row["sku"] for row in csv.DictReader(file)]
    return records, skus


def test_copies_have_ids_names_and_products_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MADE", 40)
    alone, few = read(pages.make_pages(tmp_path / "alone", 40, 20))
    made = pages.make_pages(tmp_path / "more", 110, 20)
    records, skus = read(made)
    assert records[:40] == alone
    assert len(skus) == len(set(skus)) == 3 * len(few)
    assert len({record["original_file"]["file_id"] for record in records}) == len(records) == made.images == 110
    exports = [export for record in records for export in record["exported_files"]]
    assert len({export["id"] for export in exports}) == len(exports) == made.exports
    urls = [export["image_url"] for export in exports if export["image_url"] is not None]
    assert len(set(urls)) == len(urls)
    links = [link["number"] for record in records for link in record["articles"]]
    assert len(links) == made.links
    known = [number in skus for number in links]
    first = [link["number"] in few for record in alone for link in record["articles"]]
    assert known[: len(first)] == first == known[len(first) : 2 * len(first)], "a copy is matched as the first was"
