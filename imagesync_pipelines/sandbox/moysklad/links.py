"""The addresses of bytes: signed links that end, permanent links, small pictures (contract sections 1 and 7.5).

What belongs here: making links and judging them. What does not: the hosts that serve them (hosts.py).
"""

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import quote

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.model import Account, Image

USUAL_SECONDS, MOST_SECONDS = 60, 86_400


@dataclass(frozen=True)
class Links:
    """Makes the links of both hosts; their URLs have no path."""

    storage_url: str
    cdn_url: str
    clock: SandboxClock
    key: bytes

    def original(self, account: Account, image: Image, seconds: int = USUAL_SECONDS) -> str:
        """A link to an image's bytes that ends after so many seconds, within what МойСклад allows."""
        lasting = min(max(seconds, USUAL_SECONDS), MOST_SECONDS)
        path = f"/image-prod/image/{account.id}/goodimage/{image.file_id}"
        return self._signed(path, lasting, image.filename)

    def miniature(self, account: Account, image: Image) -> str:
        """A link to the miniature that ends."""
        return self._signed(f"/image-prod/miniature/{account.id}/{image.file_id}", USUAL_SECONDS, "miniature.png")

    def permanent(self, account: Account, image: Image) -> str:
        """The public link that does not end."""
        return f"{self.cdn_url}/{account.id}/image/{image.file_id}"

    def shown_miniature(self, account: Account, image: Image) -> str:
        """The link to a miniature that was asked for once."""
        return f"{self.cdn_url}/miniature/{account.id}/documentminiature/{image.file_id}"

    def tiny(self, account: Account, image: Image) -> str:
        """The link to the smallest picture."""
        return f"{self.cdn_url}/static/tinyimage/{account.id}/tinyimage/{image.file_id}/t.png"

    def is_good(self, path: str, signature: str, expires: str) -> bool:
        """Whether a signed link is ours and has not ended."""
        if not expires.isdecimal() or int(expires) <= self.clock.now().timestamp():
            return False
        return hmac.compare_digest(signature, self._signature(path, expires))

    def _signed(self, path: str, seconds: int, filename: str) -> str:
        expires = str(int(self.clock.now().timestamp()) + seconds)
        query = f"temp_url_sig={self._signature(path, expires)}&temp_url_expires={expires}&filename={quote(filename)}"
        return f"{self.storage_url}{path}?{query}"

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self.key, f"GET\n{expires}\n{path}".encode(), hashlib.sha256).hexdigest()
