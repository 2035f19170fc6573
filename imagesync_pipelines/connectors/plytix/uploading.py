"""Pictures into Plytix: each one uploaded once, however many products show it and however many runs want it."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.errors import HourSpentError, NotAllowedError
from imagesync_pipelines.connectors.plytix.ledger import Ledger, NotedAsset
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.sync.apply import error_reason
from imagesync_pipelines.upstream.errors import CredentialsError, UpstreamError

# What is not about one picture: everything after it would end the same way.
FATAL = (CredentialsError, NotAllowedError)


class Uploads:
    """The assets of an account's pictures, uploaded as they are asked for. Used from several threads.

    uploaded, existed: keys of pictures that were uploaded so far, or were to be and were in Plytix already.
    """

    def __init__(self, api: PlytixApi, ledger: Ledger) -> None:
        self._api = api
        self._ledger = ledger
        self._assets = ledger.known().assets()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        self.uploaded: set[str] = set()
        self.existed: set[str] = set()

    def asset_of(self, key: str) -> str | None:
        """The asset of a picture; None when it has none yet."""
        with self._lock:
            return self._assets.get(key)

    def assets_of(self, keys: Iterable[str]) -> dict[str, str]:
        """The assets of pictures, by key; those that have none yet are missing."""
        return {key: asset for key in keys if (asset := self.asset_of(key)) is not None}

    def upload(self, key: str, url: str, instead_of: str | None) -> str:
        """The asset of a picture; it is uploaded when its asset still is `instead_of` (None: it has none).

        So several products that miss the same asset upload it once. A lost answer is asked for again: the same file
        under the same name is not made twice. Raises what PlytixApi.create_asset raises.
        """
        with self._lock:
            lock = self._locks[key]
        with lock:
            known = self.asset_of(key)
            if known is not None and known != instead_of:
                return known
            name = file_name(key)
            try:
                asset, existed = self._api.create_asset(url, name)
            except AnswerLostError:
                asset, _ = self._api.create_asset(url, name)
                existed = False
            self._ledger.note_assets([NotedAsset(asset.id, key, asset.filename)])
            with self._lock:
                self._assets[key] = asset.id
                (self.existed if existed else self.uploaded).add(key)
            return asset.id

    def replace(self, key: str, url: str, gone: str) -> str:
        """Upload a picture whose asset Plytix does not have any more, and forget that one; gives the new asset.

        Raises what PlytixApi.create_asset raises.
        """
        asset = self.upload(key, url, gone)
        if asset != gone:
            self._ledger.forget_asset(gone)
        return asset

    def upload_all(
        self, urls: Mapping[str, str], *, workers: int, anew: bool, on_progress: Callable[[int], None]
    ) -> tuple[dict[str, str], int, str]:
        """Upload pictures (key to URL), several at a time; those that have an asset only when `anew`.

        Gives the reasons of those that Plytix does not take, by key; how many are left for the next run because the
        account's calls are used up; and the sentence that says so, '' when none is. Raises CredentialsError and
        NotAllowedError.
        """
        wanted = {key: url for key, url in urls.items() if anew or self.asset_of(key) is None}
        stopped: list[UpstreamError] = []

        def one(key: str) -> str | None:
            """Why a picture was not taken, '' when it is there, None when it is left."""
            if stopped:
                return None
            try:
                self.upload(key, wanted[key], self.asset_of(key) if anew else None)
            except (HourSpentError, *FATAL) as error:
                stopped.append(error)
                return None
            except (AnswerLostError, UpstreamError) as error:
                return error_reason(error)
            return ""

        reasons: dict[str, str] = {}
        with ThreadPoolExecutor(workers, thread_name_prefix="upload") as pool:
            for key, reason in zip(wanted, pool.map(one, wanted), strict=True):
                if reason is not None:
                    reasons[key] = reason
                    on_progress(len(reasons))
        for error in stopped:
            if isinstance(error, FATAL):
                raise error
        failed = {key: reason for key, reason in reasons.items() if reason}
        return failed, len(wanted) - len(reasons), str(stopped[0]) if stopped else ""
