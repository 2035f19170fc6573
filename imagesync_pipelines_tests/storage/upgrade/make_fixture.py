"""Makes installation.tar.xz: one installation of all connectors, with all that an upgrade has to carry over.

It is to be run on the tree of commit 7115364, because the fixture is what that program left behind; newer trees keep
this file as the record of how it was made, and it does not run there.

    git checkout 7115364
    git checkout <the commit that added this file> -- imagesync_pipelines_tests/storage/upgrade
    python -m imagesync_pipelines_tests.storage.upgrade.make_fixture
"""

import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imagesync_pipelines.image_db.pinning import pin_image
from imagesync_pipelines.moysklad.queue import NewRequest, Queue, SetAside
from imagesync_pipelines.web.catalogue.keys import Scope, add_key
from imagesync_pipelines.web.catalogue.users import Role, set_user

from imagesync_pipelines import runs
from imagesync_pipelines.sandbox.faults import drip, server_error
from imagesync_pipelines.sandbox.head_office.watching import STATUS
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.storage.embedded import EmbeddedServer, ensure_server, stop_server
from imagesync_pipelines_tests.faults.commands import command
from imagesync_pipelines_tests.storage.upgrade.fixture import (
    ARCHIVE,
    DAGSTERS,
    DUMPED,
    HOME,
    OFFICE,
    OURS,
    STATE,
    dump,
    fresh_databases,
)
from imagesync_pipelines_tests.storage.upgrade.systems import STORES, Installed, Systems, installed, state_of, systems

USER, PASSWORD = "anna", "sandbox-only-password"
KEY = "shop"
# Long enough that the caller is killed while the answer drips in; the work was done before the answer began.
FOR_LONG = 4.0


def main() -> None:
    """Live through the installation's life and pack what is left of it."""
    folder = Path(tempfile.mkdtemp(prefix="imagesync-upgrade-"))
    server = ensure_server(folder / "server")
    try:
        _make(server, folder)
    finally:
        stop_server(folder / "server")
        shutil.rmtree(folder)
    print(f"{ARCHIVE.name}: {ARCHIVE.stat().st_size / 1e6:.2f} MB")  # noqa: T201


def _make(server: EmbeddedServer, folder: Path) -> None:
    place = folder / "place"
    with fresh_databases(server) as urls, systems(folder, urls[OFFICE]) as joined:
        dagsters = urls[DAGSTERS].replace("+psycopg:", "+psycopg2:")
        made = installed(place, joined, urls[OURS], dagsters, {name: urls[name] for name in STORES})
        ids = {
            **_image_db(made),
            **_edge(made, joined),
            **_plytix(made, joined, folder),
            **_moysklad(made, joined, folder),
            **_catalogue(made),
        }
        state = {"systems": state_of(joined), "ids": ids}
        (folder / STATE).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")
        for name in DUMPED:
            dump(urls[name], folder / f"{name}.sql")
    _pack(folder, place)


def _image_db(made: Installed) -> dict[str, Any]:
    """A synchronisation, a pin on what the rules would not choose, a run that its password failed."""
    assert made.image_db.sync().status is runs.Status.PARTIAL
    product, image = made.image_db.rows(
        """
        SELECT product_id, external_id FROM imagesync.product_image i
         WHERE NOT is_primary AND (SELECT count(*) FROM imagesync.product_image o WHERE o.product_id = i.product_id) > 1
         ORDER BY product_id, id LIMIT 1
        """
    )[0]
    with made.image_db.opened() as (installation, _):
        pin_image(installation.engine, product, image, USER)
    failed = made.image_db.sync({"IMAGE_API_PASSWORD": "an old one"})
    assert failed.status is runs.Status.FAILED
    return {"pin": [product, image], "image_db_failed": failed.run_id}


