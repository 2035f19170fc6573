"""How we say who we are to an outside system."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr


@dataclass(frozen=True)
class BasicAuth:
    """A user and a password for HTTP Basic."""

    user: str
    password: SecretStr


HeaderAuth = Callable[[], Mapping[str, SecretStr]]
"""Gives the headers that carry the credentials; asked before every attempt, so that a token may be renewed."""


def credential_headers(auth: BasicAuth | HeaderAuth | None) -> dict[str, str]:
    """Give the headers that carry the credentials."""
    if auth is None:
        return {}
    if isinstance(auth, BasicAuth):
        pair = f"{auth.user}:{auth.password.get_secret_value()}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {name: value.get_secret_value() for name, value in auth().items()}


def secret_texts(auth: BasicAuth | HeaderAuth | None, credentials: Mapping[str, str]) -> tuple[str, ...]:
    """Give every text that must not be shown: user, password, whole header values and the token inside them."""
    named = (auth.user, auth.password.get_secret_value()) if isinstance(auth, BasicAuth) else ()
    return (*named, *credentials.values(), *(value.split(" ")[-1] for value in credentials.values()))
