"""Webhooks: who wants to hear of what, and telling them in 1,500 ms or not at all (docs/contracts/moysklad.md)."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from starlette.datastructures import Headers

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.answers import Json
from imagesync_pipelines.sandbox.moysklad.limits import MOSCOW
from imagesync_pipelines.sandbox.moysklad.model import EntityType, StockAccount, StockEntity

SECONDS, ATTEMPTS = 1.5, 4
AGENT = "MoySklad webhook touch agent"
DISABLE, DISABLE_BY_PREFIX = "x-lognex-webhook-disable", "x-lognex-webhook-disablebyprefix"
CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"
FIELDS = "FIELDS"
NO_HEADERS = Headers({})
_GOOD = (200, 204)


@dataclass(frozen=True)
class Webhook:
    """One wish to hear of an action on a kind of entity; `principal` is who made it."""

    id: str
    account: str
    principal: str
    entity_type: str
    action: str
    url: str
    diff_type: str = "NONE"
    enabled: bool = True


@dataclass(frozen=True)
class Event:
    """What happened to an entity; `fields` are those of an UPDATE."""

    entity_type: EntityType
    entity_id: str
    action: str
    fields: tuple[str, ...] = ()


def changed(account: StockAccount, entity: StockEntity, action: str, *fields: str) -> list[Event]:
    """Stamp an entity that was changed, and give what is to be told of it; images alone may do neither."""
    switches = account.switches
    only_images = fields == (switches.image_field_name,)
    if not only_images or switches.image_write_bumps_updated:
        entity.updated = account.clock.now()
    if only_images and not switches.image_write_fires_webhook:
        return []
    return [Event(entity.type, entity.id, action, fields)]


@dataclass(frozen=True)
class Delivery:
    """One telling: how many attempts it took, and whether it arrived or is lost for good."""

    request_id: str
    url: str
    body: Json
    attempts: int
    arrived: bool


class Webhooks:
    """The webhooks of all accounts and their sender, which works in a thread of its own. Safe between threads."""

    def __init__(self, root: str, clock: SandboxClock) -> None:
        self._root, self._clock = root, clock
        self._hooks: dict[str, Webhook] = {}
        self._waiting: deque[tuple[str, Json]] = deque()
        self._deliveries: list[Delivery] = []
        self._changed = threading.Condition()
        self._busy = self._stopped = False
        self._thread: threading.Thread | None = None

    def keep(self, hook: Webhook) -> None:
        """Add a webhook, or put another in its place."""
        with self._changed:
            self._hooks[hook.id] = hook

    def drop(self, hook_id: str) -> None:
        """Forget a webhook."""
        with self._changed:
            self._hooks.pop(hook_id, None)

    def of(self, account: str) -> list[Webhook]:
        """The webhooks of an account, oldest first."""
        with self._changed:
            return [hook for hook in self._hooks.values() if hook.account == account]

    def deliveries(self) -> tuple[Delivery, ...]:
        """What was told, or was given up."""
        with self._changed:
            return tuple(self._deliveries)

    def tell(self, account: StockAccount, events: Sequence[Event], headers: Headers = NO_HEADERS) -> None:
        """Things happened at once in an account: tell who wants to hear of them, unless the call's headers hush it."""
        if not events or "true" in headers.getlist(DISABLE):
            return
        # Without scheme and domain a prefix means nothing.
        prefixes = tuple(prefix for prefix in headers.getlist(DISABLE_BY_PREFIX) if urlsplit(prefix).netloc)
        for hook in self.of(account.id):
            wanted = [one for one in events if (one.entity_type, one.action) == (hook.entity_type, hook.action)]
            if not (hook.enabled and wanted) or hook.url.startswith(prefixes):
                continue
            with self._changed:
                self._waiting.append((hook.url, self._body(account, hook, wanted)))
                self._changed.notify_all()

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._send_all, name="sandbox-webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; what still waits is lost."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def wait(self, seconds: float = 10.0) -> None:
        """Wait until all that waits was sent or given up; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._waiting and not self._busy, seconds):
                raise TimeoutError(f"webhooks are still being sent after {seconds} s")

    def _send_all(self) -> None:
        with requests.Session() as session:
            # The receivers are on loopback, where no proxy of this machine can reach.
            session.trust_env = False
            while True:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: bool(self._waiting) or self._stopped)
                    if self._stopped:
                        return
                    url, body = self._waiting.popleft()
                    self._busy = True
                delivery = _deliver(session, url, body)
                with self._changed:
                    self._deliveries.append(delivery)

    def _body(self, account: StockAccount, hook: Webhook, events: Sequence[Event]) -> Json:
        at = self._clock.now().astimezone(MOSCOW)
        audit = {"meta": {"type": "audit", "href": f"{self._root}/audit/{uuid4()}"}, "uid": f"admin@{account.name}"}
        told: list[Json] = []
        for event in events:
            href = f"{self._root}/entity/{event.entity_type}/{event.entity_id}"
            one: Json = {"meta": {"type": event.entity_type.value, "href": href}, "action": event.action}
            if hook.diff_type == FIELDS and event.action == UPDATE:
                one["updatedFields"] = list(event.fields)
            told.append({**one, "accountId": account.id})
        return {"auditContext": {**audit, "moment": f"{at:%Y-%m-%d %H:%M:%S}"}, "events": told}


def _deliver(session: requests.Session, url: str, body: Json) -> Delivery:
    """One call and, at once, three more when it was not answered well; all with the same requestId."""
    request_id = str(uuid4())
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = session.post(
                url, params={"requestId": request_id}, json=body, headers={"User-Agent": AGENT}, timeout=SECONDS
            )
        except requests.RequestException:
            continue
        if answer.status_code in _GOOD:
            return Delivery(request_id, url, body, attempt, arrived=True)
    return Delivery(request_id, url, body, ATTEMPTS, arrived=False)
