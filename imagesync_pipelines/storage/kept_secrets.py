"""Secrets that an installation makes for itself once and keeps in its home."""

import secrets
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr


def kept_secret(file: Path) -> SecretStr:
    """The secret in the file, 64 hexadecimal digits; made on the first call, by whichever process comes first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        fresh = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        # A link appears whole or not at all, and never replaces one that another process made.
        try:
            file.hardlink_to(fresh)
        finally:
            fresh.unlink()
    return SecretStr(file.read_text())
