"""Events of МойСклад's webhooks: an entity of the main account was made or changed.

What belongs here: reading the body of a call (contract section 11). What does not: the endpoint (web/webhooks), the
table (queue.py). An event is a hint and no more: it names an entity, whose images are then read; whether МойСклад sends
one when only images changed is not documented, so the schedules find what no event told.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from imagesync_pipelines.connectors.moysklad.model import TYPES
from imagesync_pipelines.connectors.moysklad.payloads import AccountNames
from imagesync_pipelines.connectors.moysklad.queue import NewRequest

# Not DELETE: what is gone is found by the daily reading, which can prove it.
ACTIONS = ("CREATE", "UPDATE")


class EventsError(Exception):
    """A body that is no call of a webhook; the message says what is wrong with it."""


@dataclass(frozen=True)
class Events:
    """What a call asks for; ignored: why events ask for nothing, and how many of them."""

    requests: tuple[NewRequest, ...]
    ignored: Mapping[str, int]


def _entity_id(href: str) -> str:
    """The id in a link to an entity: its last part."""
    return str(UUID(href.rstrip("/").rpartition("/")[2]))


class _Meta(BaseModel):
    type: str
    href: str


class _Event(BaseModel):
    meta: _Meta
    action: str
    account: Annotated[str, AfterValidator(str.lower)] = Field(validation_alias="accountId")


class _Call(BaseModel):
    events: list[_Event]


def read_events(body: bytes, request_id: str, names: AccountNames) -> Events:
    """The requests of a call: one for every entity and every child account that is not off.

    request_id: what МойСклад repeats when it sends the call again; its requests are then the same. Raises EventsError.
    """
    try:
        call = _Call.model_validate(orjson.loads(body))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise EventsError(f"This is no call of a МойСклад webhook: {_first_line(error)}") from None
    ignored: Counter[str] = Counter()
    found: dict[tuple[str, str], str] = {}
    for event in call.events:
        why = _why_ignored(event, names)
        if why:
            ignored[why] += 1
        else:
            found[event.meta.type, _entity_id(event.meta.href)] = orjson.dumps(event.model_dump()).decode()
    requests = (
        NewRequest(child, kind, entity, payload, once=_once(request_id, child, kind, entity))
        for (kind, entity), payload in found.items()
        for child in names.active
    )
    return Events(tuple(requests), ignored)


def _why_ignored(event: _Event, names: AccountNames) -> str:
    """Why an event asks for nothing; '' when it does."""
    if event.account not in names.main:
        return "another account's than the main one's"
    if event.meta.type not in TYPES:
        return "a type of entity without images of ours"
    if event.action not in ACTIONS:
        return f"neither {' nor '.join(ACTIONS)}"
    try:
        _entity_id(event.meta.href)
    except ValueError:
        return "a link without an id"
    return "" if names.active else "no child account whose image sync is on"


def _once(request_id: str, child: str, kind: str, entity: str) -> str:
    return f"{request_id}/{child}/{kind}:{entity}" if request_id else ""


def _first_line(error: orjson.JSONDecodeError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'body'}: {first['msg']}"
    return str(error)
