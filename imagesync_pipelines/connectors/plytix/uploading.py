"""Pictures into Plytix: each one uploaded once, however many products show it and however many runs want it."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.errors import HourSpentError, NotAllowedError
from imagesync_pipelines.connectors.plytix.ledger import Ledger, NotedAsset
from imagesync_pipelines.connectors.plytix.model import Upload
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.sync.apply import error_reason
from imagesync_pipelines.upstream.errors import CredentialsError, UpstreamError

# What is not about one picture: everything after it would end the same way.
FATAL = (CredentialsError, NotAllowedError)


@dataclass(frozen=True)
class UploadsDone:
    """What became of the uploads of a run, in pictures.

    uploaded: new assets; existed: Plytix had the very file. failed: reasons by key. left: not tried, for the reason
    `stopped`, which is empty when all were.
    """

    uploaded: int = 0
    existed: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    left: int = 0
    stopped: str = ""


class Uploads:
    """The assets of an account's pictures, uploaded as they are asked for. Used from several threads."""

    def __init__(self, api: PlytixApi, ledger: Ledger) -> None:
        self._api = api
        self._ledger = ledger
        self._assets = ledger.known().assets()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        self._uploaded: set[str] = set()
        self._existed: set[str] = set()

    @property
    def uploaded(self) -> int:
        """How many pictures were uploaded so far."""
        return len(self._uploaded)

    @property
    def existed(self) -> int:
        """How many pictures were asked to be uploaded so far and were in Plytix already."""
        return len(self._existed)

    def asset_of(self, key: str) -> str | None:
        """The asset of a picture; None when it has none yet."""
        with self._lock:
            return self._assets.get(key)

    def upload(self, key: str, url: str, instead_of: str | None) -> str:
        """The asset of a picture; it is uploaded when its asset still is `instead_of` (None: it has none).

        So several products that miss the same asset upload it once. Raises what PlytixApi.create_asset raises.
        """
        with self._lock:
            lock = self._locks[key]
        with lock:
            known = self.asset_of(key)
            if known is not None and known != instead_of:
                return known
            made = self._create(key, url)
            self._ledger.note_assets([NotedAsset(made.asset.id, key, made.asset.filename)])
            with self._lock:
                self._assets[key] = made.asset.id
                (self._existed if made.existed else self._uploaded).add(key)
            return made.asset.id

    def replace(self, key: str, url: str, gone: str) -> str:
        """Upload a picture whose asset Plytix does not have any more, and forget that one; gives the new asset.

        Raises what PlytixApi.create_asset raises.
        """
        asset = self.upload(key, url, gone)
        if asset != gone:
            self._ledger.forget_asset(gone)
        return asset

    def _create(self, key: str, url: str) -> Upload:
        """Upload a picture. A lost answer is asked for again: the same file under the same name is not made twice."""
        name = file_name(key)
        try:
            return self._api.create_asset(url, name)
        except AnswerLostError:
            again = self._api.create_asset(url, name)
            return again._replace(existed=False)


def upload_all(
    urls: Mapping[str, str],
    uploads: Uploads,
    *,
    workers: int,
    anew: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> UploadsDone:
    """Upload pictures (key to URL), several at a time; those that have an asset only when `anew`.

    A picture that Plytix does not take stops no other one. When the account's calls are used up, the rest is left for
    the next run. Raises CredentialsError and NotAllowedError.
    """
    wanted = {key: url for key, url in urls.items() if anew or uploads.asset_of(key) is None}
    failed: dict[str, str] = {}
    stopped: list[BaseException] = []
    done: list[str] = []
    lock = threading.Lock()

    def one(key: str) -> None:
        if stopped:
            return
        try:
            uploads.upload(key, wanted[key], uploads.asset_of(key) if anew else None)
        except (HourSpentError, *FATAL) as error:
            stopped.append(error)
            return
        except (AnswerLostError, UpstreamError) as error:
            with lock:
                failed[key] = error_reason(error)
        with lock:
            done.append(key)
            on_progress(len(done))

    with ThreadPoolExecutor(workers, thread_name_prefix="upload") as pool:
        list(pool.map(one, wanted))
    for error in stopped:
        if isinstance(error, FATAL):
            raise error
    why = str(stopped[0]) if stopped else ""
    return UploadsDone(uploads.uploaded, uploads.existed, failed, len(wanted) - len(done), why)
