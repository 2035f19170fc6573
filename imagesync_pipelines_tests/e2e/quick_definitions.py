"""All definitions, with sensors of alerts that look at every turn of the daemon: for tests that wait for them."""

import dagster as dg

from imagesync_pipelines.defs import alerts, lasting, watching
from imagesync_pipelines.defs.build import build_definitions

for _module in (alerts, lasting, watching):
    vars(_module)["LOOK_SECONDS"] = 1


@dg.definitions
def defs() -> dg.Definitions:
    """What the daemon loads."""
    return build_definitions()
