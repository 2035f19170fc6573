"""What Dagster loads: everything in the code location."""

from imagesync_pipelines.collector import collector_paused

with collector_paused():
    import dagster as dg

    from imagesync_pipelines.defs.build import build_definitions
    from imagesync_pipelines.defs.console import clean_console
    from imagesync_pipelines.telemetry import spans


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's own commands load. Settings are read only when it is called, so that importing cannot fail."""
    clean_console()
    spans.begin()
    return build_definitions()
