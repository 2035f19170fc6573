"""What the photo server and the head office's downloads answered before they had fast lanes is what they answer now.

answers.json holds status, headers and body of each request here as the program of commit 7cee310 gave them.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.reusing import TEMPLATE, pool
from imagesync_pipelines_tests.web.attacking import Services, Told, all_services

RECORDED = Path(__file__).with_name("answers.json")

_NOBODY = "00000000-0000-0000-0000-00000000dead"
_PHOTO_TARGETS = [
    "/photos/{photo}",
    "/photos/{photo}?v={etag8}",
    "/photos/{photo}?v=00000000",
    "/photos/{photo}?v=%00",
    "/photos/{photo}?a=1",
    "/photos/{photo}?v={etag8}&v=1",
    "/photos/{PHOTO}",
    "/photos/{{photo}}",
    "/photos/urn:uuid:{photo}",
    f"/photos/{_NOBODY}",
    "/photos/x",
    "/photos/",
    "/photos/{photo}/",
    "/photos/%00",
    "/photos/{photo}%00",
    "/products/{of_product}/photo",
    "/products/{of_product}/photo?v={etag8}",
    f"/products/{_NOBODY}/photo",
    "/products/x/photo",
    "/products/{of_product}/photos",
]
_CONDITIONS: list[list[tuple[str, str]]] = [
    [],
    [("if-none-match", '"{etag}"')],
    [("if-none-match", 'W/"{etag}"')],
    [("if-none-match", "*")],
    [("if-none-match", "{etag}")],
    [("if-none-match", '"x", "{etag}"')],
    [("if-none-match", '"x"'), ("if-none-match", '"{etag}"')],
    [("if-none-match", '"\xff"')],
    [("if-none-match", "")],
    [("if-match", '"{etag}"')],
    [("if-match", '"x"')],
    [("if-match", "*"), ("if-none-match", '"{etag}"')],
    [("range", "bytes=0-9")],
    [("range", "bytes=5-")],
    [("range", "bytes=-3")],
    [("range", "bytes=0-1,4-5")],
    [("range", "bytes=999999999-")],
    [("range", "bytes=0-9"), ("if-range", '"{etag}"')],
    [("range", "bytes=0-9"), ("if-range", '"x"')],
    [("range", "bytes=0-9"), ("if-none-match", '"{etag}"')],
    [("range", "")],
]
# Of the other targets.
_SOME = ([], _CONDITIONS[1], [("range", "bytes=0-9")])
_DOWNLOAD = "/api/v1/sync/product-photos/{ho_photo}/download/"
_OFFICE_TARGETS = [
    f"{_DOWNLOAD}?store_id={{store}}",
    f"{_DOWNLOAD}?store_id={{other_store}}",
    f"{_DOWNLOAD}?store_id={_NOBODY}",
    f"{_DOWNLOAD}?store_id=x",
    f"{_DOWNLOAD}?store_id=",
    _DOWNLOAD,
    f"{_DOWNLOAD}?store_id={{store}}&a=1",
    f"{_DOWNLOAD}?store_id={{store}}&store_id={{other_store}}",
    f"{_DOWNLOAD}?store_id={{store}}&a=%00",
    f"{_DOWNLOAD[:-1]}?store_id={{store}}",
    f"/api/v1/sync/product-photos/{_NOBODY}/download/?store_id={{store}}",
    "/api/v1/sync/product-photos/x/download/?store_id={store}",
    "/api/v1/sync/product-photos/{ho_empty}/download/?store_id={store}",
    "/api/v1/sync/product-photos/{ho_lost}/download/?store_id={store}",
    "/api/v1/sync/product-photos/{ho_large}/download/?store_id={store}",
    "/api/v1/sync/product-photos/{ho_odd}/download/?store_id={store}",
]
_CALLERS = {
    "granted": "Bearer {access}",
    "nobody": None,
    "empty": "",
    "no token": "Bearer",
    "three parts": "Bearer a b",
    "small letters": "bearer {access}",
    "basic": "Basic eDp5",
    "not a token": "Bearer a.b.c",
    "refresh token": "Bearer {refresh}",
    "unsigned": "Bearer eyJhbGciOiJub25lIn0.e30.",
    "bytes": "Bearer \xff",
    "two spaces": "Bearer  {access}",
    "disabled": "Bearer {disabled}",
    "ended": "Bearer {ended}",
    "gone": "Bearer {gone}",
    "expired": "Bearer {expired}",
    "of all": "Bearer {of_all}",
}


def requests() -> Iterator[tuple[str, str, str, list[tuple[str, str]]]]:
    """Service, method, target and headers of every request."""
    for target, conditions, method in product(_PHOTO_TARGETS, _CONDITIONS, ("GET", "HEAD")):
        if target == _PHOTO_TARGETS[0] or conditions in _SOME:
            yield "photos", method, target, conditions
    yield "photos", "POST", _PHOTO_TARGETS[0], []
    granted = [("authorization", "Bearer {access}")]
    for conditions, method in product(_CONDITIONS, ("GET", "HEAD", "POST")):
        yield "office", method, _OFFICE_TARGETS[0], [*granted, *_of_office(conditions)]
    for target, method in product(_OFFICE_TARGETS, ("GET", "HEAD")):
        yield "office", method, target, granted
    for said in _CALLERS.values():
        yield "office", "GET", _OFFICE_TARGETS[0], [] if said is None else [("authorization", said)]
    yield "office", "GET", _OFFICE_TARGETS[0], [*granted, ("authorization", "Bearer x")]
    yield "office", "GET", _OFFICE_TARGETS[0], [("authorization", "Bearer x"), *granted]
    yield "office", "GET", _OFFICE_TARGETS[1], [("authorization", "Bearer {of_all}")]


def _of_office(conditions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value.replace("{etag}", "{ho_etag}")) for name, value in conditions]


def _name(asked: tuple[str, str, str, list[tuple[str, str]]]) -> str:
    return json.dumps(asked)


def _as_recorded(services: Services, told: Told) -> Any:
    """An answer without what is another one in every installation; a body that is no text by its hash."""

    def named(text: str) -> str:
        for name, value in services.values.items():
            if len(value) >= 8:
                text = text.replace(value, f"{{{name}}}")
        return text

    try:
        body = named(told.body.decode())
    except UnicodeDecodeError:
        body = hashlib.sha256(told.body).hexdigest()
    headers = {name: named(value) for name, value in told.headers.items()}
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    return [told.status, headers, body if len(body) < 2000 else hashlib.sha256(told.body).hexdigest()]


@pytest.fixture(scope="module")
def services(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All services over one database."""
    with all_services(pool(server, TEMPLATE).one(), tmp_path_factory.mktemp("answers")) as services:
        yield services


def test_every_answer_is_the_one_of_before(services: Services) -> None:
    found = {_name(asked): _as_recorded(services, services.ask(*asked)) for asked in requests()}
    recorded = json.loads(RECORDED.read_text())
    assert {name: found[name] for name in found if found[name] != recorded.get(name)} == {}
    assert len(found) == len(recorded) > 200
