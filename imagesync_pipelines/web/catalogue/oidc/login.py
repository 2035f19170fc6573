"""The login at the provider as the catalogue has it: who comes in, as what, and whether a session still goes on.

A session is confirmed by the provider at least every OIDC_RECHECK_MINUTES; half that time after the last word it is
asked again, so that a provider that is away for a moment signs nobody out. Where it gives no refresh token a session
ends then, and a person passes the provider again.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.web.catalogue.access import User, UserRole
from imagesync_pipelines.web.catalogue.oidc import people
from imagesync_pipelines.web.catalogue.oidc.people import Cipher, Kept
from imagesync_pipelines.web.catalogue.oidc.provider import (
    Begun,
    Provider,
    ProviderRefusedError,
    ProviderSilentError,
    Told,
)
from imagesync_pipelines.web.catalogue.oidc.settings import OidcSettings

log = logging.getLogger("imagesync.catalogue")


class LoginRefusedError(Exception):
    """Nobody was let in; the message is a sentence for the person."""


class OidcLogin:
    """What the catalogue does with one provider; shared between threads."""

    def __init__(
        self, settings: OidcSettings, engine: sa.Engine, secret: SecretStr, clock: Callable[[], datetime]
    ) -> None:
        self.settings = settings
        self.provider = Provider(settings)
        self._engine, self._clock, self._cipher = engine, clock, Cipher(secret)
        # One question at a time: a provider that hangs holds one connection to the database, and one thread works.
        self._asking = Lock()

    def begin(self) -> Begun:
        """Send somebody to the provider. Raises LoginRefusedError."""
        try:
            return self.provider.begin()
        except ProviderSilentError as error:
            raise self._silent(error) from None

    def finish(self, code: str, nonce: str, code_verifier: str, issuer: str | None) -> tuple[int, int, int]:
        """Whom a code is of: the id, the epoch of that person's sessions, the new one. Raises LoginRefusedError.

        issuer: who the answer with the code says it is from (RFC 9207), None where it does not say.
        """
        try:
            if not self.provider.may_answer_as(issuer):
                raise ProviderRefusedError("the answer is of another provider")
            told = self.provider.finish(code, nonce, code_verifier)
        except ProviderSilentError as error:
            raise self._silent(error) from None
        except ProviderRefusedError as error:
            log.warning("a sign-in was not good: %s", error)
            said = f"{self.settings.name} did not confirm this sign-in. Sign in once more."
            raise LoginRefusedError(said) from None
        name, role = people.name_from(told.claims), self.settings.role_of(told.claims)
        if role is None:
            log.warning("%s has no group of OIDC_ROLES and was not let in", name)
            raise LoginRefusedError(
                f"{self.settings.name} knows you as {name}, but in none of the groups that may come in here. "
                "Ask whoever gives out groups there."
            )
        try:
            user_id = people.take_in(self._engine, self.settings.issuer or "", told.subject, name, role)
        except people.DisabledError as error:
            raise LoginRefusedError(f"{error} may not sign in here any more. Ask an admin of the catalogue.") from None
        tokens = self._cipher.closed(told.id_token, told.refresh_token)
        session_id, epoch = people.begin_session(self._engine, user_id, told.session, tokens, self._clock())
        return user_id, epoch, session_id

    def goes_on(self, user: User, session_id: int | None, *, may_ask: bool = True) -> tuple[bool, str]:
        """Whether a session goes on, and a sentence for the person where nobody can say, so that it does not.

        may_ask: the provider, when it is due; else a session whose time is over is not confirmed.
        """
        if session_id is None or user.issuer is None or user.issuer != self.settings.issuer:
            return False, ""
        with self._engine.connect() as connection:
            kept = people.kept_session(connection, self._cipher, session_id, user.id, user.issuer)
        if kept is None:
            return False, ""
        if not self._is_due(kept):
            return True, ""
        if not may_ask:
            return not self._is_over(kept), ""
        # While somebody else waits for the provider nobody does whose time is not over.
        if not self._asking.acquire(blocking=self._is_over(kept)):
            return True, ""
        try:
            return self._asked(user, session_id), ""
        except ProviderSilentError as error:
            return False, str(self._silent(error))
        finally:
            self._asking.release()

    def _asked(self, user: User, session_id: int) -> bool:
        """The provider's word of a session, noted, in one transaction: a refresh token is good for one use.

        Raises ProviderSilentError when nobody can say, and the session's time is over.
        """
        with self._engine.begin() as connection:
            kept = people.kept_session(
                connection, self._cipher, session_id, user.id, self.settings.issuer or "", lock=True
            )
            if kept is None or not self._is_due(kept):
                return kept is not None
            if not kept.refresh_token:
                if self._is_over(kept):
                    people.end_session(connection, kept.id)
                return not self._is_over(kept)
            try:
                told = self.provider.refresh(kept.refresh_token, kept.subject)
            except ProviderSilentError as error:
                log.warning("the session of %s could not be confirmed: %s", user.name, error)
                if self._is_over(kept):
                    raise
                return True
            except ProviderRefusedError as error:
                log.info("the session of %s is over: %s", user.name, error)
                people.end_session(connection, kept.id)
                return False
            return self._noted(connection, user, kept, told)

    def _noted(self, connection: sa.Connection, user: User, kept: Kept, told: Told) -> bool:
        role: UserRole | None = self.settings.role_of(told.claims)
        if role is None:
            log.info("the session of %s is over: none of their groups is among OIDC_ROLES any more", user.name)
            people.end_session(connection, kept.id)
            return False
        tokens = self._cipher.closed(told.id_token or kept.id_token, told.refresh_token or kept.refresh_token)
        people.go_on(connection, kept, tokens, role, self._clock())
        return True

    def end(self, user: User, session_id: int | None) -> str:
        """Forget a person's sessions; where the provider's own ends, '' for nowhere."""
        with self._engine.connect() as connection:
            kept = session_id and people.kept_session(
                connection, self._cipher, session_id, user.id, self.settings.issuer or ""
            )
        people.end_sessions_of(self._engine, user.id)
        try:
            return self.provider.end_url(kept.id_token) if kept else ""
        except ProviderSilentError as error:
            log.warning("%s could not be signed out at the provider: %s", user.name, error)
            return ""

    def hear_logout(self, logout_token: str) -> None:
        """End what the provider says is over. Raises ProviderRefusedError for a token that is not good, or was used."""
        told = self.provider.logged_out(logout_token)
        ended = people.end_by_provider(
            self._engine, self.settings.issuer or "", told.subject, told.session, told.token, self._clock()
        )
        if ended is None:
            raise ProviderRefusedError("this logout token was used")
        log.info("the provider ended %d sessions", ended)

    def _is_due(self, kept: Kept) -> bool:
        return self._clock() - kept.checked_at >= timedelta(minutes=self.settings.recheck_minutes) / 2

    def _is_over(self, kept: Kept) -> bool:
        return self._clock() - kept.checked_at >= timedelta(minutes=self.settings.recheck_minutes)

    def _silent(self, error: ProviderSilentError) -> LoginRefusedError:
        log.warning("nobody can sign in at the provider: %s", error)
        return LoginRefusedError(f"{self.settings.name} does not answer as it should. Try again in a minute.")
