"""Synchronisations that use nothing of quality, languages, logins and assistants: measured under either tree."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import start_runs


def definitions(home: Path, **given: Any) -> dict[str, Any]:
    """Every connector loaded, as a process of Dagster's does it."""
    return start_runs.made(home)


def image_db(home: Path, *, pages: str) -> dict[str, Any]:
    """A first synchronisation of a large catalogue, and one in which only stocks changed."""
    from benchmarks.image_db_large import measure
    from benchmarks.pages import read_made

    return measure(home, read_made(Path(pages)))


def edge(home: Path, *, photos: int) -> dict[str, Any]:
    """A first synchronisation of tiny photos."""
    from benchmarks.edge_first import measure

    return measure(home, photos)


def edge_again(home: Path, *, photos: int) -> dict[str, Any]:
    """Two later ones: nothing changed, and a hundredth."""
    from benchmarks.edge_catalogue import measure

    return measure(home, photos)


def plytix(home: Path, **given: Any) -> dict[str, Any]:
    """The demo's mapping file, twice, over HTTP."""
    from benchmarks.plytix_whole import measure

    return measure({"products": None, "strategy": "link"})


def moysklad(home: Path, *, products: int) -> dict[str, Any]:
    """A child account whose entities have no image, twice, over HTTP."""
    from benchmarks.moysklad_whole import measure

    return measure({"products": products, "images": products, "children": 1})


# What is loaded in the end is that of the connector alone, and of the stand-in that it speaks to.
WHAT: dict[str, Callable[..., dict[str, Any]]] = {
    "definitions": definitions, "runs": start_runs.image_db, "folder": start_runs.folder, "image_db": image_db,
    "edge": edge, "edge_again": edge_again, "plytix": plytix, "moysklad": moysklad,
}  # fmt: skip

if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    found = WHAT[arguments.pop("what")](Path(arguments.pop("home")), **arguments)
    print(json.dumps({**found, "modules": len(sys.modules)}))
