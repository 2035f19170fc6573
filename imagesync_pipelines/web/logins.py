"""Trying a password, at every service that has logins: where the try comes from, how often, and how many at once.

An Argon2 hash takes 64 MiB while it is worked out: a few are at a time, the others wait and hold no thread.
"""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from starlette.requests import HTTPConnection

from imagesync_pipelines.storage.wrong_logins import WrongLogins

T = TypeVar("T")

HASHED_AT_ONCE = 2
_POOL = ThreadPoolExecutor(HASHED_AT_ONCE, thread_name_prefix="password")


class TooManyTriesError(Exception):
    """This name was tried from this address too often; `seconds` until the next try."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = math.ceil(seconds)


def address_of(connection: HTTPConnection) -> str:
    """Where a request comes from; of IPv6 the network, since whoever has one address there has 2**64 of them.

    Behind a proxy that IMAGESYNC_TRUSTED_PROXIES names it is the visitor's, else the proxy's.
    """
    text = connection.client.host if connection.client else ""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
    return str(address)


async def let_in(tries: WrongLogins, name: str, address: str, now: datetime, check: Callable[[], T | None]) -> T | None:
    """What `check` gives for a right password, None for a wrong one, which is counted.

    check: hashes the password, whether anybody has the name or not. Raises TooManyTriesError without calling it.
    """
    return await asyncio.get_running_loop().run_in_executor(_POOL, partial(_try, tries, name, address, now, check))


def _try(tries: WrongLogins, name: str, address: str, now: datetime, check: Callable[[], T | None]) -> T | None:
    # Looked at here and not before: tries at the same moment wait in one queue, so they cannot pass together.
    if wait := tries.wait(name, address, now):
        raise TooManyTriesError(wait)
    found = check()
    if found is None:
        tries.note_wrong(name, address, now)
    else:
        tries.note_right(name, address, now)
    return found
