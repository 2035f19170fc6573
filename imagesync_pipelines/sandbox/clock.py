"""The sandbox's time: it can be moved without sleeping."""

import threading
from datetime import UTC, datetime, timedelta


class SandboxClock:
    """A clock that runs with the machine's, or stands still at `standing_at`; both can be moved. Thread-safe."""

    def __init__(self, standing_at: datetime | None = None) -> None:
        """`standing_at` must carry a time zone; without it the clock starts at the machine's time and runs."""
        if standing_at is not None and standing_at.tzinfo is None:
            raise ValueError("standing_at has no time zone; write datetime(..., tzinfo=UTC)")
        self._standing_at = standing_at
        self._moved = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The sandbox's time, in UTC."""
        with self._lock:
            base = self._standing_at if self._standing_at is not None else datetime.now(UTC)
            return base.astimezone(UTC) + self._moved

    def move(self, seconds: float) -> None:
        """Move the clock by so many seconds, backwards too."""
        with self._lock:
            self._moved += timedelta(seconds=seconds)
