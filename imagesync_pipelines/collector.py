"""Python's search for cycles of garbage, paused where it only costs: rows by the hundred thousand, and imports."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for cycles inside the `with` block; objects without cycles go at once, as always.

    Rows by the hundred thousand refer to nothing that refers back to them, and what a process imports stays: a
    collector that looks at all of it again and again took a quarter of the time of both.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
