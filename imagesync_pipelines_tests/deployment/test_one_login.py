"""One login before catalogue and Dagster's UI, through the proxies of deploy/, with the files that are there."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
from fastapi import FastAPI, Request, WebSocket
from starlette.responses import JSONResponse

from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.web.catalogue.access import UserRole
from imagesync_pipelines.web.catalogue.admin.runs import dagster_of
from imagesync_pipelines.web.catalogue.app import COOKIE
from imagesync_pipelines.web.catalogue.state import CatalogueSettings
from imagesync_pipelines_tests.deployment.test_tools import composed, program
from imagesync_pipelines_tests.deployment.written import DEPLOY, env_example
from imagesync_pipelines_tests.web.catalogue.admin.browsing import Browser, person
from imagesync_pipelines_tests.web.catalogue.world import Site, open_world, serving

pytestmark = pytest.mark.deploy
OF_OAUTH2_PROXY = re.compile("OIDC_|LOGIN_|OAUTH2_PROXY_")


@dataclass(frozen=True)
class Behind:
    """Where the proxy stands, and what is behind it."""

    proxy: str
    catalogue: Site

    def ask(self, host: str, path: str, cookie: str = "") -> requests.Response:
        headers = {"Host": f"{host}.example.com", **({"Cookie": f"{COOKIE}={cookie}; other=1"} if cookie else {})}
        return requests.get(self.proxy + path, headers=headers, timeout=20, allow_redirects=False)

    def listen(self, cookie: str) -> int:
        """The status of opening the websocket of the UI."""
        asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        asked |= {"Host": "dagster.example.com", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        connection = HTTPConnection("127.0.0.1", int(self.proxy.rpartition(":")[2]), timeout=20)
        connection.request("GET", "/graphql", headers=asked | {"Cookie": f"{COOKIE}={cookie}"})
        with closing(connection):
            return connection.getresponse().status


def free_port() -> int:
    with bind() as listener:
        return int(listener.getsockname()[1])


def nginx(folder: Path, port: int, catalogue: int, dagster: int) -> list[str | Path]:
    """Its command, and the file as deploy/ has it, but for TLS and ports."""
    text = (DEPLOY / "proxy" / "one-login.nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"ssl_\w+ .*;", "", text).replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    text = text.replace("127.0.0.1:8830", f"127.0.0.1:{catalogue}").replace("127.0.0.1:3000", f"127.0.0.1:{dagster}")
    whole = folder / "nginx.conf"
    paths = "".join(f"{name}_temp_path {folder}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    head = f"daemon off; user {'root' if os.geteuid() == 0 else 'nobody'}; pid {folder}/pid; events {{}}"
    whole.write_text(f"{head} http {{ access_log off; {paths} {text} }}")
    return [program("nginx"), "-e", "stderr", "-p", folder, "-c", whole]


def caddy(folder: Path, port: int, catalogue: int, dagster: int) -> list[str | Path]:
    """The same of Caddy."""
    text = (DEPLOY / "proxy" / "one-login.Caddyfile").read_text(encoding="utf-8")
    text = re.sub(r"^(\w+)\.\{\$DOMAIN\} \{", rf"http://\1.{{$DOMAIN}}:{port} {{", text, flags=re.MULTILINE)
    text = text.replace(":8080", f":{free_port()}").replace("catalogue:8830", f"127.0.0.1:{catalogue}")
    text = text.replace("webserver:3000", f"127.0.0.1:{dagster}")
    file = folder / "Caddyfile"
    file.write_text(text)
    return [program("caddy"), "run", "--config", file, "--adapter", "caddyfile"]


@contextmanager
def started(command: list[str | Path], folder: Path, port: int) -> Iterator[None]:
    folders = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    environment = {**os.environ, **folders, "DOMAIN": "example.com", "ACME_EMAIL": "operator@example.com"}
    log = folder / "log"
    with log.open("w") as said, subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process:
        try:
            for _ in range(200):
                assert process.poll() is None, log.read_text()
                try:
                    requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                    break
                except requests.ConnectionError:
                    time.sleep(0.05)
            yield
        finally:
            process.terminate()


@pytest.fixture(params=[nginx, caddy])
def behind(request: pytest.FixtureRequest, database: sa.Engine, tmp_path: Path) -> Iterator[Behind]:
    """A catalogue and something that stands for Dagster's UI, behind one of the proxies."""
    world = open_world(database, tmp_path)
    shared = Settings(webserver_url="https://dagster.example.com")
    settings = world.opened.settings.model_copy(update={"cookie_domain": "example.com"})
    for name, role in (("anna", UserRole.ADMIN), ("bert", UserRole.VIEWER)):
        person(world, name, role)
    dagster, listener, port = FastAPI(), bind(), free_port()

    @dagster.get("/{path:path}")
    async def ui(asked: Request) -> JSONResponse:
        return JSONResponse({"address": str(asked.url), "cookie": asked.headers.get("cookie", "")})

    @dagster.websocket("/graphql")
    async def runs(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    make: Callable[..., list[str | Path]] = request.param
    opened = replace(world.opened, shared=shared, settings=settings)
    with running((dagster, listener)), serving(opened) as site:
        command = make(tmp_path, port, int(site.address.rpartition(":")[2]), listener.getsockname()[1])
        with started(command, tmp_path, port):
            yield Behind(f"http://127.0.0.1:{port}", site)


def cookie_of(behind: Behind, name: str) -> str:
    """A session, from the catalogue through the proxy's own host for it."""
    browser = Browser(behind.catalogue)
    page = browser.get("/login")
    assert "domain=example.com" in page.headers["Set-Cookie"].lower()
    fields = {"csrf": re.findall(r'name="csrf" value="([^"]+)"', page.text)[0], "name": name, "next": ""}
    fields["password"] = "a long password"
    headers = {"Host": "images.example.com", "Cookie": page.headers["Set-Cookie"].partition(";")[0]}
    answer = requests.post(f"{behind.proxy}/login", fields, headers=headers, timeout=20, allow_redirects=False)
    assert answer.status_code == 303
    return answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]