def _edge(made: Installed, joined: Systems) -> dict[str, Any]:
    """A store whose reports wait, with a photo that is none; a store that has a plan and nothing else."""
    joined.office.faults.add(server_error(503).at(STATUS).for_good())
    first = made.edge.sync("store1", {"EDGE_TRIES": "1"}, full=True)
    assert first.status is not runs.Status.FAILED, first.error
    joined.office.faults.clear()
    second = made.edge.sync("store2", dry_run=True)
    assert second.plan is not None
    return {"edge_plan": second.plan.id}


def _plytix(made: Installed, joined: Systems, folder: Path) -> dict[str, Any]:
    """A plan, and a run that was killed at its last call."""
    planned = made.plytix.sync(mapping="", dry_run=True)
    assert planned.plan is not None
    killed = _killed(
        made, joined.plytix, folder, ["sync", "plytix", "--execute"], "product patch", len(joined.plytix.products()) - 1
    )
    return {"plytix_plan": planned.plan.id, "plytix_killed": killed}


def _moysklad(made: Installed, joined: Systems, folder: Path) -> dict[str, Any]:
    """A child that was synchronised, one whose run was killed while it wrote, requests in every state."""
    first = made.moysklad.sync(accounts=["child-1"])["child-1"]
    assert first.status is runs.Status.COMPLETED, first.error
    words = ["sync", "moysklad", "--account", "child-2"]
    killed = _killed(made, joined.moysklad, folder, words, "child-2 images post", 2)
    with made.moysklad.opened() as (installation, _):
        queue, now = Queue(installation.engine), datetime.now(UTC)
        one, other, *_ = joined.moysklad.account(MAIN).entities()

        def wish(child: str, entity: Any, once: str) -> NewRequest:
            return NewRequest(child, str(entity.type), entity.id, json.dumps({"id": entity.id}), once=once)

        queue.add([wish("child-1", one, "done"), wish("child-2", one, "failed")], now)
        queue.finish("a run", [request.id for request in queue.take("child-1", "a run", now)], now)
        queue.dismiss("child-2", "The account was switched off.", now)
        queue.add([wish("child-1", other, "pending")], now)
        queue.add([SetAside('{"entity": 1}', "entity: should be a text")], now)
    return {"moysklad_killed": killed}


def _catalogue(made: Installed) -> dict[str, Any]:
    """A user who may do everything, and the key of a system."""
    with made.image_db.opened() as (installation, _):
        set_user(installation.engine, USER, Role.ADMIN, PASSWORD)
        key, _ = add_key(installation.engine, KEY, list(Scope))
    return {"user": [USER, PASSWORD], "key": key}


def _killed(made: Installed, stand_in: Any, folder: Path, words: Sequence[str], endpoint: str, calls: int) -> str:
    """Kill a command when a call was carried out and not answered, and have the run told as failed; gives its id."""
    ledger: CallLedger = stand_in.ledger
    ledger.clear()
    stand_in.faults.add(drip(FOR_LONG).at(endpoint).after(calls))
    with command(folder, made.environment, *words) as run:
        run.wait_until(lambda: ledger.under_way(endpoint) > 0 and ledger.count(endpoint) >= calls)
        run.kill()
    stand_in.faults.clear()
    while ledger.under_way(endpoint):
        time.sleep(0.05)
    with made.image_db.opened() as (_, instance):
        newest = instance.get_runs(limit=1)[0]
        assert newest.is_failure, newest.status
        return newest.run_id


def _pack(folder: Path, place: Path) -> None:
    """Pack the dumps, the state and the home, in a fixed order and without times and owners."""
    files = [folder / STATE, *(folder / f"{name}.sql" for name in DUMPED)]
    home = place / "home"
    found = {path: f"{HOME}/{path.relative_to(home)}" for path in sorted(home.rglob("*")) if path.is_file()}
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for path, name in {**{file: file.name for file in files}, **found}.items():
            entry = archive.gettarinfo(path, name)
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            with path.open("rb") as content:
                archive.addfile(entry, content)


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith(("IMAGESYNC_", "PLYTIX_", "MOYSKLAD_", "EDGE_"))]:
        del os.environ[variable]
    main()
