"""What all accounts share: links to bytes (docs/contracts/moysklad.md), principals (2), webhooks; and one call."""

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers

from imagesync_pipelines.sandbox.answers import SentReply
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.limits import AT_ONCE, PrincipalKind, UnderWay, Units
from imagesync_pipelines.sandbox.moysklad.model import (
    EntityType,
    MoyskladSwitches,
    StockAccount,
    StockEntity,
    StockImage,
)
from imagesync_pipelines.sandbox.moysklad.webhooks import Event, Webhooks, changed

USUAL_SECONDS, MOST_SECONDS = 60, 86_400


@dataclass(frozen=True)
class Links:
    """Makes the links of both hosts; their URLs have no path."""

    storage_url: str
    cdn_url: str
    clock: SandboxClock
    key: bytes

    def original(self, account: StockAccount, image: StockImage, seconds: int = USUAL_SECONDS) -> str:
        """A link to an image's bytes that ends after so many seconds, within what МойСклад allows."""
        lasting = min(max(seconds, USUAL_SECONDS), MOST_SECONDS)
        path = f"/image-prod/image/{account.id}/goodimage/{image.file_id}"
        return self._signed(path, lasting, image.filename)

    def miniature(self, account: StockAccount, image: StockImage) -> str:
        """A link to the miniature that ends."""
        return self._signed(f"/image-prod/miniature/{account.id}/{image.file_id}", USUAL_SECONDS, "miniature.png")

    def permanent(self, account: StockAccount, image: StockImage) -> str:
        """The public link that does not end."""
        return f"{self.cdn_url}/{account.id}/image/{image.file_id}"

    def shown_miniature(self, account: StockAccount, image: StockImage) -> str:
        """The link to a miniature that was asked for once."""
        return f"{self.cdn_url}/miniature/{account.id}/documentminiature/{image.file_id}"

    def tiny(self, account: StockAccount, image: StockImage) -> str:
        """The link to the smallest picture."""
        return f"{self.cdn_url}/static/tinyimage/{account.id}/tinyimage/{image.file_id}/t.png"

    def is_good(self, path: str, signature: str, expires: str) -> bool:
        """Whether a signed link is ours and has not ended."""
        if not expires.isdecimal() or int(expires) <= self.clock.now().timestamp():
            return False
        return hmac.compare_digest(signature, self._signature(path, expires))

    def _signed(self, path: str, seconds: int, filename: str) -> str:
        expires = str(int(self.clock.now().timestamp()) + seconds)
        query = f"temp_url_sig={self._signature(path, expires)}&temp_url_expires={expires}&filename={quote(filename)}"
        return f"{self.storage_url}{path}?{query}"

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self.key, f"GET\n{expires}\n{path}".encode(), hashlib.sha256).hexdigest()


@dataclass
class Principal:
    """A user or a solution of an account; `units` and `under_way` are its own."""

    name: str
    account: StockAccount
    kind: PrincipalKind
    units: Units
    under_way: UnderWay = field(default_factory=lambda: UnderWay(AT_ONCE))
    token: str = ""
    login: str = ""
    password: str = ""
    may_write: bool = True


class Principals:
    """All principals by what they send. Safe between threads."""

    def __init__(self) -> None:
        self._by_header: dict[str, Principal] = {}
        self._lock = threading.Lock()

    def add(self, account: StockAccount, name: str, kind: PrincipalKind) -> Principal:
        """A new principal with a token of 40 hex digits; a user has a login and a password too."""
        principal = Principal(name, account, kind, Units(account.clock, account.switches))
        with self._lock:
            # The first token is the same at every start, so that another process can be told of it beforehand.
            self._give_token(principal, first_token(account.name, name))
            if kind is PrincipalKind.USER:
                principal.login, principal.password = f"{name}@{account.name}", secrets.token_hex(8)
                pair = f"{principal.login}:{principal.password}".encode()
                self._by_header[f"Basic {base64.b64encode(pair).decode()}"] = principal
        return principal

    def of(self, header: str) -> Principal | None:
        """Whose Authorization header this is."""
        return self._by_header.get(header)

    def issue(self, principal: Principal) -> str:
        """A new token; the one before is no good any more."""
        with self._lock:
            self._by_header.pop(f"Bearer {principal.token}", None)
            return self._give_token(principal, secrets.token_hex(20))

    def _give_token(self, principal: Principal, token: str) -> str:
        principal.token = token
        self._by_header[f"Bearer {token}"] = principal
        return token


def first_token(account: str, name: str) -> str:
    """The token that a principal has at the start: 40 hex digits."""
    return hashlib.sha256(f"{account}/{name}".encode()).hexdigest()[:40]


@dataclass(frozen=True)
class Office:
    """What all accounts share; `root` is the address of the API, with its path."""

    root: str
    links: Links
    clock: SandboxClock
    switches: MoyskladSwitches
    principals: Principals
    webhooks: Webhooks


@dataclass(frozen=True)
class Ask:
    """One call: `ids` are those in its path, `raw` the body as received, `body` the same decoded (None: empty).

    What happens to entities is noted in `events`.
    """

    office: Office
    account: StockAccount
    principal: Principal
    ids: Mapping[str, str]
    query: Mapping[str, str]
    headers: Headers
    body: Any
    raw: bytes
    events: list[Event] = field(default_factory=list)

    @property
    def type(self) -> EntityType:
        """The kind of entity that the path names."""
        return EntityType(self.ids["type"])

    def note(self, entity: StockEntity, action: str, *fields: str) -> None:
        """Something was done to an entity, which webhooks tell of."""
        self.events.extend(changed(self.account, entity, action, *fields))

    def entity(self) -> StockEntity:
        """The entity that the path names; raises the 404."""
        return self.account.entity(self.type, self.ids["entity"])


Endpoint = Callable[[Ask], SentReply]
