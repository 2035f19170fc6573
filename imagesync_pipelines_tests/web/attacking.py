"""Every service in this process, asked with bytes as an attacker writes them: no client of HTTP tidies them up."""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import anyio
import jwt
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal, start_blocking_portal
from PIL import Image
from pydantic import SecretStr
from starlette.applications import Starlette

from imagesync_pipelines.connectors.edge.store import open_store, write_with_bytes
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.connectors.moysklad.incoming import QueueReceiver
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.storage.objects import embedded_s3, s3_client
from imagesync_pipelines.web import edge_photos
from imagesync_pipelines.web.catalogue import app as catalogue
from imagesync_pipelines.web.catalogue.access import KeyScope, UserRole, add_key, set_user
from imagesync_pipelines.web.catalogue.state import CatalogueSettings
from imagesync_pipelines.web.head_office import app as head_office
from imagesync_pipelines.web.head_office import tables
from imagesync_pipelines.web.head_office.accounts import add_account, grant, set_active
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines.web.head_office.tables import create_tables
from imagesync_pipelines.web.head_office.tokens import hash_password
from imagesync_pipelines.web.webhooks import app as webhooks
from imagesync_pipelines_tests.connectors.edge.photos import START, photo, picture
from imagesync_pipelines_tests.connectors.moysklad.names import NAMES
from imagesync_pipelines_tests.web.catalogue.world import open_world
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import PASSWORD, USERNAME, Shop, add_caller, open_shop

SESSIONS, TOKENS, HOOK = "sessions-secret-of-the-tests-0123", "tokens-secret-of-the-tests-01234", "hook-secret-0123456"


@dataclass(frozen=True)
class Told:
    """An answer: names of headers in small letters; error: what the service did not foresee."""

    status: int
    headers: dict[str, str]
    body: bytes
    error: BaseException | None = None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")


@dataclass(frozen=True)
class Services:
    """The applications by name; values: what {name} in a request stands for; secrets: what no answer may hold."""

    apps: dict[str, Starlette]
    portal: BlockingPortal
    values: dict[str, str]
    secrets: tuple[str, ...]

    def ask(
        self,
        service: str,
        method: str,
        target: str | bytes,
        headers: Sequence[tuple[str, str]] = (),
        body: str | bytes = b"",
    ) -> Told:
        """One request as its bytes are; texts are latin-1 (headers) or UTF-8, with {name} filled in."""
        path, _, query = self._filled(target).partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": unquote(path.decode("ascii")), "raw_path": path, "query_string": query,
            "root_path": "", "client": ("203.0.113.9", 40000), "server": ("testserver", 80), "state": {},
            "headers": [(b"host", b"testserver")] * (not any(name == "host" for name, _ in headers))
            + [(name.encode("latin-1"), self._filled(value, "latin-1")) for name, value in headers],
        }  # fmt: skip
        return self.portal.call(_answer, self.apps[service], scope, self._filled(body))

    def _filled(self, text: str | bytes, encoding: str = "utf-8") -> bytes:
        if isinstance(text, bytes):
            return text
        return re.sub(r"\{(\w+)\}", lambda found: self.values.get(found[1], found[0]), text).encode(encoding)


async def _answer(app: Starlette, scope: dict[str, Any], body: bytes) -> Told:
    said: list[Any] = []
    sent = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        # Who asks waits for the whole answer.
        return sent.pop() if sent else await anyio.sleep_forever()

    async def send(message: Any) -> None:
        said.append(message)

    error = None
    try:
        await app(scope, receive, send)
    except Exception as raised:
        error = raised
    if not said:
        return Told(0, {}, b"", error)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in said[0]["headers"]}
    return Told(said[0]["status"], headers, b"".join(one.get("body", b"") for one in said[1:]), error)