def test_one_session_opens_the_catalogue_and_to_admins_dagsters_ui(behind: Behind) -> None:
    away = behind.ask("dagster", "/runs?page=2")
    assert away.status_code == 302
    wanted = r"https://images\.example\.com/login\?next=https?://dagster\.example\.com(:\d+)?/runs\?page=2"
    assert re.fullmatch(wanted, away.headers["Location"])
    anna, bert = cookie_of(behind, "anna"), cookie_of(behind, "bert")
    seen = behind.ask("dagster", "/runs?page=2", anna)
    assert (seen.status_code, seen.json()["cookie"]) == (200, "")
    assert seen.json()["address"].endswith("/runs?page=2")
    assert behind.ask("dagster", "/runs", bert).status_code == 403
    # The UI listens to its runs over a websocket.
    assert [behind.listen(cookie) for cookie in (anna, bert, "")] == [101, 403, 302]
    assert behind.ask("dagster", "/runs", f"{anna[:-2]}xx").status_code == 302
    # What the proxy asks is no page of Dagster's host, and numbers are for those inside.
    assert behind.ask("dagster", "/login/check").status_code in {302, 404}
    assert behind.ask("images", "/metrics", anna).status_code == 404
    page = behind.ask("images", "/", anna)
    assert "<strong>anna</strong>" in page.text
    token = re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]
    headers = {"Host": "images.example.com", "Cookie": f"{COOKIE}={anna}"}
    requests.post(f"{behind.proxy}/logout", {"csrf": token}, headers=headers, timeout=20, allow_redirects=False)
    assert behind.ask("dagster", "/runs", anna).status_code == 302


def test_the_catalogue_starts_runs_past_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (DEPLOY / "proxy" / "one-login.nginx.conf").read_text(encoding="utf-8")
    head, _, rest = text.partition("\nmap ")
    told = dict(re.findall(r"((?:IMAGESYNC|CATALOGUE)_\w+)=([^\s,]+?)[.:]?(?=[\s,])", head))
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    opened = replace(
        open_world(sa.create_engine("postgresql+psycopg://"), tmp_path).opened,
        shared=load_settings(Settings),
        settings=load_settings(CatalogueSettings),
    )
    assert opened.shared.webserver_url == "https://dagster.example.com"
    behind_login = rest.split("server_name dagster.example.com;")[1].split("location / {")[1]
    assert re.findall(r"proxy_pass ([^;]+);", behind_login)[0] == dagster_of(opened).address


def test_compose_leaves_oauth2_proxy_out_with_one_login(tmp_path: Path) -> None:
    given = {name: "-" if OF_OAUTH2_PROXY.match(name) else value for name, value in env_example().items()}
    done = composed(given, tmp_path, "one-login.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "one-login.Caddyfile" in done.stdout
    assert "oauth2" not in done.stdout
