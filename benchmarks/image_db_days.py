"""Days of a large image database, each when it is told to: only stocks change, and nothing is written."""

import json
import sys
from pathlib import Path

from benchmarks.image_db_large import context_of, next_day, run_stages
from benchmarks.measuring import Stopwatch
from benchmarks.pages import read_made
from imagesync_pipelines.connectors.image_db import reading_steps
from imagesync_pipelines.connectors.image_db.settings import ErpOptions, ImageDbSettings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import open_installation


def main(home: Path, pages: Path) -> None:
    """Print `{}` after the first synchronisation, then for each line that is read the seconds of that day's steps.

    The seconds are processor time of everything that belongs to it, PostgreSQL's too: {"records": 1.3, "plan": …}.
    """
    made = read_made(pages)
    with open_installation(Settings(home=home)) as place:
        settings = ImageDbSettings(erp_parents_file=made.parents, erp_variants_file=made.variants)
        reading_steps.erp_products(context_of(place, settings, "products"), ErpOptions())
        run_stages(Stopwatch(), place, settings, made, "first")
        days = (next_day(made, home), made)
        print("{}", flush=True)
        for number, _ in enumerate(sys.stdin):
            watch = Stopwatch()
            run_stages(watch, place, settings, days[number % 2], f"day-{number}")
            print(json.dumps({span.name.split()[-1]: span.processor for span in watch.spans}), flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    main(Path(given["home"]), Path(given["pages"]))
