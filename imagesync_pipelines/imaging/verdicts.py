"""Each whole picture decoded once: what its bytes prove is kept over accounts and runs, until our decoders change."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Future
from functools import cache
from importlib import metadata

import pyvips
import sqlalchemy as sa

from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.imaging.validation import check_image, check_label
from imagesync_pipelines.storage import decoded
from imagesync_pipelines.storage.decoded import Decoded

# To be raised when our own check judges otherwise than before.
CHECK = "1"
_DECODERS = ("pyvips", "pyvips-binary", "simplejpeg", "pillow", "pillow-heif")
# What its bytes alone prove of a body. What a decoder stumbles over may be this host: without a thread libvips says the
# same of a good picture as of a broken one. So that, damage, and limits of time and memory are looked at every time.
_LASTING = frozenset({Fault.NO_IMAGE, Fault.MARKUP, Fault.TOO_LARGE})
# More than are looked up, fetched and written between two savings; what is dropped is found in the database.
IN_MEMORY = 10_000


@cache
def decoder() -> str:
    """What judges a picture here: our check and the libraries below it, with their versions."""
    libvips = ".".join(str(pyvips.version(part)) for part in range(3))
    return " ".join([CHECK, f"libvips={libvips}", *(f"{name}={_version(name)}" for name in _DECODERS)])


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"


class Verdicts:
    """What is known of contents in one run, and what it found out. Used from several threads.

    Content is known by its SHA-256; the MD5 that a source lists only says where to look. engine: of our own database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Future[Decoded]] = OrderedDict()
        self._unsaved: dict[str, Decoded] = {}
        self._due: set[str] = set()

    def look_up(self, md5s: Collection[str]) -> None:
        """Read what is known of contents that are about to be checked."""
        found = decoded.find(self._engine, decoder(), md5s) if md5s else []
        with self._lock:
            for one, is_due in found:
                if one.sha256 not in self._known:
                    self._remember(one.sha256).set_result(one)
                    self._due |= {one.sha256} if is_due else set()

    def check(self, body: bytes | memoryview, md5: str, content_type: str) -> str:
        """The damage of a picture that is as its source lists it, '' for none; see check_image.

        It is decoded unless somebody did so before, and whoever else has the same content meanwhile waits for that.
        Raises BadImageError, for a kept refusal with the same reason.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        with self._lock:
            known, is_mine = self._known.get(sha256), sha256 not in self._known
            if known is None:
                known = self._remember(sha256)
            elif sha256 in self._due and known.done():
                self._due.discard(sha256)
                self._unsaved[sha256] = known.result()
        if is_mine:
            self._decode(bytes(body), md5, sha256, known)
        verdict = known.result()
        if verdict.fault:
            raise BadImageError(Fault(verdict.fault), verdict.reason)
        check_label(verdict.format, content_type)
        return verdict.damage

    def save(self) -> None:
        """Keep what was found since the last saving; where that is nothing, nothing is executed."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
        if unsaved:
            decoded.keep(self._engine, decoder(), list(unsaved.values()))

    def _decode(self, body: bytes, md5: str, sha256: str, known: "Future[Decoded]") -> None:
        lasting = True
        try:
            facts = check_image(body, is_as_listed=True)
            found = Decoded(md5, sha256, facts.format, facts.damage, "", "")
            lasting = not facts.damage
        except BadImageError as error:
            found = Decoded(md5, sha256, "", "", error.fault, str(error))
            lasting = error.fault in _LASTING
        except BaseException as error:
            with self._lock:
                self._known.pop(sha256, None)
            known.set_exception(error)
            raise
        with self._lock:
            if lasting:
                self._unsaved[sha256] = found
            else:
                self._known.pop(sha256, None)
        known.set_result(found)

    def _remember(self, sha256: str) -> "Future[Decoded]":
        known = self._known[sha256] = Future()
        while len(self._known) > IN_MEMORY:
            self._known.popitem(last=False)
        return known
