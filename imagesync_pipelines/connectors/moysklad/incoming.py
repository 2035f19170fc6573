"""What comes into the queue of requests: payloads of the system that we replace, and events of МойСклад's webhooks.

A payload that cannot be understood is set aside with the field's name and reason, and the others go on; one of its
images that cannot is skipped, since images are read from the main account anyway. An event is a hint and no more: it
names an entity, whose images are then read; whether МойСклад sends one when only images changed is not documented, so
the schedules find what no event told.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID

import orjson
from pydantic import AfterValidator, AliasChoices, BaseModel, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.moysklad.accounts import MAIN, MoyskladAccounts, moysklad_accounts
from imagesync_pipelines.connectors.moysklad.model import TYPES, EntityType
from imagesync_pipelines.connectors.moysklad.queue import PRIORITY, NewRequest, Queue, UnreadableRequest
from imagesync_pipelines.connectors.moysklad.settings import MoyskladWebhookSettings
from imagesync_pipelines.errors import BadBodyError
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.upstream.details import ADDRESS_CHARACTERS, KEY_CHARACTERS

F = TypeVar("F", bound=BaseModel)
_Text = Annotated[str, Field(min_length=1, max_length=ADDRESS_CHARACTERS)]
# What the earlier system's queue calls the synchronisation of an entity's images.
TASK = "image_sync"


@dataclass(frozen=True)
class AccountNames:
    """How payloads and events may name accounts. children: alias or МойСклад's own id, in small letters → alias."""

    main: frozenset[str]
    children: Mapping[str, str]
    # The children whose image sync is not off.
    active: tuple[str, ...]


class _Entity(BaseModel):
    """The five identifiers of both forms. The child's own id of the entity is needed, but our map counts."""

    main_account_id: _Text
    child_account_id: _Text
    entity_type: EntityType = Field(validation_alias=AliasChoices("parent_entity_type", "entity_type"))
    parent_entity_id: UUID
    child_entity_id: _Text
    priority: int = Field(PRIORITY, ge=0, le=100)


class _OneImage(_Entity):
    image_url: _Text
    filename: _Text


class _SeveralImages(_Entity):
    images: list[Any]


class _Link(BaseModel):
    href: _Text = Field(validation_alias="downloadHref")


class _Image(BaseModel):
    meta: _Link
    filename: _Text


def names_of(accounts: MoyskladAccounts) -> AccountNames:
    """The names of the accounts in the accounts file."""
    main, children = accounts.main, accounts.by_name
    own_ids = {child.account.account_id.lower(): alias for alias, child in children.items() if child.account.account_id}
    return AccountNames(
        main=frozenset({MAIN, main.account_id.lower()} if main is not None and main.account_id else {MAIN}),
        children={**own_ids, **{alias: alias for alias in accounts.names}},
        active=tuple(accounts.active),
    )


def read_payloads(body: bytes, names: AccountNames) -> list[NewRequest | UnreadableRequest]:
    """The requests in a body: one payload, an array of them, or one per line.

    Raises BadBodyError when it is no JSON, naming the line.
    """
    return [read_payload(document, names) for document in _documents(body)]


def read_payload(document: object, names: AccountNames) -> NewRequest | UnreadableRequest:
    """One payload as a request, or set aside with every field that is missing or wrong."""
    try:
        payload = orjson.dumps(document).decode()
    except orjson.JSONEncodeError:
        return UnreadableRequest("", told("its fields are nested too deeply to be a request"))
    fields = _fields(document)
    if isinstance(fields, str):
        return UnreadableRequest(payload, fields)
    form: type[_Entity] = _SeveralImages if "images" in fields else _OneImage
    entity = _understood(form, fields)
    if isinstance(entity, str):
        return UnreadableRequest(payload, entity)
    # A name from outside is shown short and without control characters.
    main, named = repr(entity.main_account_id[:60]), repr(entity.child_account_id[:60])
    if entity.main_account_id.lower() not in names.main:
        return UnreadableRequest(payload, told(f"main_account_id: {main} is not the main account's account_id"))
    child = names.children.get(entity.child_account_id.lower())
    if child is None:
        known = ", ".join(sorted(set(names.children.values()))) or "none"
        return UnreadableRequest(
            payload, told(f"child_account_id: no child account has {named} as account_id or alias; there are: {known}")
        )
    images = entity.images if isinstance(entity, _SeveralImages) else []
    read = [_understood(_Image, image) for image in images]
    note = "; ".join(told(f"images.{at} is skipped: {why}") for at, why in enumerate(read) if isinstance(why, str))
    return NewRequest(child, entity.entity_type, str(entity.parent_entity_id), payload, entity.priority, note=note)


def _fields(document: object) -> dict[str, Any] | str:
    """The fields of a payload, or why it has none.

    A row of the earlier system's queue has the payload in it, as an object or as text. Where that names no child
    account, or no priority, the row's own account and priority count.
    """
    if not isinstance(document, dict):
        return told("a request is an object with fields; this is none")
    if document.get("entity_type") != TASK or "parent_entity_type" in document:
        return document
    if "payload" not in document:
        return told("payload is missing")
    inside = document["payload"]
    if isinstance(inside, str):
        try:
            inside = orjson.loads(inside)
        except orjson.JSONDecodeError as error:
            return told(f"payload: this text is no JSON: {error}")
    if not isinstance(inside, dict):
        return told("payload: a request is an object with fields; this is none")
    of_task = {"child_account_id": document.get("account_id"), "priority": document.get("priority")}
    return inside | {name: value for name, value in of_task.items() if value is not None and inside.get(name) is None}


