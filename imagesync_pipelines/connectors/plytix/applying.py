"""A plan into Plytix: the engine's remote target for galleries and thumbnails.

What belongs here: what is read, and what ends a run. What does not: uploads before it (uploading.py), the calls that
one product needs (writing.py), reading products again (rereading.py).
"""

import threading
from collections.abc import Mapping, Sequence

import pandas as pd

from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.connectors.plytix.galleries import rows_frame, rows_of
from imagesync_pipelines.connectors.plytix.planning import Policy, Task
from imagesync_pipelines.connectors.plytix.uploading import FATAL
from imagesync_pipelines.connectors.plytix.writing import HourSpentInProductError, Tools, write_by_links, write_by_patch
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.sync.apply import same_for_all
from imagesync_pipelines.sync.model import GroupWork, Outcome, RowResult
from imagesync_pipelines.upstream.errors import UpstreamError

# So many products in a row without an answer are no matter of single products.
GIVE_UP_AFTER = 10


class GalleryTarget:
    """Plytix's galleries as the engine writes them; satisfies its RemoteTarget.

    `stopped` says why the rest of the plan was left, '' while it was not: the rows that were left are REFUSED and wait
    for the next run, which plans them again. It may be given from the start, when the uploads were stopped.
    """

    def __init__(self, tools: Tools, tasks: Mapping[str, Task], policy: Policy, *, stopped: str = "") -> None:
        self._tools = tools
        self._tasks = tasks
        self._policy = policy
        self._write = write_by_patch if policy.strategy == "patch" else write_by_links
        self._lock = threading.Lock()
        self._silent = 0
        self.stopped = stopped

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What Plytix holds now of our pictures on these products."""
        known = self._tools.ledger.known()
        try:
            products = self._tools.rereading.read(groups)
        except HourSpentError as error:
            # Nothing more is written in this run, so what was there when it was planned will do.
            self.stopped = str(error)
            products = {group: self._tasks[group].product for group in groups}
        wanted = {group: [image.key for image in self._tasks[group].images] for group in groups}
        with_left = self._policy.remove_missing
        return rows_frame(
            row
            for sku, product in products.items()
            for row in rows_of(product, wanted[sku], known, with_left=with_left)
        )

    def apply(self, work: GroupWork) -> list[RowResult]:
        """Write one product's gallery and thumbnail.

        Once the account's calls are used up, or Plytix does not answer for several products in a row, the rest is
        left. Raises AnswerLostError, CredentialsError, NotAllowedError, and other errors of Plytix about this product.
        """
        if self.stopped:
            return same_for_all(work, Outcome.REFUSED, self.stopped)
        try:
            results = self._write(self._tools, work, self._tasks[work.group])
        except HourSpentInProductError as error:
            self.stopped = str(error)
            return error.results
        except FATAL:
            raise
        except (AnswerLostError, UpstreamError) as error:
            with self._lock:
                self._silent += 1
                if self._silent >= GIVE_UP_AFTER:
                    self.stopped = f"{self._silent} products in a row got no answer, the last: {error}"
            raise
        with self._lock:
            self._silent = 0
        return results
