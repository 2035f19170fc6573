"""Who calls: the users and solutions of the accounts, their tokens and passwords (contract section 2).

What belongs here: telling an Authorization header's principal, and issuing tokens. What does not: their limits' rules.
"""

import base64
import hashlib
import secrets
import threading
from dataclasses import dataclass, field

from imagesync_pipelines.sandbox.moysklad.limits import AT_ONCE, Kind, UnderWay, Units
from imagesync_pipelines.sandbox.moysklad.model import Account


@dataclass
class Principal:
    """A user or a solution of an account; `units` and `under_way` are its own."""

    name: str
    account: Account
    kind: Kind
    units: Units
    under_way: UnderWay = field(default_factory=lambda: UnderWay(AT_ONCE))
    token: str = ""
    login: str = ""
    password: str = ""
    may_write: bool = True


class Principals:
    """All principals by what they send. Safe between threads."""

    def __init__(self) -> None:
        self._by_header: dict[str, Principal] = {}
        self._lock = threading.Lock()

    def add(self, account: Account, name: str, kind: Kind) -> Principal:
        """A new principal with a token of 40 hex digits; a user has a login and a password too."""
        principal = Principal(name, account, kind, Units(account.clock, account.switches))
        with self._lock:
            # The first token is the same at every start, so that another process can be told of it beforehand.
            self._give_token(principal, first_token(account.name, name))
            if kind is Kind.USER:
                principal.login, principal.password = f"{name}@{account.name}", secrets.token_hex(8)
                self._by_header[_basic(principal)] = principal
        return principal

    def of(self, header: str) -> Principal | None:
        """Whose Authorization header this is."""
        return self._by_header.get(header)

    def issue(self, principal: Principal) -> str:
        """A new token; the one before is no good any more."""
        with self._lock:
            self._by_header.pop(f"Bearer {principal.token}", None)
            return self._give_token(principal, secrets.token_hex(20))

    def revoke(self, principal: Principal) -> None:
        """The solution was removed from the account, or the user's token was taken away."""
        with self._lock:
            self._by_header.pop(f"Bearer {principal.token}", None)

    def _give_token(self, principal: Principal, token: str) -> str:
        principal.token = token
        self._by_header[f"Bearer {token}"] = principal
        return token


def first_token(account: str, name: str) -> str:
    """The token that a principal has at the start: 40 hex digits."""
    return hashlib.sha256(f"{account}/{name}".encode()).hexdigest()[:40]


def _basic(principal: Principal) -> str:
    pair = f"{principal.login}:{principal.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
