"""Pictures in Plytix, each one uploaded once, however many products show it and however many runs want it."""

import threading
from collections.abc import Iterable

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.ledger import Ledger, NotedAsset
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.errors import AnswerLostError


class Uploads:
    """The assets of an account's pictures, uploaded as they are asked for. Used from several threads.

    uploaded, existed: keys of pictures that were uploaded so far, or were to be and were in Plytix already.
    """

    # Threads share the dictionaries and sets: each single look or change of one is whole.

    def __init__(self, api: PlytixApi, ledger: Ledger) -> None:
        self._api = api
        self._ledger = ledger
        self._assets = ledger.known().assets()
        self._locks: dict[str, threading.Lock] = {}
        self.uploaded: set[str] = set()
        self.existed: set[str] = set()

    def asset_of(self, key: str) -> str | None:
        """The asset of a picture; None when it has none yet."""
        return self._assets.get(key)

    def assets_of(self, keys: Iterable[str]) -> dict[str, str]:
        """The assets of pictures, by key; those that have none yet are missing."""
        return {key: asset for key in keys if (asset := self.asset_of(key)) is not None}

    def upload(self, key: str, url: str, instead_of: str | None) -> str:
        """The asset of a picture; it is uploaded when its asset still is `instead_of` (None: it has none).

        So several products that miss the same asset upload it once. A lost answer is asked for again: the same file
        under the same name is not made twice. Raises what PlytixApi.create_asset raises.
        """
        with self._locks.setdefault(key, threading.Lock()):
            known = self.asset_of(key)
            if known is not None and known != instead_of:
                return known
            name = file_name(key)
            try:
                asset, existed = self._api.create_asset(url, name)
            except AnswerLostError:
                asset, _ = self._api.create_asset(url, name)
                existed = False
            self._ledger.note_assets([NotedAsset(asset.id, key, asset.filename, asset.url)])
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
