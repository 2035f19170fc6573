"""Providers for the tests: a certified one of Node's registry, and one of ours that says whatever a test wants."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI, Request
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from pydantic import SecretStr
from starlette.responses import JSONResponse, Response

from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.web.catalogue.oidc.settings import CALLBACK, OidcSettings
from imagesync_pipelines.web.catalogue.state import Opened, with_oidc
from imagesync_pipelines_tests.web.catalogue.admin.browsing import Browser, forms_of

FOLDER = Path(__file__).parent / "provider"
CLIENT, SECRET = "catalogue", "a secret of the client"
ROLES = "shop-admins=admin staff=viewer"


def settings_for(issuer: str, catalogue: str, **more: Any) -> OidcSettings:
    """What an operator sets."""
    values: dict[str, Any] = {
        "issuer": issuer, "client_id": CLIENT, "client_secret": SecretStr(SECRET), "roles": ROLES,
        "redirect_url": f"{catalogue}{CALLBACK}", "scopes": "openid profile email groups", "label": "Our company",
    }  # fmt: skip
    return OidcSettings(**(values | more))


def at_provider(opened: Opened, issuer: str, catalogue: str, **more: Any) -> Opened:
    """The catalogue with a login there."""
    return with_oidc(replace(opened), settings_for(issuer, catalogue, **more))


@dataclass(frozen=True)
class RealProvider:
    """A certified provider in a process of its own, for a catalogue at one address."""

    issuer: str
    catalogue: str

    def person(self, subject: str, **claims: object) -> None:
        """Somebody who may sign in there; no claims: nobody, or nobody any more."""
        told = requests.put(f"{self.issuer}/people/{subject}", data=json.dumps(claims or None), timeout=10)
        assert told.status_code == 204

    def sign_in(self, browser: Browser, subject: str, start: str = "/login/oidc") -> requests.Response:
        """Go through its pages as a person does; what the catalogue answers at the end."""
        page = browser.get(start)
        while page.url.startswith(self.issuer):
            action, fields = next(one for one in forms_of(page.text).items() if "/interaction/" in one[0])
            typed = {"login": subject, "password": "any"} if fields["prompt"] == "login" else {}
            page = browser.session.post(action, data={**fields, **typed}, timeout=20)
        return page


@contextmanager
def real_provider(folder: Path) -> Iterator[RealProvider]:
    """The certified provider, installed into a folder; skipped where there is no Node, which is a failure in CI."""
    try:
        for name in ("package.json", "package-lock.json", "server.js"):
            shutil.copy(FOLDER / name, folder)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
        subprocess.run(["npm", "ci", *quiet], cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = f"the provider of npm's registry cannot be installed: {getattr(error, 'stderr', error)}"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    own, catalogues = bind(), bind()
    issuer, catalogue = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (own, catalogues))
    own.close()
    catalogues.close()
    command = ["node", "server.js", issuer, f"{catalogue}{CALLBACK}", f"{catalogue}/"]
    log = (folder / "log").open("w")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True) as process, log:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", (folder / "log").read_text()
            yield RealProvider(issuer, catalogue)
        finally:
            process.kill()


@dataclass
class LyingProvider:
    """A provider whose answers a test changes: keys, metadata, the claims and signature of its tokens."""

    address: str
    keys: list[RSAKey] = field(default_factory=lambda: [RSAKey.generate_key(2048, {"kid": "first"})])
    other_keys: list[Any] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[], Response] | None = None
    sign: Callable[["LyingProvider", dict[str, Any]], str] | None = None
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def id_token(self, **changed: Any) -> str:
        """A good token, but for what is changed; None takes a claim away."""
        now = int(time.time())
        claims = {"iss": self.address, "sub": "s1", "aud": CLIENT, "exp": now + 300, "iat": now, "groups": ["staff"]}
        claims = {name: value for name, value in {**claims, **self.claims, **changed}.items() if value is not None}
        return self.signed(claims) if self.sign is None else self.sign(self, claims)

    def signed(self, claims: Mapping[str, Any], alg: str = "RS256", key: Any = None, **header: Any) -> str:
        """A token by the newest key, or another one."""
        key = self.keys[-1] if key is None else key
        head = {"alg": alg, "kid": self.keys[-1].kid, **header}
        return jwt.encode(head, dict(claims), key, algorithms=[alg])


@contextmanager
def lying_provider() -> Iterator[LyingProvider]:
    """It, on a free port of loopback."""
    listener = bind()
    provider = LyingProvider(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = FastAPI()

    @app.get("/.well-known/openid-configuration")
    async def metadata() -> JSONResponse:
        at = provider.address
        told = {
            "issuer": at, "authorization_endpoint": f"{at}/auth", "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/jwks", "userinfo_endpoint": f"{at}/me",
        }  # fmt: skip
        return JSONResponse({**told, **provider.metadata})

    @app.get("/jwks")
    async def jwks() -> JSONResponse:
        provider.asked.append(("jwks", {}))
        told = KeySet(list(provider.keys)).as_dict(private=False)
        return JSONResponse({"keys": [*provider.other_keys, *told["keys"]]})

    @app.post("/token")
    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        provider.asked.append(("token", form))
        if provider.answer is not None:
            return provider.answer()
        answer = {"token_type": "Bearer", "access_token": "a", "refresh_token": "r", "id_token": provider.id_token()}
        return JSONResponse(answer)

    @app.get("/me")
    async def me() -> JSONResponse:
        return JSONResponse(provider.userinfo)

    with running((app, listener)):
        yield provider


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unchecked."""
    import base64

    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found
