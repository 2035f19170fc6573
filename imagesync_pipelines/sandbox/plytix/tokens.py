"""The tokens of Plytix: JWTs of 15 minutes that carry the account's rate limits (contract section 2).

What belongs here: making a token and judging one. What does not: the auth host (auth_app.py).
"""

import secrets
from dataclasses import dataclass, field

import jwt

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.answers import Refused
from imagesync_pipelines.sandbox.plytix.limits import Limits

LIFE_SECONDS = 900
_ALGORITHM = "HS256"


@dataclass
class Tokens:
    """Makes and judges the tokens of one account, by the sandbox's clock."""

    clock: SandboxClock
    limits: Limits
    account_id: str
    # A new one at every start: tokens of a run before are unverifiable, as after a change of keys.
    secret: str = field(default_factory=lambda: secrets.token_hex(32))

    def mint(self) -> str:
        """A token for 15 minutes from now."""
        now = int(self.clock.now().timestamp())
        account = {
            "id": self.account_id,
            "rate_limit": [{"limit": limit, "window_size": seconds} for limit, seconds in self.limits],
        }
        claims = {"iat": now, "exp": now + LIFE_SECONDS, "user_claims": {"account": account}}
        return jwt.encode(claims, self.secret, _ALGORITHM)

    def judge(self, header: str | None) -> None:
        """Accept an Authorization header or raise the 401; only the missing header's body is on record."""
        if not header:
            raise Refused(401, "Missing Authorization Header")
        scheme, _, token = header.partition(" ")
        if scheme != "Bearer":
            raise Refused(401, "Bad Authorization Header. Expected value 'Bearer <JWT>'")
        try:
            claims = jwt.decode(
                token,
                self.secret,
                [_ALGORITHM],
                options={"verify_exp": False, "verify_iat": False, "require": ["exp"]},
            )
        except jwt.InvalidTokenError as error:
            raise Refused(401, "Invalid token") from error
        if claims["exp"] <= self.clock.now().timestamp():
            raise Refused(401, "Token has expired")

    def revoke_all(self) -> None:
        """From now on no token that was handed out is good; new ones are."""
        self.secret = secrets.token_hex(32)
