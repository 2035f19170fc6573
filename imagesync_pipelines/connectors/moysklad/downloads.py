"""Images of the main account become kept content, each once for all child accounts."""

from dataclasses import dataclass

from imagesync_pipelines.connectors.moysklad.child import HOLD
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import FATAL, AccountStoppedError
from imagesync_pipelines.connectors.moysklad.model import ImageRow, Wanted
from imagesync_pipelines.connectors.moysklad.rules import image_of, source_of
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.imaging.derivatives import shrink
from imagesync_pipelines.imaging.validation import check_image
from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.sync.apply import item_failure
from imagesync_pipelines.upstream.errors import DeadlineExceededError


@dataclass
class Downloads:
    """Images of the main account that are not kept, downloaded by several threads, until the account stops."""

    main: MoyskladApi
    contents: Contents
    stopped: str = ""

    def fetch(self, image: Wanted) -> int | str | None:
        """How many bytes one image took, or why it cannot be had; None: it is left, for the account stopped.

        Raises AccountRefusedError and AccountForbiddenError.
        """
        if self.stopped:
            return None
        try:
            return self._fetched(image)
        except FATAL:
            raise
        except AccountStoppedError as error:
            self.stopped = self.stopped or error_reason(error)
            return None
        except DeadlineExceededError as error:
            return told(f"Download timeout: {error}")
        except Exception as error:  # noqa: BLE001 - whatever one image does to a library, the others go on
            return item_failure(error)

    def _fetched(self, image: Wanted) -> int:
        # How many bytes were downloaded; none where somebody else just did.
        contents, source, size = self.contents, image_of(image.source), 0
        with contents.fetching(source_of(source)) as found:
            if found is None:
                row = ImageRow(source, image.filename, image.size, image.download_href, image.permanent_href)
                body = self.main.download(row)
                size = len(body)
                found = contents.put(source_of(source), body, check_image(body), HOLD)
            if not image.limit:
                return size
            smaller = shrink(contents.read(found), image.limit)
        contents.put(source_of(image.source), smaller, check_image(smaller), HOLD)
        return size
