"""МойСклад in a process of its own, with large pictures: what another process needs for them is then its own memory."""

import json
import sys
import threading

from imagesync_pipelines.sandbox.moysklad.handle import NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.making import MAIN, noisy
from imagesync_pipelines.sandbox.moysklad.model import EntityType, NewEntity
from imagesync_pipelines.sandbox.moysklad.server import moysklad_sandbox

CHILD = "child"


def serve(products: int, images: int, size: int) -> None:
    """So many products with so many images of so many bytes each in main, and a child without."""
    bare = [NewEntity(EntityType.PRODUCT, f"Товар {nth}", f"t{nth}") for nth in range(products)]
    shown = [
        NewEntity(one.type, one.name, one.external_code, images=tuple(_images(one.external_code, images, size)))
        for one in bare
    ]
    accounts = (
        NewAccount(MAIN, tuple(shown), PrincipalKind.SOLUTION, permanent_links=True),
        NewAccount(CHILD, tuple(bare), PrincipalKind.SOLUTION),
    )
    with moysklad_sandbox(accounts=accounts) as box:
        tokens = {name: handle.token for name, handle in box.accounts.items()}
        print(json.dumps({"url": box.api_url, "tokens": tokens}), flush=True)
        threading.Event().wait()


def _images(code: str, images: int, size: int) -> list[tuple[str, bytes]]:
    return [(f"{code}-{nth}.png", noisy(f"{code}/{nth}", size)) for nth in range(images)]


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
