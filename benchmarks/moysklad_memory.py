"""The memory of the МойСклад connector: large pictures for few and for many products, МойСклад in another process."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.measuring import Stopwatch, quiet_environment
from benchmarks.moysklad_server import CHILD
from imagesync_pipelines.connectors.moysklad.accounts import Mode, MoyskladAccount, MoyskladChild, Ownership, TokenKind
from imagesync_pipelines.connectors.moysklad.apply_steps import apply_plan, fetch_content
from imagesync_pipelines.connectors.moysklad.child import ChildRun
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.mapping import map_entities
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.connectors.moysklad.plan_step import make_plan
from imagesync_pipelines.connectors.moysklad.reading import read_main_account
from imagesync_pipelines.connectors.moysklad.settings import ChildPlanOptions, ChosenEntities, MoyskladSettings
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.steps import RunContext

RUN = "first"
LOOPBACK = frozenset({"127.0.0.1"})


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """One synchronisation; a span for content, and one for writing the lists."""
    watch = Stopwatch()
    with (
        tempfile.TemporaryDirectory(prefix="imagesync-bench-") as home,
        open_installation(Settings(home=Path(home))) as place,
        _served(arguments) as server,
        _api(place, server, MAIN) as main,
        _api(place, server, CHILD) as child,
    ):
        section = MoyskladChild.model_construct(account=child.account, mode=Mode.ALL, ownership=Ownership.MIRROR)
        run = ChildRun(RunContext(NAME, CHILD, Lineage(RUN), place, MoyskladSettings()), section)
        read_main_account(run.context, main)
        map_entities(run, child, ChosenEntities())
        make_plan(run, child, main, ChildPlanOptions())
        with watch.step("content"):
            fetch_content(run, main)
        with watch.step("lists of images"):
            done = apply_plan(run, child)
        return {"spans": watch.as_json(), "written": done.summary.images_added if done.summary else 0}


@contextmanager
def _served(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The address and the tokens of the stand-in, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.moysklad_server", json.dumps(arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet_environment()) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()


def _api(place: Installation, server: dict[str, Any], name: str) -> AbstractContextManager[MoyskladApi]:
    account = MoyskladAccount.model_construct(
        name=name,
        url=server["url"],
        token=SecretStr(server["tokens"][name]),
        token_kind=TokenKind.SOLUTION,
        permanent_links=name == MAIN,
    )
    return closing(MoyskladApi(account, MoyskladSettings(), place.engine, allowed_hosts=LOOPBACK))


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
