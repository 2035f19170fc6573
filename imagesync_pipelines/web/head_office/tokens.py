"""Who calls: logging in, tokens and passwords (HS256, the claims of the original and its 401 bodies); and which stores
an account may read.

Better than the original: a refresh token is good once, and whoever uses it again ends every token of its account, as a
new password does and as being disabled does; wrong passwords have to wait; an account reads the stores that it is
granted, or all when it is marked so. There, any account read any store.
"""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from uuid import UUID, uuid4

import jwt
import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pwdlib import PasswordHash
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.dialects.postgresql import insert
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from imagesync_pipelines.storage.wrong_logins import WrongLogins
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.answers import REFUSALS, TokenProblem, refused, token_refused, wait_to_log_in
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.logins import TooManyTriesError, address_of, let_in
from imagesync_pipelines.web.service import Text

ALGORITHM = "HS256"
Kind = Literal["access", "refresh", "image"]
OVER = "Token is invalid or expired"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
B = TypeVar("B", bound=BaseModel)

router = APIRouter(prefix="/api/v1/token", tags=["tokens"])


class Login(BaseModel):
    """A user name and its password."""

    username: Text = Field(max_length=150, examples=["store-jakarta"])
    password: Text = Field(max_length=1000, examples=["a long password"])


class RefreshToken(BaseModel):
    """A refresh token."""

    refresh: Text = Field(max_length=4000)


class Owner(NamedTuple):
    """Whom a token speaks for, and of which generation it is."""

    id: UUID
    generation: int


class TokenPair(BaseModel):
    """An access token for the sync endpoints, and the token to get the next pair with."""

    refresh: str
    access: str


# Not a plain function: those run in another thread, and this one never waits.
async def office_of(request: Request) -> HeadOffice:
    """The head office that this app serves."""
    office: HeadOffice = request.app.state.office
    return office


Office = Annotated[HeadOffice, Depends(office_of)]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A field is missing", "content": {"application/json": {"schema": {"type": "object"}}}},
    "default": REFUSALS["default"],
    401: {"model": TokenProblem, "description": "The account or the token is refused"},
    429: {"model": TokenProblem, "description": "Too many wrong passwords; Retry-After says when to try again"},
}


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI document says of a body that is JSON or a form."""
    content = {kind: {"schema": model.model_json_schema()} for kind in ("application/json", *_FORMS)}
    return {"requestBody": {"required": True, "content": content}}


async def read_body(request: Request, model: type[B]) -> B:
    """The body, as a form when it says so, else as JSON. Raises RequestValidationError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        sent = dict(await request.form(max_files=0)) if kind in _FORMS else json.loads(await request.body())
        return model.model_validate(sent)
    except HTTPException as error:
        # A form that cannot be read, or a body that is too large, which is no mistake of form.
        if error.status_code != 400:
            raise
        raise RequestValidationError([{"type": "value_error", "loc": ("body",), "msg": error.detail}]) from None
    except ValidationError as error:
        wrong = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        raise RequestValidationError(wrong) from None
    except (ValueError, RecursionError):
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": "JSON decode error"}]) from None


@router.post("/", responses=_ANSWERS, openapi_extra=body_schema(Login))
async def log_in(office: Office, request: Request) -> TokenPair:
    """Get a pair of tokens for a user name and a password, sent as JSON or as a form."""
    login = await read_body(request, Login)
    tries = WrongLogins(office.engine, t.wrong_login)
    check = partial(_log_in, office, login)
    try:
        pair = await let_in(tries, login.username, address_of(request), office.clock(), check)
    except TooManyTriesError as error:
        raise wait_to_log_in(error.seconds) from None
    if pair is None:
        raise token_refused("No active account found with the given credentials")
    return pair


