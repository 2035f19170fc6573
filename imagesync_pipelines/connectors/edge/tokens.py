"""How a head office gives tokens (docs/contracts/edge.md, section 1).

What belongs here: paths, body and answer of login and refresh. What does not: holding and renewing them
(upstream/tokens.py), the calls that carry a token (api.py, bodies.py).
"""

from imagesync_pipelines.accounts.file import HeadOfficeAccount
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import SessionPolicy
from imagesync_pipelines.upstream.tokens import GivenToken, TokenHolder, TokenPolicy, text_in

TOKEN_PATH = "api/v1/token/"  # noqa: S105 - a path
REFRESH_PATH = "api/v1/token/refresh/"
# A token is renewed this long before its end, or at four fifths of a short life.
RENEW_SECONDS = 120.0


def head_office_tokens(head_office: HeadOfficeAccount, session: SessionPolicy, timing: Timing) -> TokenHolder:
    """The holder of the token of one account at a head office."""
    policy = TokenPolicy(
        system="the head office",
        credentials=f"user name and password (user {head_office.username})",
        advice="check the account there and in the accounts file",
        path=TOKEN_PATH,
        body={"username": head_office.username, "password": head_office.password.get_secret_value()},
        read=_given,
        refresh_path=REFRESH_PATH,
        renew_before=RENEW_SECONDS,
        proven_by_use=True,
    )
    return TokenHolder(session, policy, timing)


def _given(data: object) -> GivenToken | None:
    access = text_in(data, "access")
    return GivenToken(access, text_in(data, "refresh")) if access else None
