"""What stands in for the engine in these tests."""

from datetime import UTC, datetime

from imagesync_pipelines.sync.steps import Summary


def a_summary(images_added: int = 3, warnings: tuple[str, ...] = ()) -> Summary:
    """The summary of a run that is done."""
    now = datetime.now(UTC)
    return Summary("completed", now, now, images_added=images_added, warnings=warnings)
