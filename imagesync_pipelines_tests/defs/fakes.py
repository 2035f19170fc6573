"""What stands in for the engine in these tests."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FakeSummary:
    """The engine's summary: the same two methods, fewer numbers."""

    images_added: int = 3
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "status": "completed",
            "images_added": self.images_added,
            "error_message": None,
            "warnings": list(self.warnings),
        }

    def metrics(self) -> Mapping[str, int | float]:
        return {"images/added": self.images_added}
