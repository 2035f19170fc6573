"""dlt: its rest_api source from a local server, merged into the same kind of PostgreSQL."""

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dlt
import requests
from dlt.sources.rest_api import rest_api_resources

from benchmarks.measuring import Stopwatch
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import open_installation


def measure(home: Path, url: str, images: int, page_size: int, nested: bool) -> dict[str, Any]:
    """Load the first `images` images; `nested` False keeps exports and articles as JSON columns, dlt's faster way.

    The step "http" reads the same pages and does nothing with them, so that the server's share is known.
    """
    watch, pages = Stopwatch(), -(-images // page_size)
    with open_installation(Settings(home=home)) as place:
        # The embedded server's socket asks for no password; dlt insists on the field.
        credentials = {
            "database": place.engine.url.database,
            "username": place.engine.url.username,
            "password": "none",
            "host": quote(str(place.engine.url.query["host"]), safe=""),  # a folder is escaped in libpq's URLs
        }
        with watch.step("http"):
            _only_read(url, pages)
        pipeline = dlt.pipeline(
            "rival",
            pipelines_dir=str(home / "dlt"),
            destination=dlt.destinations.postgres(credentials),
            dataset_name="rival",
        )
        with watch.step("extract"):
            pipeline.extract(_resources(url, pages, nested))
        with watch.step("normalize"):
            pipeline.normalize()
        with watch.step("load"):
            pipeline.load()
        with pipeline.sql_client() as client:
            rows = client.execute_sql("SELECT count(*) FROM image")[0][0]
    return {"spans": watch.as_json(), "rows": rows}


def _resources(url: str, pages: int, nested: bool) -> list[Any]:
    endpoint = {
        "path": "image-data/",
        "data_selector": "results",
        "paginator": {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": None,
                      "maximum_page": pages + 1},
    }  # fmt: skip
    resource = {
        "name": "image",
        "endpoint": endpoint,
        "primary_key": "file_id",
        "write_disposition": "merge",
        "processing_steps": [{"map": _with_key}],
        **({} if nested else {"max_table_nesting": 0}),
    }
    return rest_api_resources({"client": {"base_url": url}, "resources": [resource]})


def _with_key(record: dict[str, Any]) -> dict[str, Any]:
    """The identity as a column of its own: dlt merges on columns."""
    return {"file_id": record["original_file"]["file_id"], **record}


def _only_read(url: str, pages: int) -> None:
    with requests.Session() as session:
        for page in range(1, pages + 1):
            session.get(f"{url}image-data/", params={"page": page}, timeout=60).raise_for_status()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(Path(given.pop("home")), **given)))
