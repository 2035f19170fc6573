"""Signatures of webhooks as Standard Webhooks 1.0 says (standardwebhooks.com), and the secrets that make them."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from pydantic import SecretStr

from imagesync_pipelines.languages import told

PREFIX = "whsec_"
# The specification's bounds of a secret, in bytes; ours have the middle.
FEWEST, MOST, OURS = 24, 64, 32


class WebhookSecretError(ValueError):
    """A text is no secret of a webhook; the message does not repeat it."""


def new_secret() -> SecretStr:
    """A new secret, random."""
    return SecretStr(PREFIX + base64.b64encode(secrets.token_bytes(OURS)).decode())


def key_of(secret: SecretStr) -> bytes:
    """The bytes that a secret stands for. Raises WebhookSecretError."""
    text = secret.get_secret_value().strip()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not FEWEST <= len(key) <= MOST:
        what = told(f"a secret of a webhook is {PREFIX} and {FEWEST} to {MOST} random bytes in base64")
        raise WebhookSecretError(f"{what}; `imagesync webhook add` and `rotate` make one")
    return key


def signed_headers(message_id: str, at: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of one attempt. at: its moment, in seconds since 1970; keys: each signs, the newest first."""
    content = f"{message_id}.{at}.".encode() + body
    signatures = (base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }
