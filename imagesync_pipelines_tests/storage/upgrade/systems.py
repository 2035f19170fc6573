"""The outside systems of the installation in the fixture, and the environment that joins the two.

Everything comes from seeds and stands at one moment: ids, bytes and stamps are those of the day the fixture was made.
Ports differ from start to start, and nothing that is remembered names one.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, make_listings
from imagesync_pipelines.sandbox.amazon.mapping import mapping_file, write_mapping
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox, amazon_sandbox
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.head_office.server import PASSWORD_VARIABLE, HeadOfficeSandbox, head_office_sandbox
from imagesync_pipelines.sandbox.head_office.server import accounts_of as edge_accounts
from imagesync_pipelines.sandbox.image_db.catalogue import build_catalogue
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines.sandbox.moysklad.making import MAIN, catalogue
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines.sandbox.moysklad.server import accounts_of as moysklad_accounts
from imagesync_pipelines.sandbox.moysklad.server import secrets_of as moysklad_secrets
from imagesync_pipelines.sandbox.plytix.server import GALLERY, PlytixSandbox, plytix_sandbox
from imagesync_pipelines.sandbox.plytix.server import accounts_of as plytix_accounts
from imagesync_pipelines.sandbox.plytix.server import secrets_of as plytix_secrets
from imagesync_pipelines_tests.edge_installations import EdgeWorld
from imagesync_pipelines_tests.installations import World
from imagesync_pipelines_tests.moysklad_installations import MoyskladWorld
from imagesync_pipelines_tests.places import environment_of
from imagesync_pipelines_tests.plytix_installations import WIDE, PlytixWorld, products_of
from imagesync_pipelines_tests.sandbox.image_db.odd import odd_records

BEGAN = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
RECORDS = 40
# The largest file_id when the fixture was made; from another range the same seed draws other ids.
LAST_FILE_ID = 930_363
# The media host has no port in its name, so that the addresses of pictures are always the same.
MEDIA_ROOT = "https://images.example/media/"
# Set aside as the records they are; a record that breaks the proof of a full scan is not among them.
SET_ASIDE = ("articles an object", "exports with a text")
# Of all seeds up to 24 the one with the smallest photos.
HEAD_OFFICE_SEED, PHOTOS = 16, 4
LISTINGS, LONGEST = 4, 120
ALIAS = "sandbox"
MODES = {"child-1": "all", "child-2": "all"}
STORES = ("store1", "store2")
NO_PICTURE = b"<html><body>Service unavailable</body></html>"

Steps = Sequence[Sequence[str]]
State = Mapping[str, Any]


class StoodClock(SandboxClock):
    """Stands at BEGAN until it is let go, then runs from there."""

    def __init__(self) -> None:
        super().__init__()
        self._let_go_at: float | None = None

    def let_go(self) -> None:
        """Run from now on."""
        self._let_go_at = time.monotonic()

    def now(self) -> datetime:
        """The sandbox's time, in UTC."""
        if self._let_go_at is None:
            return BEGAN
        return BEGAN + timedelta(seconds=time.monotonic() - self._let_go_at)


@dataclass(frozen=True)
class Systems:
    """The running stand-ins of all connectors."""

    image_db: Sandbox
    office: HeadOfficeSandbox
    amazon: AmazonSandbox
    plytix: PlytixSandbox
    moysklad: MoyskladSandbox


@dataclass(frozen=True)
class Installed:
    """One installation of all four connectors; every world has the same environment."""

    image_db: World
    edge: EdgeWorld
    plytix: PlytixWorld
    moysklad: MoyskladWorld
    environment: dict[str, str]


