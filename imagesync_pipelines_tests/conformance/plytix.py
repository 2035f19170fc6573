"""Plytix in the conformance tests: one account, written with whole galleries and with single links."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.gallery import picture_key
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.amazon.listings import MAIN, make_listings
from imagesync_pipelines.sandbox.faults import FaultPlan
from imagesync_pipelines.sandbox.plytix.server import plytix_sandbox, secrets_of
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.conformance.subject import (
    NOBODY,
    WRONG_PASSWORD,
    Automation,
    Held,
    Moment,
    Site,
    Subject,
    slow_call,
    stumbling,
)
from imagesync_pipelines_tests.plytix_installations import (
    ALIAS,
    WIDE,
    PlytixWorld,
    file_name_of,
    plytix_world,
    products_of,
)
from imagesync_pipelines_tests.sandbox.mishaps import missing_image

# Long enough that the call is still under way when its caller is killed; the stand-in carries it out all the same.
FOR_LONG = 6.0
CALLS = ("product search", "asset create", "link", "product patch")


@dataclass
class PlytixSite(Site):
    """Four listings of three images, one of them a parent, and a Plytix that has none of the images."""

    world: PlytixWorld

    def sync(self, **options: Any) -> runs.RunOutcome:
        return self.world.sync(**options)

    def held(self) -> Held:
        names = {asset.id: asset.filename for asset in self.world.plytix.assets()}
        found = {}
        for listing in self.world.amazon.listings:
            thumbnail = self.world.plytix.thumbnail(listing.suggested_sku)
            found[listing.suggested_sku] = (
                self.world.shown(listing.suggested_sku),
                [names[thumbnail]] if thumbnail is not None else [],
            )
        return found

    def wanted(self) -> Held:
        return {
            listing.suggested_sku: (
                [file_name_of(image.picture.id) for image in listing.images],
                [file_name_of(image.picture.id) for image in listing.images if image.variant == MAIN],
            )
            for listing in self.world.amazon.listings
        }

    def mains(self) -> Mapping[str, str]:
        skus = [listing.suggested_sku for listing in self.world.amazon.listings]
        shown = {sku: self.world.plytix.thumbnail(sku) for sku in skus}
        return {sku: asset for sku, asset in shown.items() if asset is not None}

    def stamps(self) -> object:
        return self.held(), sorted((asset.id, asset.modified) for asset in self.world.plytix.assets())

    def calls(self) -> int:
        return self.world.calls()

    def children(self) -> list[str]:
        """The ASINs of the listings that are no parents."""
        return [listing.asin for listing in self.world.amazon.listings if not listing.is_parent]

    def write(self) -> None:
        """The mapping file says what Amazon has now."""
        self.world.write_mapping(self.world.amazon.listings, "list")

    def sign(self, number: int) -> None:
        self.write()
        mapping = self.world.mapping
        mapping.write_text(re.sub(r'(\.jpg)"', rf'\1?Expires={number}&Signature={number}"', mapping.read_text()))

    def blur(self) -> None:
        text = re.sub(r'"width": (\d+)', r'"width": "\1 px"', self.world.mapping.read_text())
        self.world.mapping.write_text(re.sub(r'"height": \d+', '"height": NaN', text))

    def change(self) -> None:
        amazon, (first, second, *_) = self.world.amazon, self.children()
        amazon.mutate("new_image", first, variant="PT03")
        amazon.mutate("new_image", second, variant="PT01")
        amazon.mutate("remove_image", second, variant="PT02")
        self.write()

    @contextmanager
    def emptied(self) -> Iterator[None]:
        self.world.write_mapping([], "list")
        yield
        self.write()

    @contextmanager
    def nameless(self) -> Iterator[str]:
        asin = self.children()[-1]
        (listing,) = (one for one in self.world.amazon.listings if one.asin == asin)
        self.world.spoil(self.world.mapping.read_text().replace(asin, "?"))
        yield listing.suggested_sku
        self.write()

    def change_again(self) -> None:
        first, second, *_ = self.children()
        self.world.amazon.mutate("new_image", first, variant="PT03")
        self.world.amazon.mutate("new_image", second, variant="PT01")
        self.write()

    def drop(self, group: str, key: str) -> None:
        first = self.children()[0]
        asin = group.rpartition("-")[2]
        self.world.amazon.mutate("remove_image", asin, variant="PT03" if asin == first else "PT01")
        self.write()

    def meddle(self, group: str, key: str) -> None:
        name = file_name(picture_key(key))
        self.world.plytix.mutate("remove_image", sku=group, position=self.world.shown(group).index(name))

    def lose(self) -> None:
        for asin in self.children():
            listing = next(one for one in self.world.amazon.listings if one.asin == asin)
            for image in listing.images:
                if image.variant in ("PT01", "PT02"):
                    self.world.amazon.mutate("remove_image", asin, variant=image.variant)
        self.write()

    def leave(self) -> Callable[[], object]:
        last = self.children()[-1]
        cut = [replace(one, images=one.images[:-1]) if one.asin == last else one for one in self.world.amazon.listings]
        self.world.write_mapping(cut, "list")
        return self.write

    @contextmanager
    def broken(self) -> Iterator[set[str]]:
        asin = self.children()[-1]
        listing = self.world.amazon.mutate("new_image", asin, variant="PT04")
        self.write()
        self.world.amazon.faults.add(missing_image(listing.images[-1].picture.id).for_good())
        yield {listing.suggested_sku}
        self.world.amazon.faults.clear()

    def stumbles(self) -> Mapping[str, AbstractContextManager[object]]:
        """Plytix reads the pictures itself."""
        read, written = (one for one in self.world.amazon.listings if one.asin in self.children()[:2])
        picture, product = read.images[1].picture.id, self.world.plytix.product(written.suggested_sku).id
        return {
            read.suggested_sku: stumbling(PlytixApi, "create_asset", lambda _, url, filename: picture in url),
            written.suggested_sku: stumbling(PlytixApi, "patch_product", lambda _, one, **__: one == product),
        }

    def number(self) -> int:
        return sum(len(self.world.shown(listing.suggested_sku)) for listing in self.world.amazon.listings)

    @contextmanager
    def wrong_password(self) -> Iterator[str]:
        with self.with_variables(**dict.fromkeys(secrets_of(self.world.plytix), WRONG_PASSWORD)):
            yield f"plytix {ALIAS}"

    @contextmanager
    def unreachable(self) -> Iterator[set[str]]:
        mine = self.world.plytix
        with (
            self.with_accounts(mine.url, NOBODY),
            self.with_accounts(mine.auth_url, NOBODY),
            self.with_variables(PLYTIX_SPAPI_TOKEN_URL=f"{NOBODY}/auth/o2/token"),
        ):
            yield {f"plytix {ALIAS}", "plytix amazon"}

    @contextmanager
    def another(self) -> Iterator[Callable[[], Held]]:
        """Each run logs in anew, so the token is another one every time; here the account is too."""
        mine = self.world.plytix
        products = products_of(self.world.amazon.listings)
        with (
            plytix_sandbox(products=products, limits=WIDE, fetch=self.world.amazon.fetch, name="other") as other,
            self.with_accounts(mine.url, other.url),
            self.with_accounts(mine.auth_url, other.auth_url),
        ):
            there = replace(self, world=replace(self.world, plytix=other))
            yield there.held

    def assert_sound(self) -> None:
        names = Counter(asset.filename for asset in self.world.plytix.assets())
        assert {name for name, number in names.items() if number > 1} == set(), "no picture is there twice"

    def assert_quiet(self, outcome: runs.RunOutcome) -> None:
        super().assert_quiet(outcome)
        assert outcome.report["links_created"] == outcome.report["images_uploaded"] == 0

    def assert_done_once(self) -> None:
        self.assert_sound()

    def is_idle(self) -> bool:
        return not any(map(self.world.plytix.ledger.under_way, CALLS))


@contextmanager
def made(server: EmbeddedServer, folder: Path) -> Iterator[PlytixSite]:
    """A site that was never synchronised."""
    with plytix_world(server, folder, make_listings(4, images=3, longest=300)) as running:
        running.environment.update(
            {
                "PLYTIX_WORKERS": "1",
                "PLYTIX_QUALITY_SAMPLE": "0",
                "PLYTIX_STRATEGY": "patch",
                "PLYTIX_REMOVE_MISSING": "true",
            }
        )
        site = PlytixSite(running.environment, running)
        site.write()
        yield site


def slow(strategy: str, endpoint: str, after: int) -> Moment:
    """A call to Plytix that takes long, after so many of its kind, when images are linked in this way."""
    call = slow_call(
        lambda site: site.world.plytix.faults, lambda site: site.world.plytix.ledger, endpoint, after, seconds=FOR_LONG
    )

    @contextmanager
    def moment(site: PlytixSite) -> Iterator[Any]:
        remove = "true" if strategy == "patch" else "false"
        site.environment.update({"PLYTIX_STRATEGY": strategy, "PLYTIX_REMOVE_MISSING": remove})
        with call(site) as reached:
            yield reached

    return moment


def writing(strategy: str, endpoint: str) -> Callable[[PlytixSite], tuple[str, FaultPlan]]:
    """A call that changes something in Plytix, when images are linked in this way."""

    def chosen(site: PlytixSite) -> tuple[str, FaultPlan]:
        remove = "true" if strategy == "patch" else "false"
        site.environment.update({"PLYTIX_STRATEGY": strategy, "PLYTIX_REMOVE_MISSING": remove})
        return endpoint, site.world.plytix.faults

    return chosen


SUBJECT = Subject(
    name="plytix",
    settings=PlytixSettings,
    account=ALIAS,
    made=made,
    before_a_kill=lambda site: None,
    command=lambda site: ("sync", "plytix", "--mapping", str(site.world.mapping), "--execute"),
    moments={
        "reading products": slow("link", "product search", 0),
        "uploading": slow("link", "asset create", 3),
        "linking": slow("link", "link", 4),
        "setting a thumbnail": slow("link", "product patch", 0),
        "patching": slow("patch", "product patch", 1),
    },
    planned=slow("patch", "asset create", 0),
    undoing=slow("patch", "product patch", 0),
    # The places of its rows are those of listings, which a gallery that is read again does not tell.
    undo_goes_on=False,
    beside=slow("link", "asset create", 0),
    quiet_calls=1,
    doctor_calls=1,
    quiet_events=60,
    quiet_connections=13,
    policies={
        "PLYTIX_STRATEGY": lambda site: site.environment.update(
            {"PLYTIX_STRATEGY": "link", "PLYTIX_REMOVE_MISSING": "false"}
        )
    },
    writes={
        "an upload": writing("patch", "asset create"),
        "a link": writing("link", "link"),
        "a thumbnail": writing("link", "product patch"),
        "a gallery": writing("patch", "product patch"),
    },
    after_plan=("assets", "product_images"),
    applies="product_images",
    automation=Automation(
        by_itself=("plytix__sync__daily", "plytix__new_mapping"),
        needs={"IMAGESYNC_ACCOUNTS": "accounts.toml", "PLYTIX_MAPPING_FOLDER": "mappings"},
        schedule="plytix__sync__daily",
        partition_set="plytix_accounts",
        accounts=(ALIAS,),
        missing="no Plytix accounts",
    ),
    wrong={
        "PLYTIX_STRATEGY": ("replace", "'link' or 'patch'"),
        "PLYTIX_PACE_SHARE": ("1.5", "less than or equal to 1"),
        "PLYTIX_GALLERY_ATTRIBUTE": ("Amazon Images", "match pattern"),
        "PLYTIX_SCHEDULE": ("daily", "five fields"),
        "PLYTIX_REMOVE_MISSING": ("true", "needs PLYTIX_STRATEGY=patch"),
    },
)