def _documents(body: bytes) -> Iterator[object]:
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lines = [(number, line) for number, line in enumerate(body.splitlines(), 1) if line.strip()]
        if len(lines) < 2:
            raise BadBodyError(f"This is no JSON: {error}") from None
        for number, line in lines:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as wrong:
                raise BadBodyError(f"Line {number} is no JSON: {wrong}. Nothing was queued.") from None
        return
    yield from whole if isinstance(whole, list) else [whole]


def _understood(form: type[F], value: object) -> F | str:
    """Something of this form, or what is missing or wrong in it."""
    if not isinstance(value, dict):
        return told("it is no object with fields")
    try:
        return form.model_validate(value)
    except ValidationError as error:
        problems = [(".".join(map(str, one["loc"])), one["type"], one["msg"]) for one in _errors(error)]
    return "; ".join(
        told(f"{name} is missing") if kind == "missing" else f"{name}: {said}" for name, kind, said in problems
    )


def _errors(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False, include_context=False)


# Not DELETE: what is gone is found by the daily reading, which can prove it.
ACTIONS = ("CREATE", "UPDATE")


class Events(NamedTuple):
    """What a call asks for; ignored: why events ask for nothing, and how many of them."""

    requests: tuple[NewRequest, ...]
    ignored: Mapping[str, int]


class _Meta(BaseModel):
    type: _Text
    href: _Text

    @property
    def id(self) -> str:
        """The id in the link to an entity, the last part of its path; '' when it has none."""
        try:
            return str(UUID(self.href.partition("?")[0].rstrip("/").rpartition("/")[2]))
        except ValueError:
            return ""


class _Event(BaseModel):
    meta: _Meta
    action: _Text
    account: Annotated[_Text, AfterValidator(str.lower)] = Field(validation_alias="accountId")


class _Call(BaseModel):
    events: list[Any]


def read_events(body: bytes, request_id: str, names: AccountNames) -> Events:
    """The requests of a call: one for every entity and every child account that is not off.

    request_id: what МойСклад repeats when it sends the call again; its requests are then the same. An event of another
    shape asks for nothing and costs no other. Raises BadBodyError.
    """
    try:
        call = _Call.model_validate_json(body)
    except ValidationError as error:
        first = _errors(error)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise BadBodyError(f"This is no call of a МойСклад webhook: {place}: {first['msg']}") from None
    if len(request_id) > KEY_CHARACTERS:  # none of МойСклад's, and no index takes it
        request_id = ""
    ignored: Counter[str] = Counter()
    found: dict[tuple[str, str], str] = {}
    for sent in call.events:
        event = _understood(_Event, sent)
        why = told(f"another shape ({event})") if isinstance(event, str) else _why_ignored(event, names)
        if why or isinstance(event, str):
            ignored[why] += 1
        else:
            found[event.meta.type, event.meta.id] = event.model_dump_json()
    requests = (
        NewRequest(child, kind, entity, payload, once=f"{request_id}/{child}/{kind}:{entity}" if request_id else "")
        for (kind, entity), payload in found.items()
        for child in names.active
    )
    return Events(tuple(requests), ignored)


def _why_ignored(event: _Event, names: AccountNames) -> str:
    if event.account not in names.main:
        return told("another account's than the main one's")
    if event.meta.type not in TYPES:
        return told("a type of entity without images of ours")
    if event.action not in ACTIONS:
        return told(f"neither {' nor '.join(ACTIONS)}")
    if not event.meta.id:
        return told("a link without an id")
    return "" if names.active else told("no child account whose image sync is on")


@dataclass(frozen=True)
class QueueReceiver:
    """Puts into the queue what comes over HTTP."""

    queue: Queue
    names: AccountNames
    secret: SecretStr
    clock: Callable[[], datetime]

    def take_events(self, body: bytes, request_id: str) -> str:
        """Queue what a call of МойСклад asks for; what became of it in a line for the log. Raises BadBodyError."""
        events = read_events(body, request_id, self.names)
        queued = self.queue.add(events.requests, self.clock())
        ignored = "; ".join(f"{number} of {why}" for why, number in events.ignored.items()) or "none"
        return told(
            f"{queued} requests queued, {len(events.requests) - queued} known already; events ignored: {ignored}"
        )

    def take_payloads(self, body: bytes) -> tuple[int, list[str]]:
        """Queue payloads; how many, and why each of the others was set aside. Raises BadBodyError."""
        requests = read_payloads(body, self.names)
        self.queue.add(requests, self.clock())
        queued = sum(isinstance(request, NewRequest) for request in requests)
        return queued, [one.reason for one in requests if isinstance(one, UnreadableRequest)]

    def check(self) -> None:
        """Ask the queue something; raises when it does not answer."""
        self.queue.runs()


@contextmanager
def open_receiver(settings: MoyskladWebhookSettings) -> Iterator[QueueReceiver]:
    """The receiver of this installation.

    Raises SettingsError without a secret, and without the main account's own id, by which events name it.
    """
    if settings.secret is None:
        raise SettingsError(
            "MOYSKLAD_WEBHOOK_SECRET is not set; without a secret requests of strangers would be taken, "
            "so nothing is served."
        )
    accounts = moysklad_accounts(load_accounts(load_settings(Settings)))
    if accounts.main is None or not accounts.main.account_id:
        raise SettingsError(
            "[moysklad.main] account_id is not set in the accounts file; events name their account by it, "
            "so without it none could be told from those of another account."
        )
    with open_installation() as place:
        yield QueueReceiver(Queue(place.engine), names_of(accounts), settings.secret, lambda: datetime.now(UTC))
