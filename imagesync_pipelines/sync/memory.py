"""Python's garbage collector beside work that makes very many small objects."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for cycles inside the `with` block; objects without cycles go at once, as always.

    Rows by the hundred thousand refer to nothing that refers back to them, and a collector that looks at all of them
    again and again took a quarter of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
