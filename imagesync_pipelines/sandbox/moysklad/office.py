"""What every endpoint is given: the call that is answered, and what all accounts share.

What belongs here: those two. What does not: the endpoints.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.answers import Answer
from imagesync_pipelines.sandbox.moysklad.links import Links
from imagesync_pipelines.sandbox.moysklad.model import Account, Entity, EntityType
from imagesync_pipelines.sandbox.moysklad.principals import Principal, Principals
from imagesync_pipelines.sandbox.moysklad.switches import Switches
from imagesync_pipelines.sandbox.moysklad.webhooks import Event, Webhooks


@dataclass(frozen=True)
class Office:
    """What all accounts share; `root` is the address of the API, with its path."""

    root: str
    links: Links
    clock: SandboxClock
    switches: Switches
    principals: Principals
    webhooks: Webhooks


@dataclass(frozen=True)
class Ask:
    """One call: `ids` are those in its path, `raw` the body as received, `body` the same decoded (None: empty).

    `headers` have lower-case names, each with its lines. What happens to entities is noted in `events`.
    """

    office: Office
    account: Account
    principal: Principal
    ids: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, tuple[str, ...]]
    body: Any
    raw: bytes
    events: list[Event] = field(default_factory=list)

    @property
    def type(self) -> EntityType:
        """The kind of entity that the path names."""
        return EntityType(self.ids["type"])

    def note(self, entity: Entity, action: str, *fields: str) -> None:
        """Something was done to an entity, which webhooks tell of."""
        self.events.append(Event(entity.type, entity.id, action, fields))


Endpoint = Callable[[Ask], Answer]
