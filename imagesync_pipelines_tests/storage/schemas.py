"""Our schema in a database, as PostgreSQL itself writes it: two databases are alike when their texts are."""

import re
import subprocess

import sqlalchemy as sa

from imagesync_pipelines.storage.embedded import programs
from imagesync_pipelines.storage.schema import SCHEMA


def schema_of(url: str) -> list[str]:
    """The lines of a dump of our schema, without Alembic's table and what is random in a dump."""
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    arguments = ["-s", "-n", SCHEMA, "-T", "*.alembic_version", "--no-owner", "--no-privileges", f"--dbname={plain}"]
    text = subprocess.run([programs() / "pg_dump", *arguments], check=True, capture_output=True, text=True).stdout
    return [line for line in text.splitlines() if line and not re.match(r"--|\\(un)?restrict", line)]
