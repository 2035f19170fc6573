"""The bytes of an image: through a permanent link, else in two steps (contract section 7.5).

What belongs here: which way they come, and links that expire. What does not: the call that names a storage host
(calls.py), fetching from it (upstream/fetch.py), judging the picture (imaging/). The storage host may be any, and gets
no credentials; miniatures are never fetched.
"""

from urllib.parse import urlsplit

from imagesync_pipelines.connectors.moysklad.api.calls import MoyskladCalls
from imagesync_pipelines.connectors.moysklad.model import ImageRow
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.upstream.addresses import Resolve
from imagesync_pipelines.upstream.errors import AlteredBodyError, UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image
from imagesync_pipelines.upstream.retries import Timing

# What a storage host answers to a link that expired, and a public host to one that is dead; another may then help.
_EXPIRED = frozenset({400, 401, 403, 404, 410})


class ImageDownloads:
    """Downloads from one account; shared by all threads of a run."""

    def __init__(
        self,
        calls: MoyskladCalls,
        settings: MoyskladSettings,
        allowed_hosts: frozenset[str],
        timing: Timing,
        resolve: Resolve,
    ) -> None:
        self._calls = calls
        self._timing = timing
        self._resolve = resolve
        self._policy = FetchPolicy(
            allowed_hosts=allowed_hosts,
            read_timeout=settings.download_timeout,
            total_deadline=settings.download_timeout,
            tries=settings.tries,
        )

    def get(self, row: ImageRow) -> bytes:
        """The bytes of an image, exactly as many as its row says. A link that expired is asked for once again."""
        if row.permanent_href:
            try:
                return self._fetched(row.permanent_href, row)
            except UpstreamError as error:
                if error.status not in _EXPIRED:
                    raise
        path = f"download/{urlsplit(row.download_href).path.rpartition('/')[2] or row.id}"
        link = self._calls.location(path)
        try:
            return self._fetched(link, row)
        except UpstreamError as error:
            if error.status not in _EXPIRED:
                raise
        return self._fetched(self._calls.location(path), row)

    def _fetched(self, url: str, row: ImageRow) -> bytes:
        fetched = fetch_image(url, self._policy, timing=self._timing, resolve=self._resolve)
        if len(fetched.body) != row.size:
            raise AlteredBodyError(
                f"{len(fetched.body)} bytes came where {row.size} are listed for {row.filename or row.id}",
                host=urlsplit(fetched.url).netloc,
                status=200,
            )
        return fetched.body
