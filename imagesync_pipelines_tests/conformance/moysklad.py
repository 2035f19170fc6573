"""МойСклад in the conformance tests: one child account that shows all images of the main one."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image

from imagesync_pipelines.connectors.moysklad import downloads
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.faults import answer
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.lists import entity_json
from imagesync_pipelines.sandbox.moysklad.making import MAIN, catalogue, jpeg
from imagesync_pipelines.sandbox.moysklad.mutation import mutate
from imagesync_pipelines.sandbox.moysklad.server import variable
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
from imagesync_pipelines_tests.moysklad_installations import MoyskladWorld, moysklad_world

# The second one is in no accounts file.
CHILD, OTHER = "child-1", "child-2"
# Long enough that the call is still under way when its caller is killed; the stand-in carries it out all the same.
FOR_LONG = 6.0


@dataclass
class MoyskladSite(Site):
    """Five entities of three images, and one child account that has none of them."""

    world: MoyskladWorld
    blurred: ExitStack

    def sync(self, **options: Any) -> runs.RunOutcome:
        return self.world.sync(**options)[CHILD]

    def held(self) -> Held:
        return self.world.shown(CHILD)

    def wanted(self) -> Held:
        return self.world.shown(MAIN)

    def mains(self) -> Mapping[str, str]:
        child = self.world.sandbox.account(CHILD)
        lists = {entity.code or entity.article: child.images(entity.id) for entity in child.entities()}
        return {code: f"sha256:{hashlib.sha256(images[0][1]).hexdigest()}" for code, images in lists.items() if images}

    def stamps(self) -> object:
        child = self.world.sandbox.account(CHILD)
        return [(entity.id, child.images(entity.id)) for entity in child.entities()]

    def calls(self) -> int:
        return self.world.sandbox.calls()

    def blur(self) -> None:
        product = self.product(0)

        def shown(*given: Any) -> Any:
            row = entity_json(*given)
            if row["id"] == product:
                row["updated"] = "yesterday"
                for image in row["images"].get("rows", ()):
                    image["size"] = "much"
            return row

        self.blurred.enter_context(patch("imagesync_pipelines.sandbox.moysklad.lists.entity_json", shown))

    def product(self, nth: int) -> str:
        """The id of a product of the main account."""
        return str(self.world.main.by_code(f"product-1-0000{nth}").id)

    def change(self) -> None:
        mutate(self.world.main, "add_image", entity=self.product(0))
        mutate(self.world.main, "replace_image", entity=self.product(1))
        mutate(self.world.main, "remove_image", entity=self.product(1), place=2)

    @contextmanager
    def emptied(self) -> Iterator[None]:
        nothing = answer(200, '{"meta": {"size": 0, "limit": 1000, "offset": 0}, "rows": []}', "application/json")
        self.world.sandbox.faults.add(nothing.at("main assortment").for_good())
        yield
        self.world.sandbox.faults.clear()

    @contextmanager
    def nameless(self) -> Iterator[str]:
        product = self.product(2)

        def shown(*given: Any) -> Any:
            row = entity_json(*given)
            return {**row, "id": None} if row["id"] == product else row

        with patch("imagesync_pipelines.sandbox.moysklad.lists.entity_json", shown):
            yield "product-1-00002"

    def change_again(self) -> None:
        mutate(self.world.main, "replace_image", entity=self.product(0), place=3)
        mutate(self.world.main, "replace_image", entity=self.product(1))

    def drop(self, group: str, key: str) -> None:
        assert group.endswith(str(self.product(0)))
        mutate(self.world.main, "remove_image", entity=self.product(0), place=3)

    def meddle(self, group: str, key: str) -> None:
        main, child = self.world.main, self.world.sandbox.account(CHILD)
        (code,) = [entity.external_code for entity in main.entities() if group.endswith(str(entity.id))]
        there = child.by_code(code).id
        child.set_images(there, [(name, content) for name, content, _ in child.images(there)][:-1])

    def lose(self) -> None:
        for entity in self.world.main.entities():
            if entity.external_code != "product-1-00000" and self.world.main.images(entity.id):
                mutate(self.world.main, "remove_images", entity=entity.id)

    def leave(self) -> Callable[[], object]:
        main, product = self.world.main, self.product(2)
        images = [(name, content) for name, content, _ in main.images(product)]
        main.set_images(product, images[:-1])
        return lambda: main.set_images(product, images)

    @contextmanager
    def broken(self) -> Iterator[set[str]]:
        main, product = self.world.main, self.product(2)
        good = [(name, content) for name, content, _ in main.images(product)]
        main.set_images(product, [*good, ("движение.gif", _gif())])
        yield {"product-1-00002"}
        main.set_images(product, [*good, ("другой.jpg", jpeg("other", 40))])

    def stumbles(self) -> Mapping[str, AbstractContextManager[object]]:
        (name, *_), (_, checked, _) = (self.world.main.images(self.product(nth))[0] for nth in (0, 1))
        written = self.world.sandbox.account(CHILD).by_code("product-1-00002").id
        return {
            "product-1-00000": stumbling(MoyskladApi, "download", lambda _, row: row.filename == name),
            "product-1-00001": stumbling(downloads, "check_image", lambda body: body == checked),
            "product-1-00002": stumbling(MoyskladApi, "set_images", lambda _, kind, entity, parts: entity == written),
        }

    @contextmanager
    def rotated(self) -> Iterator[None]:
        again = self.world.sandbox.account(CHILD).add_principal("again", PrincipalKind.SOLUTION)
        with self.with_variables(**{variable(CHILD): again.token}):
            yield

    @contextmanager
    def another(self) -> Iterator[Callable[[], Held]]:
        with self.with_variables(**{variable(CHILD): self.environment[variable(OTHER)]}):
            yield lambda: self.world.shown(OTHER)

    @contextmanager
    def wrong_password(self) -> Iterator[str]:
        with self.with_variables(**{variable(CHILD): WRONG_PASSWORD}):
            yield f"moysklad {CHILD}"

    @contextmanager
    def unreachable(self) -> Iterator[set[str]]:
        with self.with_accounts(self.world.sandbox.api_url, NOBODY):
            yield {f"moysklad {CHILD}", f"moysklad {MAIN}"}

    @contextmanager
    def own_source(self) -> Iterator[bool]:
        with self.with_variables(**{variable(CHILD): self.environment[variable(MAIN)]}):
            yield True

    def assert_sound(self) -> None:
        shown = self.world.shown(CHILD)
        assert all(len(images) == len(set(images)) for images in shown.values()), "no image is there twice"

    def assert_done_once(self) -> None:
        assert self.world.sandbox.calls(CHILD, "images post") == 5, "one call per entity"

    def is_idle(self) -> bool:
        ledger = self.world.sandbox.ledger
        return not any(ledger.under_way(f"{CHILD} {door}") for door in ("images post", "list"))


def _gif() -> bytes:
    """A small whole GIF, which МойСклад does not take."""
    made = io.BytesIO()
    Image.new("P", (8, 8)).save(made, "GIF")
    return made.getvalue()


@contextmanager
def made(server: EmbeddedServer, folder: Path) -> Iterator[MoyskladSite]:
    """A site that was never synchronised."""
    accounts = catalogue(products=3, images=3, variants=1, bundles=1, children=2, side=60)
    with moysklad_world(server, folder, accounts) as running:
        running.write_accounts({CHILD: "all"})
        running.environment["MOYSKLAD_WORKERS"] = "1"
        with ExitStack() as blurred:
            yield MoyskladSite(running.environment, running, blurred)


def slow(endpoint: str, after: int) -> Moment:
    """A call to МойСклад that takes long, after so many of its kind; its end is waited for."""
    return slow_call(
        lambda site: site.world.sandbox.faults,
        lambda site: site.world.sandbox.ledger,
        endpoint,
        after,
        seconds=FOR_LONG,
        waits=True,
    )


SUBJECT = Subject(
    name="moysklad",
    settings=MoyskladSettings,
    account=CHILD,
    made=made,
    before_a_kill=lambda site: None,
    command=lambda site: ("sync", "moysklad"),
    moments={
        "reading the main account": slow("main assortment", 0),
        "finding counterparts": slow(f"{CHILD} list", 0),
        "downloading": slow("main download", 4),
        "writing": slow(f"{CHILD} images post", 2),
    },
    planned=slow(f"{CHILD} images post", 0),
    beside=slow(f"{CHILD} images post", 0),
    quiet_calls=1,
    # One entity of the main account, one of the child account.
    doctor_calls=2,
    quiet_events=51,
    quiet_connections=16,
    policies={
        "its mode": lambda site: site.world.write_accounts({CHILD: "first"}),
        "its ownership": lambda site: site.world.write_accounts({CHILD: "all"}, ownership='"mirror"'),
    },
    writes={"a list of images": lambda site: (f"{CHILD} images post", site.world.sandbox.faults)},
    # The source mirror and its cursor are durable state: what a dry run read is not read again.
    reading_writes=("cursor",),
    after_plan=("content", "child_images"),
    applies="child_images",
    whole={"full": True},
    automation=Automation(
        by_itself=(
            "moysklad__sync__hourly",
            "moysklad__sync__daily_full",
            "moysklad__requests",
            "moysklad__cleanup__daily",
        ),
        needs={"IMAGESYNC_ACCOUNTS": "accounts.toml"},
        schedule="moysklad__sync__hourly",
        partition_set="moysklad_accounts",
        accounts=(CHILD,),
        missing="no child accounts",
    ),
    wrong={
        "MOYSKLAD_WORKERS": ("6", "less than or equal to 5"),
        "MOYSKLAD_PACE_SHARE": ("0", "greater than 0"),
        "MOYSKLAD_FULL_SCHEDULE": ("daily", "five fields"),
        "MOYSKLAD_DOWNLOAD_TIMEOUT": ("0", "greater than"),
        "MOYSKLAD_TRIES": ("x", "valid integer"),
    },
)
