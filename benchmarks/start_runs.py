"""One start, or a run in which nothing changed: what is measured by benchmarks/start.py under either tree."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch

PICTURES = 500


def imported(home: Path, **given: Any) -> dict[str, Any]:
    """The definitions imported, as every process of Dagster's does it that loads the code location."""
    import_module("imagesync_pipelines.definitions")
    return {}


def made(home: Path, **given: Any) -> dict[str, Any]:
    """The same, and made, which loads every connector."""
    import_module("imagesync_pipelines.definitions").defs()
    return {}


def shown(home: Path, **given: Any) -> dict[str, Any]:
    """The list of all commands."""
    command = [sys.executable, "-m", "imagesync_pipelines.cli.main", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {}


def image_db(home: Path, *, images: int) -> dict[str, Any]:
    """The image database's stand-in over HTTP on loopback."""
    from imagesync_pipelines.sandbox.image_db.server import image_db_sandbox

    with image_db_sandbox(records=images) as sandbox:
        parents, variants = sandbox.write_erp_csv(home)
        os.environ |= {
            "IMAGESYNC_HOME": str(home),
            "IMAGE_API_URL": sandbox.url,
            "IMAGE_API_USERNAME": sandbox.username,
            "IMAGE_API_PASSWORD": sandbox.password,
            "ERP_PARENTS_FILE": str(parents),
            "ERP_VARIANTS_FILE": str(variants),
        }
        return _nothing_changed("image_db")


def folder(home: Path, **given: Any) -> dict[str, Any]:
    """A folder of pictures, one of each product."""
    import sqlalchemy as sa
    from PIL import Image

    from imagesync_pipelines.storage.installation import open_installation

    pictures = home / "pictures"
    pictures.mkdir()
    for number in range(PICTURES):
        Image.new("RGB", (30, 20), number).save(pictures / f"A{number}_1.png")
    where = {"FOLDER_PATH": str(pictures), "FOLDER_URL": "https://images.example.com"}
    os.environ |= {"IMAGESYNC_HOME": str(home), **where}
    products = (
        "INSERT INTO imagesync.product (kind, erp_id, sku, name) "
        f"SELECT 'variant', 'A' || n, 'A' || n, 'Product ' || n FROM generate_series(0, {PICTURES - 1}) n"
    )
    with open_installation() as place, place.engine.begin() as connection:
        connection.execute(sa.text(products))
    return _nothing_changed("folder")


def _nothing_changed(connector: str) -> dict[str, Any]:
    """The third of three runs over the same source."""
    from imagesync_pipelines.defs import runs

    # The embedded server stays up, as beside a daemon.
    with runs.opened():
        for _ in range(2):
            runs.only(runs.sync(connector))
        watch = Stopwatch()
        with _connections() as number, watch.step("nothing changed"):
            outcome = runs.only(runs.sync(connector))
        changed = [outcome.summary[name] for name in ("images_added", "images_updated", "images_deleted")]
        if outcome.status is runs.Status.FAILED or any(changed):
            raise AssertionError(f"{connector}: {outcome.status}, {changed}, {outcome.error}")
        with runs.opened() as (_, instance):
            events = len(instance.all_logs(outcome.run_id))
    return {"spans": watch.as_json(), "connections": number[0], "events": events}


@contextmanager
def _connections() -> Iterator[list[int]]:
    """How many connections to any database this process makes in a `with` block."""
    import sqlalchemy as sa

    number = [0]

    def note(_connection: object, _record: object) -> None:
        number[0] += 1

    sa.event.listen(sa.pool.Pool, "connect", note)
    try:
        yield number
    finally:
        sa.event.remove(sa.pool.Pool, "connect", note)


WHAT: dict[str, Callable[..., dict[str, Any]]] = {
    "import": imported, "definitions": made, "help": shown, "image_db": image_db, "folder": folder,
}  # fmt: skip

if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    place = Path(arguments.pop("home"))
    print(json.dumps(WHAT[arguments.pop("what")](place, **arguments)))