def _log_in(office: HeadOffice, login: Login) -> TokenPair | None:
    with office.engine.connect() as connection:
        found = connection.execute(sa.select(t.account).where(t.account.c.username == login.username)).one_or_none()
    if found is None:
        # The same work as for a wrong password, so that the time does not tell which names exist.
        hash_password(login.password)
    elif PasswordHash.recommended().verify(login.password, found.password_hash) and found.is_active:
        return issue(office, Owner(found.id, found.generation))
    return None


@router.post("/refresh/", responses=_ANSWERS, openapi_extra=body_schema(RefreshToken))
async def refresh(office: Office, request: Request) -> TokenPair:
    """Get the next pair of tokens; the refresh token is used up by that. Using it again ends all of the account's."""
    body = await read_body(request, RefreshToken)
    return await run_in_threadpool(_next_pair, office, body.refresh)


def _next_pair(office: HeadOffice, token: str) -> TokenPair:
    try:
        claims = _read(office, token, "refresh")
    except jwt.InvalidTokenError as error:
        raise token_refused(str(error), "token_not_valid") from None
    owner = _owner(claims)
    with office.engine.begin() as connection:
        expires = datetime.fromtimestamp(claims["exp"], UTC)
        spend = insert(t.spent_token).values(jti=claims["jti"], expires_at=expires).on_conflict_do_nothing()
        is_first = connection.execute(spend.returning(t.spent_token.c.jti)).first() is not None
        if is_first:
            connection.execute(t.spent_token.delete().where(t.spent_token.c.expires_at < office.clock()))
        else:
            # Somebody else has a copy, and nobody knows who of the two is the store.
            end_tokens(connection, (t.account.c.id == owner.id) & (t.account.c.generation == owner.generation))
    if not is_first:
        raise token_refused("Token is blacklisted", "token_not_valid")
    # The token is spent, whatever has become of its account.
    with office.engine.connect() as connection:
        if _account(connection, owner.id).generation != owner.generation:
            raise token_refused(OVER, "token_not_valid")
    return issue(office, owner)


def end_tokens(connection: sa.Connection, accounts: sa.ColumnElement[bool], **values: object) -> int:
    """End every token of the accounts that a condition on their table names, and set columns; gives their number."""
    news = {"generation": t.account.c.generation + 1, **values}
    return connection.execute(t.account.update().where(accounts).values(news)).rowcount


def hash_password(password: str) -> str:
    """The Argon2 hash of a password, as `account.password_hash` keeps it."""
    return PasswordHash.recommended().hash(password)


# Only for the OpenAPI document: the header is read below, with the original's words for each mistake.
_scheme = HTTPBearer(auto_error=False, description="The access token of POST /api/v1/token/")


# Not a plain function for the same reason as office_of.
async def _caller(office: Office, request: Request, _: Annotated[object, Depends(_scheme)]) -> Owner:
    return owner_of(office, request.headers.get("Authorization", ""))


def owner_of(office: HeadOffice, authorization: str) -> Owner:
    """The account that an Authorization header speaks for; whether it still exists is not looked up.

    Raises the original's body for each case.
    """
    scheme, *rest = authorization.split() or [""]
    if scheme != "Bearer":
        raise token_refused("Authentication credentials were not provided.")
    if len(rest) != 1:
        raise token_refused("Authorization header must contain two space-delimited values", "bad_authorization_header")
    try:
        return _owner(_read(office, rest[0], "access"))
    except jwt.InvalidTokenError as error:
        raise _access_refused(str(error)) from None


Caller = Annotated[Owner, Depends(_caller)]


def _access_refused(why: str) -> Exception:
    about = {"token_class": "AccessToken", "token_type": "access", "message": why}
    return token_refused("Given token not valid for any token type", "token_not_valid", **about)


