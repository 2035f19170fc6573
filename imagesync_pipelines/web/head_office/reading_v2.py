"""The listing of V2, as the edge client in the field asks for it, and the bytes behind its `image_url`.

It differs from V1 in its envelope, its errors and where the bytes come from; what a store sees is the same. That
client has no other header than its token when it lists, and none at all when it takes the bytes.
"""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import jwt
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.answers import (
    REFUSALS,
    RequestRefusedError,
    V2Problem,
    in_words,
    token_refused,
)
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.reading import LARGEST_OFFSET, ListedPhoto, Moment, in_zone, read_page, send
from imagesync_pipelines.web.head_office.tokens import (
    Caller,
    Office,
    Owner,
    body_schema,
    image_token,
    owner_of_image,
    read_body,
)
from imagesync_pipelines.web.service import Text

# That client adds its own limit to the offset, whatever came: a limit that is cut would lose it photos.
LARGEST_LIMIT = 10_000
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

router = APIRouter(prefix="/api/v1/sync/product-photos", tags=["photos, V2"])


class V2Request(BaseModel):
    """What the client sends; a brand_id may be there and says nothing."""

    # Each refusal has a code of its own; the document says what is right.
    model_config = ConfigDict(json_schema_extra={"required": ["company_id", "store_id"]})

    company_id: Annotated[Text | None, WithJsonSchema({"type": "string", "format": "uuid"})] = None
    store_id: Annotated[Text | None, WithJsonSchema({"type": "string", "format": "uuid"})] = None
    updated_since: Annotated[Text | None, WithJsonSchema({"type": "string", "format": "date-time"})] = None
    limit: int = Field(100, ge=1, le=LARGEST_LIMIT)
    offset: int = Field(0, ge=0, le=LARGEST_OFFSET)


class V2Filter(BaseModel):
    """What was asked for."""

    company_id: UUID
    store_id: UUID


class V2Store(BaseModel):
    """The store that was asked for."""

    id: UUID
    code: str
    name: str


class V2Listing(BaseModel):
    """One page, without an envelope."""

    photos: list[ListedPhoto]
    deleted_ids: list[UUID]
    sync_timestamp: Moment = Field(description="for the next `updated_since`: the newest change before this answer")
    total: int
    has_more: bool
    next_offset: int | None
    filter: V2Filter
    store: V2Store


_STATUSES = {
    400: "A value is missing or wrong",
    403: "The account may not read this store",
    404: "No such store of this company",
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **REFUSALS,
    **{status: {"model": V2Problem, "description": said} for status, said in _STATUSES.items()},
}


@router.post("/", responses=_ANSWERS, openapi_extra=body_schema(V2Request))
async def list_photos(office: Office, caller: Caller, request: Request) -> V2Listing:
    """List the photos of a store as V2 does, ordered by `updated_at` and `id`."""
    try:
        asked = await read_body(request, V2Request)
    except RequestValidationError as error:
        raise _refused(400, "; ".join(map(in_words, error.errors())), "INVALID_REQUEST") from None
    return await run_in_threadpool(_list, office, caller, asked, str(request.base_url).rstrip("/"))


def _list(office: HeadOffice, caller: Owner, asked: V2Request, here: str) -> V2Listing:
    wanted = []
    for name, value in (("company_id", asked.company_id), ("store_id", asked.store_id)):
        if not value:
            raise _refused(400, f"{name} is required in request body", f"MISSING_{name.upper()}")
        wanted.append(value)
    since = _since(office, asked.updated_since)
    store, changed_at = _store(office, *wanted)
    try:
        page = read_page(office, caller, store.id, since, asked.limit, asked.offset)
    except RequestRefusedError as error:
        if error.status != 403:
            raise
        raise _refused(403, "This account may not read this store", "STORE_NOT_ALLOWED") from None
    if office.settings.public_url is None:
        for photo in page.photos:
            if photo.image_url is not None:
                token = image_token(office, caller, store.id, photo.id)
                photo.image_url = f"{here}{router.prefix}/{photo.id}/image/?token={token}"
    return V2Listing(
        photos=page.photos,
        deleted_ids=page.deleted_ids or [],
        sync_timestamp=changed_at,
        total=page.total,
        has_more=page.has_more,
        next_offset=page.next_offset,
        filter=V2Filter(company_id=store.company_id, store_id=store.id),
        store=V2Store(id=store.id, code=store.code, name=store.name),
    )


def _since(office: HeadOffice, text: str | None) -> datetime | None:
    try:
        return in_zone(office, datetime.fromisoformat(text)) if text else None
    except ValueError:
        raise _refused(400, "Invalid updated_since format", "INVALID_DATE_FORMAT") from None


def _store(office: HeadOffice, company_id: str, store_id: str) -> tuple[sa.Row[Any], datetime]:
    """The active store of this company, and its newest change; whether the caller may read it is asked later.

    A change has its stamp before others see it, and never an earlier one than those that they see: who goes on from the
    newest that is seen misses none, who goes on from the clock does.
    """
    unknown = _refused(404, "Store not found or does not belong to the specified company", "STORE_NOT_FOUND")
    try:
        here = (t.store.c.id == UUID(store_id), t.store.c.company_id == UUID(company_id))
    except ValueError:
        raise unknown from None
    with office.engine.connect() as connection:
        found = connection.execute(sa.select(t.store).where(*here, t.store.c.is_active)).one_or_none()
        if found is None:
            raise unknown
        written = connection.scalar(sa.select(sa.func.max(t.photo.c.updated_at)))
        lost = sa.select(sa.func.max(t.photo_deletion.c.deleted_at)).where(t.photo_deletion.c.store_id == found.id)
        return found, max(filter(None, (BEGINNING, written, connection.scalar(lost))))


def _refused(status: int, error: str, code: str) -> RequestRefusedError:
    return RequestRefusedError(status, V2Problem(error=error, code=code))


@router.get("/{photo_id}/image/", include_in_schema=False)
def image(office: Office, request: Request, photo_id: UUID, token: Annotated[str, Query(max_length=4000)]) -> Response:
    """The bytes behind an `image_url` of V2, for whoever has it, as long as an access token is good."""
    try:
        owner, store_id = owner_of_image(office, token, photo_id)
    except jwt.InvalidTokenError as error:
        raise token_refused(str(error), "token_not_valid") from None
    return send(request, office, owner, photo_id, store_id)
