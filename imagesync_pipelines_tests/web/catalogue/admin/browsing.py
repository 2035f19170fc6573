"""A browser without scripts for the tests of the admin pages, and a small stand-in for Dagster's webserver."""

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import requests
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import User, UserRole
from imagesync_pipelines_tests.web.catalogue.world import Site, World

PASSWORD = "a long password"
RUN_ID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')


class Browser:
    """Keeps cookies, follows redirects, sends forms with their hidden fields; sees no script."""

    def __init__(self, site: Site) -> None:
        self.address = site.address
        self.session = requests.Session()

    def get(self, path: str, **headers: str) -> requests.Response:
        """Open a page."""
        return self.session.get(self.address + path, headers=headers, timeout=20)

    def post(self, path: str, data: Mapping[str, Any], **headers: str) -> requests.Response:
        """Send fields as they are."""
        return self.session.post(self.address + path, data=data, headers=headers, timeout=20)

    def send_form(self, page: str, action: str, **typed: Any) -> requests.Response:
        """Fill in the form of a page that goes to `action`, and send it."""
        return self.post(action, {**forms_of(self.get(page).text)[action], **typed})

    def log_in(self, name: str, password: str = PASSWORD) -> requests.Response:
        """Log in as people do."""
        return self.send_form("/login", "/login", name=name, password=password)

    def csrf(self) -> str:
        """The token of this session, as its pages have it."""
        return forms_of(self.get("/").text)["/logout"]["csrf"]


def forms_of(text: str) -> dict[str, dict[str, str]]:
    """The forms of a page that change something: hidden fields by action."""
    found: dict[str, dict[str, str]] = {}
    for attributes, inside in FORM.findall(text):
        if 'method="post"' in attributes:
            fields = {name: html.unescape(value) for name, value in HIDDEN.findall(inside)}
            for action in [*re.findall(r'action="([^"]*)"', attributes), *re.findall(r'formaction="([^"]*)"', inside)]:
                found[action] = fields
    return found


def named(text: str, name: str) -> list[str]:
    """What the forms of a page carry under a name, a line each."""
    return [line for value in re.findall(f'name="{name}" value="([^"]*)"', text) for line in value.split("\n") if line]


def person(world: World, name: str = "anna", role: UserRole = UserRole.ADMIN) -> User:
    """Somebody who may log in with PASSWORD."""
    return access.set_user(world.engine, name, role, PASSWORD)


@dataclass
class FakeDagster:
    """What the stand-in was asked, and what it answers: partitions by job, the status of the run."""

    address: str
    partitions: dict[str, list[str]] = field(default_factory=dict)
    status: str = "QUEUED"
    launched: list[dict[str, Any]] = field(default_factory=list)
    refuses: dict[str, Any] | None = None
    launch_status: int = 200

    def answer(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of an answer, with the types and fields of Dagster 1.13."""
        if "repositoriesOrError" in query:
            others = (
                "image_db__partial",
                "image_db__skus",
                "image_db__skus_dry_run",
                "image_db__apply",
                "image_db__undo",
                "image_db__take_away",
                "plytix__skus",
                "moysklad__entities",
                "quality__measure",
            )
            jobs = [{"name": name} for name in (*self.partitions, *others)]
            node = {"name": "__repository__", "location": {"name": "imagesync_pipelines"}, "jobs": jobs}
            return {"repositoriesOrError": {"__typename": "RepositoryConnection", "nodes": [node]}}
        if "pipelineOrError" in query:
            keys = self.partitions[variables["params"]["pipelineName"]]
            return {"pipelineOrError": {"__typename": "Pipeline", "partitionKeysOrError": {"partitionKeys": keys}}}
        if "launchRun" in query:
            self.launched.append(variables["params"])
            return {"launchRun": self.refuses or {"__typename": "LaunchRunSuccess", "run": {"runId": RUN_ID}}}
        if variables["id"] != RUN_ID:
            return {"runOrError": {"__typename": "RunNotFoundError", "message": "not found"}}
        tags = [{"key": "imagesync/started_by", "value": "anna"}]
        times = {"startTime": 1795262400.5, "endTime": None if self.status == "QUEUED" else 1795262460.5}
        run = {"runId": RUN_ID, "jobName": "image_db__sync", "status": self.status, "tags": tags, **times}
        return {"runOrError": {"__typename": "Run", **run}}


@contextmanager
def fake_dagster() -> Iterator[FakeDagster]:
    """The stand-in on a free port of loopback, with two blocks of pages and one account of each connector."""
    listener = bind()
    fake = FakeDagster(f"http://127.0.0.1:{listener.getsockname()[1]}")
    for kind in ("sync", "dry_run"):
        fake.partitions[f"folder__{kind}"] = []
        fake.partitions[f"image_db__{kind}"] = ["000001-000010", "000011-000020"]
        for connector, account in (("plytix", "main"), ("moysklad", "north"), ("edge", "store1")):
            fake.partitions[f"{connector}__{kind}"] = [account]
    app = FastAPI()

    @app.post("/graphql")
    async def graphql(request: Request) -> JSONResponse:
        asked = await request.json()
        status = fake.launch_status if "launchRun" in asked["query"] else 200
        return JSONResponse({"data": fake.answer(asked["query"], asked["variables"])}, status)

    with running((app, listener)):
        yield fake


def at_dagster(world: World, address: str) -> World:
    """The world with Dagster's webserver at an address; people open it at another one, through their login."""
    shared = Settings(webserver_url="https://dagster.example.com")
    settings = world.opened.settings.model_copy(update={"dagster_url": address})
    return World(world.engine, replace(world.opened, shared=shared, settings=settings))