def admit(connection: sa.Connection, caller: Owner, store_id: UUID) -> None:
    """Let an account at a store, or raise: 401 for the account, 404 for the store, 403 without a grant."""
    granted = readable(connection, caller).label("granted")
    found = connection.execute(sa.select(t.store.c.is_active, granted).where(t.store.c.id == store_id)).one_or_none()
    if found is None or not found.is_active:
        raise refused(404, "Store not found")
    if not found.granted:
        raise refused(403, "This account may not read this store", "ask the head office to grant it")


def readable(connection: sa.Connection, caller: Owner) -> sa.ColumnElement[bool]:
    """The condition on the store table for what an account may read; raises 401 for the account or its token."""
    found = _account(connection, caller.id)
    if found.generation != caller.generation:
        raise _access_refused(OVER)
    if found.all_stores:
        return sa.true()
    granted = sa.select(t.account_store.c.store_id).where(t.account_store.c.account_id == caller.id)
    return t.store.c.id.in_(granted)


def _account(connection: sa.Connection, account_id: UUID) -> sa.Row:
    """The account that a good token speaks for; raises 401 when it is gone or not active."""
    found = connection.execute(sa.select(t.account).where(t.account.c.id == account_id)).one_or_none()
    if found is None:
        raise token_refused("User not found", "user_not_found")
    if not found.is_active:
        raise token_refused("User is inactive", "user_inactive")
    return found


def image_token(office: HeadOffice, caller: Owner, store_id: UUID, photo_id: UUID) -> str:
    """What lets whoever has it take the bytes of one photo of a store, as long as an access token is good."""
    expires = int((office.clock() + timedelta(minutes=office.settings.access_minutes)).timestamp())
    about = {"user_id": str(caller.id), "generation": caller.generation, "store": str(store_id), "jti": str(photo_id)}
    claims = {"token_type": "image", "exp": expires, **about}
    return jwt.encode(claims, office.jwt_secret.get_secret_value(), algorithm=ALGORITHM)


def owner_of_image(office: HeadOffice, token: str, photo_id: UUID) -> tuple[Owner, UUID]:
    """Who gave this token, and for which store; raises jwt.InvalidTokenError."""
    claims = _read(office, token, "image")
    if claims["jti"] != str(photo_id):
        raise jwt.InvalidTokenError(OVER)
    return _owner(claims), UUID(claims["store"])


def _owner(claims: dict[str, Any]) -> Owner:
    # Tokens of before there were generations are of the first one.
    return Owner(UUID(claims["user_id"]), claims.get("generation", 0))


def issue(office: HeadOffice, owner: Owner) -> TokenPair:
    """The next pair of tokens of an account."""
    now, settings = office.clock(), office.settings

    def sign(kind: Kind, minutes: int) -> str:
        expires = int((now + timedelta(minutes=minutes)).timestamp())
        times = {"exp": expires, "iat": int(now.timestamp())}
        whose = {"user_id": str(owner.id), "generation": owner.generation}
        claims = {"token_type": kind, **times, "jti": uuid4().hex, **whose}
        return jwt.encode(claims, office.jwt_secret.get_secret_value(), algorithm=ALGORITHM)

    refresh_token = sign("refresh", settings.refresh_minutes)
    return TokenPair(refresh=refresh_token, access=sign("access", settings.access_minutes))


def _read(office: HeadOffice, token: str, kind: Kind) -> dict[str, Any]:
    """The claims of a good token of this kind; raises jwt.InvalidTokenError with the original's words."""
    # The times are judged by the office's own clock below, not by the library's.
    options: Any = {"require": ["exp", "jti", "user_id", "token_type"], "verify_exp": False, "verify_iat": False}
    try:
        claims = jwt.decode(token, office.jwt_secret.get_secret_value(), algorithms=[ALGORITHM], options=options)
    except jwt.InvalidTokenError:
        raise jwt.InvalidTokenError(OVER) from None
    if claims["token_type"] != kind:
        raise jwt.InvalidTokenError("Token has wrong type")
    if claims["exp"] <= office.clock().timestamp():
        raise jwt.InvalidTokenError(OVER)
    return claims