@contextmanager
def all_services(database: AbstractContextManager[str], folder: Path) -> Iterator[Services]:
    """The catalogue with its API, a photo server, a head office and the webhooks, over one database."""
    with database as url, start_blocking_portal() as portal, embedded_s3(folder / "objects") as place:
        engine = sa.create_engine(url, pool_size=20)
        world = open_world(engine, folder / "home")
        opened = replace(
            world.opened,
            settings=CatalogueSettings(page_size=3, rate_limit=1_000_000),
            session_secret=SecretStr(SESSIONS),
            clock=lambda: datetime.now(UTC),
        )
        product = world.product("803721", "Engel")
        set_user(engine, "anna", UserRole.ADMIN, PASSWORD)
        values = {"product": str(product), "image": str(world.image(product)), "hook": HOOK}
        values["key"], _ = add_key(engine, "shop", tuple(KeyScope))

        store = open_store(url)
        create_or_check(store)
        with store.engine.begin() as connection:
            write_with_bytes(connection, store.table, [(photo(1), picture(1))], START)
        values |= {"photo": photo(1).photo_id, "of_product": photo(1).product_id, "etag": photo(1).checksum}
        values |= {"PHOTO": photo(1).photo_id.upper(), "etag8": photo(1).checksum[:8]}

        create_tables(engine)
        client = s3_client(place)
        clock = opened.clock
        office = HeadOffice(engine, client, place.bucket, HeadOfficeSettings(), SecretStr(TOKENS), clock, place=place)
        add_caller(office)
        shop = open_shop(office)
        grant(office, USERNAME, shop.store)
        values["ho_photo"] = str(operators.put_photo(office, shop.product, _png(), filename="a.png"))
        values |= {"ho_etag": hashlib.md5(_png()).hexdigest(), **_odd_photos(office, shop)}
        values |= {"company": str(shop.company), "store": str(shop.store), "other_store": str(shop.other_store)}

        receiver = QueueReceiver(Queue(engine), NAMES, SecretStr(HOOK), clock)
        apps: dict[str, Starlette] = {
            "catalogue": catalogue.build_app(opened),
            "photos": edge_photos.build_app(store),
            "office": head_office.build_app(office),
            "hooks": webhooks.build_app("moysklad", receiver),
        }
        secrets = (SESSIONS, TOKENS, HOOK, url, "Traceback (most", "psycopg", "site-packages", "root:x:0", "argon2")
        services = Services(apps, portal, values, secrets)
        values |= _tokens(services) | _session(services) | _other_callers(services, office)
        yield services
        client.close()
        engine.dispose()
        store.engine.dispose()


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


def _odd_photos(office: HeadOffice, shop: Shop) -> dict[str, str]:
    """A large photo, one whose headers are not what its row says, one whose object is gone, one that has none."""
    found = {}
    for nth, (name, body) in enumerate(
        {"large": b"x" * 700_000, "odd": b"odd", "lost": b"lost", "empty": b"e"}.items()
    ):
        product = operators.add_product(office, shop.brand, f"sku {nth}", name)
        found[f"ho_{name}"] = str(operators.put_photo(office, product, body, filename=f'{name} "\u4e2d\u6587".jpg'))
    changes = {
        "odd": {"size": 5, "content_type": "text/html\r\nX-Evil: 1", "checksum": ""},
        "lost": {"object_key": "not/there.jpg"},
        "empty": {"object_key": "", "checksum": "", "size": 0},
    }
    with office.engine.begin() as connection:
        for name, values in changes.items():
            which = tables.photo.c.id == UUID(found[f"ho_{name}"])
            connection.execute(tables.photo.update().where(which).values(values))
    return found


def _other_callers(services: Services, office: HeadOffice) -> dict[str, str]:
    """Access tokens of accounts that had good ones."""
    found = {}
    for name in ("of_all", "disabled", "ended", "gone"):
        add_account(office, name, hash_password(PASSWORD), all_stores=True)
        found[name] = _tokens(services, name)["access"]
    set_active(office, "disabled", active=False)
    add_account(office, "ended", hash_password(PASSWORD), all_stores=True)
    with office.engine.begin() as connection:
        connection.execute(tables.account.delete().where(tables.account.c.username == "gone"))
    claims = jwt.decode(found["of_all"], TOKENS, algorithms=["HS256"])
    return {**found, "expired": jwt.encode({**claims, "exp": claims["iat"] - 1}, TOKENS, algorithm="HS256")}


def _tokens(services: Services, name: str = USERNAME) -> dict[str, str]:
    """A head office's tokens."""
    sent = json.dumps({"username": name, "password": PASSWORD})
    answer = services.ask("office", "POST", "/api/v1/token/", [("content-type", "application/json")], sent.encode())
    got = json.loads(answer.body)
    return {"access": got["access"], "refresh": got["refresh"]}


def _session(services: Services) -> dict[str, str]:
    """The cookie of an admin who is logged in, and what their forms carry."""
    form = services.ask("catalogue", "GET", "/login")
    cookie = {"cookie": form.headers["set-cookie"].partition(";")[0]}
    sent = f"name=anna&password={PASSWORD.replace(' ', '+')}&csrf={_csrf(form)}"
    kind = ("content-type", "application/x-www-form-urlencoded")
    answer = services.ask("catalogue", "POST", "/login", [kind, *cookie.items()], sent.encode())
    assert answer.status == 303, answer.text
    session = answer.headers["set-cookie"].partition(";")[0]
    return {"session": session, "csrf": _csrf(services.ask("catalogue", "GET", "/", [("cookie", session)]))}


def _csrf(answer: Told) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert found is not None
    return found[1]
