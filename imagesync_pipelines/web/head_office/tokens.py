"""Logging in, tokens and passwords: HS256, the claims of the original and its 401 bodies.

Better than the original: a refresh token is good once.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import jwt
import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from pwdlib import PasswordHash
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.web.head_office.answers import HeadOfficeProblem, TokenProblem, TokenRefusedError
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import account, spent_token
from imagesync_pipelines.web.service import Text

ALGORITHM = "HS256"
Kind = Literal["access", "refresh"]

router = APIRouter(prefix="/api/v1/token", tags=["tokens"])


class Login(BaseModel):
    """A user name and its password."""

    username: Text = Field(max_length=150, examples=["store-jakarta"])
    password: Text = Field(max_length=1000, examples=["a long password"])


class RefreshToken(BaseModel):
    """A refresh token."""

    refresh: Text = Field(max_length=4000)


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
    "default": {"model": HeadOfficeProblem, "description": "Any other refusal"},
    401: {"model": TokenProblem, "description": "The account or the token is refused"},
}


@router.post("/", responses=_ANSWERS)
def log_in(office: Office, login: Login) -> TokenPair:
    """Get a pair of tokens for a user name and a password."""
    with office.engine.connect() as connection:
        found = connection.execute(sa.select(account).where(account.c.username == login.username)).one_or_none()
    if found is None:
        # The same work as for a wrong password, so that the time does not tell which names exist.
        hash_password(login.password)
    elif _hasher().verify(login.password, found.password_hash) and found.is_active:
        return _issue(office, found.id)
    raise TokenRefusedError(TokenProblem(detail="No active account found with the given credentials"))


@router.post("/refresh/", responses=_ANSWERS)
def refresh(office: Office, body: RefreshToken) -> TokenPair:
    """Get the next pair of tokens; the refresh token is used up by that."""
    try:
        claims = _read(office, body.refresh, "refresh")
    except jwt.InvalidTokenError as error:
        raise TokenRefusedError(TokenProblem(detail=str(error), code="token_not_valid")) from None
    owner = UUID(claims["user_id"])
    with office.engine.begin() as connection:
        expires = datetime.fromtimestamp(claims["exp"], UTC)
        spend = insert(spent_token).values(jti=claims["jti"], expires_at=expires).on_conflict_do_nothing()
        if connection.execute(spend.returning(spent_token.c.jti)).first() is None:
            raise TokenRefusedError(TokenProblem(detail="Token is blacklisted", code="token_not_valid"))
        connection.execute(spent_token.delete().where(spent_token.c.expires_at < office.clock()))
        active = connection.execute(sa.select(account.c.is_active).where(account.c.id == owner)).scalar()
    if not active:
        raise account_refused(active)
    return _issue(office, owner)


def hash_password(password: str) -> str:
    """The Argon2 hash of a password, as `account.password_hash` keeps it."""
    return _hasher().hash(password)


def account_id(office: HeadOffice, authorization: str) -> UUID:
    """The account that an Authorization header speaks for; whether it still exists is not looked up.

    Raises TokenRefusedError with the original's body for each case.
    """
    scheme, *rest = authorization.split() or [""]
    if scheme != "Bearer":
        raise TokenRefusedError(TokenProblem(detail="Authentication credentials were not provided."))
    if len(rest) != 1:
        detail = "Authorization header must contain two space-delimited values"
        raise TokenRefusedError(TokenProblem(detail=detail, code="bad_authorization_header"))
    try:
        return UUID(_read(office, rest[0], "access")["user_id"])
    except jwt.InvalidTokenError as error:
        message = {"token_class": "AccessToken", "token_type": "access", "message": str(error)}
        detail = "Given token not valid for any token type"
        raise TokenRefusedError(TokenProblem(detail=detail, code="token_not_valid", messages=[message])) from None


def account_refused(active: bool | None) -> TokenRefusedError:
    """The refusal of a good token whose account is gone (None) or not active (False)."""
    if active is None:
        return TokenRefusedError(TokenProblem(detail="User not found", code="user_not_found"))
    return TokenRefusedError(TokenProblem(detail="User is inactive", code="user_inactive"))


def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


def _issue(office: HeadOffice, owner: UUID) -> TokenPair:
    settings = office.settings
    return TokenPair(
        refresh=_sign(office, owner, "refresh", timedelta(minutes=settings.refresh_minutes)),
        access=_sign(office, owner, "access", timedelta(minutes=settings.access_minutes)),
    )


def _sign(office: HeadOffice, owner: UUID, kind: Kind, life: timedelta) -> str:
    now = office.clock()
    claims = {
        "token_type": kind,
        "exp": int((now + life).timestamp()),
        "iat": int(now.timestamp()),
        "jti": uuid4().hex,
        "user_id": str(owner),
    }
    return jwt.encode(claims, office.jwt_secret.get_secret_value(), algorithm=ALGORITHM)


def _read(office: HeadOffice, token: str, kind: Kind) -> dict[str, Any]:
    """The claims of a good token of this kind; raises jwt.InvalidTokenError with the original's words."""
    # The times are judged by the office's own clock below, not by the library's.
    options: Any = {"require": ["exp", "jti", "user_id", "token_type"], "verify_exp": False, "verify_iat": False}
    try:
        claims = jwt.decode(token, office.jwt_secret.get_secret_value(), algorithms=[ALGORITHM], options=options)
    except jwt.InvalidTokenError:
        raise jwt.InvalidTokenError("Token is invalid or expired") from None
    if claims["token_type"] != kind:
        raise jwt.InvalidTokenError("Token has wrong type")
    if claims["exp"] <= office.clock().timestamp():
        raise jwt.InvalidTokenError("Token is invalid or expired")
    return claims
