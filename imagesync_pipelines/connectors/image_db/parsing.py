"""Stored pages to columns, on several cores: a large catalogue is parsed by helper processes beside this one.

A helper is a plain child process that speaks pickle over its pipes: multiprocessing would import the program that
started it (Dagster, the command line) into every helper, which takes longer than parsing 50,000 images.
"""

import gc
import os
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib.abc import MetaPathFinder
from typing import IO

from imagesync_pipelines.connectors.image_db.columns import Chunk, RawPage, chunk_of
from imagesync_pipelines.connectors.image_db.known import NOTHING_KNOWN, KnownRecords

# About 4,000 images: what one helper gets at a time, and a row group of the file.
CHUNK_BYTES = 8 * 2**20
# Below it a helper's own start (0.5 s) costs more than it saves.
HELPED_BYTES = 24 * 2**20
MAX_HELPERS = 4


Helper = Callable[[list[RawPage], int], Chunk | None]


def parse(
    pages: Iterable[RawPage], min_height: int, total_bytes: int, known: KnownRecords = NOTHING_KNOWN
) -> Iterator[Chunk]:
    """The pages as chunks, in order; `total_bytes` (about, of all pages) says whether helpers are worth starting.

    What is known is taken over here: handing a page to a helper takes longer. As soon as most of a batch is new, the
    helpers read what is left, as if nothing were known. This process then only hands pages over: a thread that parses
    would keep the others from reading their pipes. A helper that dies is no loss: its pages are parsed here.
    """
    batches = _batches(pages)
    mostly_new = not len(known.first)
    while not mostly_new:
        batch = next(batches, None)
        if batch is None:
            return
        chunk = chunk_of(batch, min_height, known)
        yield chunk
        mostly_new = 2 * len(chunk.table) > len(chunk.rows)
    helpers = min(MAX_HELPERS, os.cpu_count() or 1) if total_bytes >= HELPED_BYTES else 1
    if helpers == 1:
        yield from (chunk_of(batch, min_height) for batch in batches)
        return
    with ExitStack() as stack:
        idle: queue.SimpleQueue[Helper] = queue.SimpleQueue()
        for _ in range(helpers):
            idle.put(stack.enter_context(_helper()))
        pool = stack.enter_context(ThreadPoolExecutor(helpers, thread_name_prefix="parse"))
        waiting: deque[Future[Chunk]] = deque()
        for batch in batches:
            waiting.append(pool.submit(_ask, idle, batch, min_height))
            if len(waiting) > helpers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _ask(idle: "queue.SimpleQueue[Helper]", batch: list[RawPage], min_height: int) -> Chunk:
    """Have an idle helper parse a batch; there are as many threads as helpers, so one is idle."""
    helper = idle.get()
    try:
        answer = helper(batch, min_height)
    finally:
        idle.put(helper)
    return answer or chunk_of(batch, min_height)


def _batches(pages: Iterable[RawPage]) -> Iterator[list[RawPage]]:
    batch: list[RawPage] = []
    size = 0
    for raw in pages:
        batch.append(raw)
        size += len(raw.body)
        if size >= CHUNK_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def _helper() -> Iterator[Helper]:
    """A helper process as a function; it ends when its pipe is closed."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    requests, answers = process.stdin, process.stdout
    if requests is None or answers is None:
        raise OSError("a helper process has no pipes")

    def ask(batch: list[RawPage], min_height: int) -> Chunk | None:
        try:
            _send(requests, (batch, min_height))
            answer = pickle.load(answers)  # noqa: S301 - from our own child
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        return answer if isinstance(answer, Chunk) else None

    try:
        yield ask
    finally:
        with suppress(OSError):  # it died with a request half written
            requests.close()
        answers.close()
        process.wait()


def _send(pipe: IO[bytes], value: object) -> None:
    pickle.dump(value, pipe, protocol=5)
    pipe.flush()


class _WithoutPandas(MetaPathFinder):
    """Keeps pyarrow from loading pandas to ask if a list is a Series; that takes longer than reading 10,000 images."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raises ImportError for pandas."""
        if name == "pandas":
            raise ImportError("a helper does without pandas")


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Parse what comes until the pipe is closed; what cannot be parsed here the parent parses, and raises its error."""
    gc.freeze()  # what was loaded stays
    while True:
        try:
            batch, min_height = pickle.load(requests)  # noqa: S301 - from our own parent
        except EOFError:
            return
        gc.disable()  # rows by the thousand that refer to nothing that refers back to them
        try:
            answer: Chunk | None = chunk_of(batch, min_height)
        except Exception:  # noqa: BLE001 - the parent meets the same error and raises it with its trace
            answer = None
        gc.enable()
        _send(answers, answer)


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas())
    _serve(sys.stdin.buffer, sys.stdout.buffer)
