"""The head-office service over a bucket that is filled already, for measuring what it costs in between."""

import json
import secrets
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import SecretStr

from benchmarks.edge_bytes import place_of
from benchmarks.edge_photos import read_photos
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.storage.embedded import ensure_server
from imagesync_pipelines.storage.objects import s3_client
from imagesync_pipelines.web.head_office import accounts, catalogue, tables
from imagesync_pipelines.web.head_office.app import serve
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines.web.head_office.tokens import hash_password

ACCOUNT = "bench"


def main(arguments: dict[str, Any]) -> None:
    """Fill the tables, print how to reach the service as one line of JSON, and serve until the process is ended."""
    place, password, port = place_of(arguments["s3"]), secrets.token_hex(12), _free_port()
    engine = sa.create_engine(ensure_server(Path(arguments["home"])).url("postgres", "psycopg"), pool_size=40)
    secret = SecretStr(secrets.token_hex(32))
    office = HeadOffice(
        engine, s3_client(place), place.bucket, HeadOfficeSettings(), secret, lambda: datetime.now(UTC), place=place
    )
    tables.create_tables(engine)
    store_id = _fill(office, read_photos(Path(arguments["photos"])), password)
    reach = {"url": f"http://127.0.0.1:{port}", "username": ACCOUNT, "password": password, "store_id": str(store_id)}
    print(json.dumps(reach), flush=True)
    serve(office, port=port)


def _fill(office: HeadOffice, photos: Sequence[Photo], password: str) -> UUID:
    company = catalogue.add_company(office, "Bench")
    brand, store = catalogue.add_brand(office, company, "Bench"), catalogue.add_store(office, company, "b", "Bench")
    catalogue.link_brand(office, store, brand)
    accounts.add_account(office, ACCOUNT, hash_password(password), all_stores=True)
    products = [
        {"id": UUID(one.product_id), "brand_id": brand, "sku": one.product_sku, "name": one.product_name}
        for one in photos
    ]
    kept = ("object_key", "filename", "size", "content_type", "checksum", "is_primary", "updated_at")
    rows = [
        {"id": UUID(one.photo_id), "product_id": UUID(one.product_id), **{name: getattr(one, name) for name in kept}}
        for one in photos
    ]
    with office.engine.begin() as connection:
        connection.execute(tables.product.insert(), products)
        connection.execute(tables.photo.insert(), rows)
    return store


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