@contextmanager
def systems(folder: Path, office_url: str, state: State | None = None) -> Iterator[Systems]:
    """Run all stand-ins: as they begin, or in the state that `state_of` gave.

    office_url: the URL (driver psycopg) of an empty database for the head office.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clock = StoodClock()
    accounts = catalogue(products=3, images=2, variants=1, bundles=1, children=len(MODES), side=24)
    with (
        image_db_sandbox(
            build_catalogue(records=RECORDS, last_file_id=LAST_FILE_ID), clock=clock, stock_drift=False
        ) as image_db,
        head_office_sandbox(
            office_url, photos=PHOTOS, seed=HEAD_OFFICE_SEED, folder=folder / "office", clock=clock
        ) as office,
        amazon_sandbox(listings(), clock=clock) as amazon,
        plytix_sandbox(products=products_of(listings()), limits=WIDE, fetch=amazon.fetch, clock=clock) as plytix,
        moysklad_sandbox(accounts=accounts, clock=clock) as moysklad,
    ):
        image_db.switches.media_root = MEDIA_ROOT
        odd = odd_records(image_db.catalogue)
        for name in SET_ASIDE:
            image_db.mutate("insert_record", record=odd[name])
        office.mutate("replace_with", content=NO_PICTURE)
        made = Systems(image_db, office, amazon, plytix, moysklad)
        if state is not None:
            _fill_plytix(made, state["plytix"])
            _fill_children(moysklad, state["moysklad"])
        clock.let_go()
        yield made


def listings() -> tuple[AmazonListing, ...]:
    """What Amazon lists and the mapping file says."""
    return make_listings(LISTINGS, images=2, longest=LONGEST)


def installed(folder: Path, joined: Systems, ours: str, dagsters: str, stores: Mapping[str, str]) -> Installed:
    """An installation in `folder` of these systems; `stores` are the URLs of the stores' databases by name."""
    folder.mkdir(parents=True, exist_ok=True)
    accounts, mappings = folder / "accounts.toml", folder / "mappings"
    edge = "\n".join(edge_accounts(joined.office))
    for name, url in stores.items():
        edge = edge.replace(f"[edge.stores.{name}]", f'[edge.stores.{name}]\ndsn = "{url}"')
    plytix = "\n".join(plytix_accounts(joined.plytix.url, joined.plytix.auth_url, ALIAS))
    moysklad = "\n".join(moysklad_accounts(joined.moysklad.api_url, MODES))
    accounts.write_text(f"{edge}\n\n{plytix}\n\n{moysklad}\n", encoding="utf-8")
    mappings.mkdir(exist_ok=True)
    write_mapping(mapping_file(listings(), "list"), mappings / "mapping.json")
    parents, variants = joined.image_db.write_erp_csv(folder / "erp")
    environment = {
        **environment_of(folder, ours, dagsters),
        "IMAGESYNC_ACCOUNTS": str(accounts),
        "IMAGESYNC_LOCK_WAIT_SECONDS": "20",
        "IMAGESYNC_ALLOWED_IMAGE_HOSTS": "127.0.0.1",
        "IMAGE_API_URL": joined.image_db.url,
        "IMAGE_API_USERNAME": joined.image_db.username,
        "IMAGE_API_PASSWORD": joined.image_db.password,
        "IMAGE_DB_PAGES_PER_BLOCK": "2",
        "ERP_PARENTS_FILE": str(parents),
        "ERP_VARIANTS_FILE": str(variants),
        PASSWORD_VARIABLE: joined.office.password,
        **{f"{name}_DATABASE": url.rpartition("/")[2].partition("?")[0] for name, url in stores.items()},
        "PLYTIX_MAPPING_FOLDER": str(mappings),
        "PLYTIX_STRATEGY": "patch",
        "PLYTIX_WORKERS": "1",
        "PLYTIX_QUALITY_SAMPLE": "2",
        "PLYTIX_IMAGES_URL": joined.amazon.images_url,
        **plytix_secrets(joined.plytix),
        "MOYSKLAD_WORKERS": "1",
        **moysklad_secrets((MAIN, *MODES)),
    }
    return Installed(
        World(joined.image_db, environment),
        EdgeWorld(joined.office, environment),
        PlytixWorld(joined.amazon, joined.plytix, mappings / "mapping.json", environment),
        MoyskladWorld(joined.moysklad, accounts, environment),
        environment,
    )


def state_of(joined: Systems) -> dict[str, Any]:
    """What the installation has made of the systems that it writes to, so that `systems` can bring others there.

    plytix: file names of the assets in the order in which they came, and by SKU the gallery and the thumbnail.
    moysklad: by child, entity (external code) and file name of each image in the order in which they came.
    """
    names = {asset.id: asset.filename for asset in joined.plytix.assets()}
    galleries = {
        product.sku: {
            "gallery": [names[one] for one in product.media.get(GALLERY, [])],
            "thumbnail": names[product.thumbnail] if product.thumbnail else "",
        }
        for product in joined.plytix.products()
    }
    return {
        "plytix": {"assets": list(names.values()), "products": galleries},
        "moysklad": {child: _steps(joined.moysklad, child) for child in MODES},
    }


def _steps(moysklad: MoyskladSandbox, child: str) -> Steps:
    """Entity and file name of every image of a child, in the order in which their ids were given out."""
    handle = moysklad.account(child)
    order = {image_id: nth for nth, image_id in enumerate(handle.account.images)}
    found = [
        (order[image_id], entity.external_code, name)
        for entity in handle.entities()
        for name, _, image_id in handle.images(entity.id)
    ]
    return [[code, name] for _, code, name in sorted(found)]


def _fill_children(moysklad: MoyskladSandbox, steps: Mapping[str, Steps]) -> None:
    """Give the children these images of the main account, one by one, so that each gets the id that it had."""
    main = moysklad.account(MAIN)
    contents = {
        (entity.external_code, name): content
        for entity in main.entities()
        for name, content, _ in main.images(entity.id)
    }
    for child, images in steps.items():
        handle = moysklad.account(child)
        for code, name in images:
            entity = handle.by_code(code)
            shown = [(image.filename, image.content) for image in entity.images]
            handle.set_images(entity.id, [*shown, (name, contents[code, name])])


def _fill_plytix(joined: Systems, state: State) -> None:
    """Upload the assets in their order and set galleries and thumbnails, over HTTP as any client does."""
    pictures = {
        f"amazon_{image.picture.id.replace('+', '_')}.jpg": image.picture.url()
        for one in listings()
        for image in one.images
    }
    token = requests.post(
        f"{joined.plytix.auth_url}/auth/api/get-token",
        json={"api_key": joined.plytix.api_key, "api_password": joined.plytix.api_password},
        timeout=10,
    ).json()["data"][0]["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    ids = {}
    for name in state["assets"]:
        upload = {"url": pictures[name], "filename": name}
        answer = requests.post(f"{joined.plytix.url}/api/v1/assets", json=upload, headers=headers, timeout=10)
        answer.raise_for_status()
        ids[name] = answer.json()["data"][0]["id"]
    for product in joined.plytix.products():
        shown = state["products"][product.sku]
        body: dict[str, Any] = {"attributes": {GALLERY: [{"id": ids[name]} for name in shown["gallery"]]}}
        if shown["thumbnail"]:
            body["thumbnail"] = {"id": ids[shown["thumbnail"]]}
        url = f"{joined.plytix.url}/api/v1/products/{product.id}"
        requests.patch(url, json=body, headers=headers, timeout=10).raise_for_status()
    joined.plytix.ledger.clear()
