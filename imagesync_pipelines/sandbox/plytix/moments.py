"""Doing something between two calls of a client: somebody else is at work in the same account.

What belongs here: keeping actions and running them when their call comes. What does not: the actions (mutation.py).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

Action = Callable[[], object]


@dataclass
class _Waiting:
    endpoint: str
    action: Action
    skip: int


class Moments:
    """The actions still to come. Safe between threads."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def before(self, endpoint: str, action: Action, *, skip: int = 0) -> None:
        """Do something once, just before the next call of an endpoint has its effect, or before a later one."""
        with self._lock:
            self._waiting.append(_Waiting(endpoint, action, skip))

    def come(self, endpoint: str) -> None:
        """An endpoint is called: do what waits for it."""
        with self._lock:
            named = [one for one in self._waiting if one.endpoint == endpoint]
            due = [one for one in named if one.skip == 0]
            for one in named:
                one.skip -= 1
            self._waiting = [one for one in self._waiting if one not in due]
        for one in due:
            one.action()
