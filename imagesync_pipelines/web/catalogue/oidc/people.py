"""People of an identity provider in our tables: who they are (issuer and subject, never an e-mail address), what they
are called here, and their sessions. What the provider gave is kept encrypted.
"""

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.schema_catalogue import oidc_logout, oidc_session, web_user
from imagesync_pipelines.web.catalogue.access import UserRole

# Longer than any logout token is good for, and than the cookie of a session.
KEPT = timedelta(hours=24)
_CALLED_BY = ("preferred_username", "name", "email", "sub")
_NOT_IN_A_NAME = re.compile(r"[^\w@+-]+")
_LONGEST_NAME = 80
_MOST_NAMESAKES = 1000


class DisabledError(Exception):
    """This person was disabled in the catalogue; the message has the name."""


@dataclass(frozen=True)
class Kept:
    """A session as we keep it. id_token, refresh_token: '' where the provider gave none."""

    id: int
    user_id: int
    subject: str
    checked_at: datetime
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


class Cipher:
    """Tokens as they are kept: nobody reads them without what signs our sessions."""

    def __init__(self, secret: SecretStr) -> None:
        key = hashlib.sha256(b"imagesync oidc tokens\0" + secret.get_secret_value().encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def closed(self, id_token: str, refresh_token: str) -> bytes:
        """Both, encrypted."""
        return self._fernet.encrypt(json.dumps([id_token, refresh_token]).encode())

    def opened(self, kept: bytes) -> tuple[str, str]:
        """Both; empty when another secret encrypted them."""
        try:
            id_token, refresh_token = json.loads(self._fernet.decrypt(kept))
        except InvalidToken:
            return "", ""
        return str(id_token), str(refresh_token)


def name_from(claims: Mapping[str, object]) -> str:
    """What a person is called here: readable, of the letters that names of ours have."""
    for claim in _CALLED_BY:
        text = unicodedata.normalize("NFKC", str(claims.get(claim) or ""))
        if name := _NOT_IN_A_NAME.sub(".", text).strip(".")[:_LONGEST_NAME]:
            return name
    return "somebody"


def take_in(engine: sa.Engine, issuer: str, subject: str, called: str, role: UserRole) -> int:
    """The person's id; somebody new gets a name that nobody has, which then stays. Raises DisabledError.

    A name that somebody has in other letters, or that is a person's of ours, is given with a number behind it: who did
    something is told by names.
    """
    mine = (web_user.c.issuer == issuer) & (web_user.c.subject == subject)
    known = sa.select(web_user.c.id, web_user.c.name, web_user.c.is_active).where(mine)
    for number in range(1, _MOST_NAMESAKES):
        with engine.begin() as connection:
            found = connection.execute(known).one_or_none()
            if found is not None:
                if not found.is_active:
                    raise DisabledError(found.name)
                values = {"role": role.value, "last_login_at": sa.func.now()}
                connection.execute(web_user.update().where(web_user.c.id == found.id).values(**values))
                return int(found.id)
            name = called if number == 1 else f"{called}-{number}"
            alike = sa.select(sa.literal(1)).where(sa.func.lower(web_user.c.name) == sa.func.lower(name))
            if connection.execute(alike).first() is not None:
                continue
            new = insert(web_user).values(name=name, role=role.value, issuer=issuer, subject=subject)
            # Somebody may have come in at this moment, by this name or as this person: looked at again.
            connection.execute(new.on_conflict_do_nothing())
    raise DisabledError(called)


def begin_session(
    engine: sa.Engine, user_id: int, provider_session: str, tokens: bytes, now: datetime
) -> tuple[int, int]:
    """A new session of a person: its number, and the epoch of that person's sessions. Old ones are cleared away."""
    with engine.begin() as connection:
        connection.execute(oidc_session.delete().where(oidc_session.c.checked_at < now - KEPT))
        made = connection.execute(
            oidc_session.insert()
            .values(user_id=user_id, provider_session=provider_session, tokens=tokens, checked_at=now)
            .returning(oidc_session.c.id)
        ).scalar_one()
        epoch = connection.execute(sa.select(web_user.c.session_epoch).where(web_user.c.id == user_id)).scalar_one()
    return int(made), int(epoch)


def kept_session(
    connection: sa.Connection, cipher: Cipher, session_id: int, user_id: int, issuer: str, *, lock: bool = False
) -> Kept | None:
    """A session of this person at this provider; None when it is over. lock: until the transaction ends."""
    query = (
        sa.select(oidc_session, web_user.c.subject)
        .join(web_user, web_user.c.id == oidc_session.c.user_id)
        .where(oidc_session.c.id == session_id, oidc_session.c.user_id == user_id, web_user.c.issuer == issuer)
    )
    row = connection.execute(query.with_for_update(of=oidc_session) if lock else query).one_or_none()
    if row is None:
        return None
    return Kept(row.id, row.user_id, row.subject, row.checked_at, *cipher.opened(row.tokens))


def go_on(connection: sa.Connection, session: Kept, tokens: bytes, role: UserRole, now: datetime) -> None:
    """The provider said that a session goes on, and what its person may do today."""
    of_session = oidc_session.update().where(oidc_session.c.id == session.id)
    connection.execute(of_session.values(tokens=tokens, checked_at=now))
    changed = (web_user.c.id == session.user_id) & (web_user.c.role != role.value)
    connection.execute(web_user.update().where(changed).values(role=role.value))


def end_session(connection: sa.Connection, session_id: int) -> None:
    """A session is over."""
    connection.execute(oidc_session.delete().where(oidc_session.c.id == session_id))


def end_sessions_of(engine: sa.Engine, user_id: int) -> None:
    """Keep nothing of a person's sessions."""
    with engine.begin() as connection:
        connection.execute(oidc_session.delete().where(oidc_session.c.user_id == user_id))


def end_by_provider(
    engine: sa.Engine, issuer: str, subject: str, provider_session: str, token: str, now: datetime
) -> int | None:
    """End the session that the provider names, or all of a subject; how many, None for a word that was heard before.

    Those of the subject of which the provider told no name may be the one that it names: they end too.
    """
    person = sa.select(web_user.c.id).where(web_user.c.issuer == issuer)
    if subject:
        person = person.where(web_user.c.subject == subject)
    ended = oidc_session.delete().where(oidc_session.c.user_id.in_(person))
    if provider_session:
        named = [provider_session, ""] if subject else [provider_session]
        ended = ended.where(oidc_session.c.provider_session.in_(named))
    with engine.begin() as connection:
        connection.execute(oidc_logout.delete().where(oidc_logout.c.heard_at < now - KEPT))
        heard = insert(oidc_logout).values(token=token, heard_at=now).on_conflict_do_nothing()
        if not connection.execute(heard).rowcount:
            return None
        return connection.execute(ended).rowcount
