"""`imagesync postgres`: PostgreSQL's own programs on the embedded server, in its version, for backups above all."""

import os
import subprocess

import click

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.embedded import SUPERUSER, ensure_server, programs

_PROGRAMS = ("createdb", "dropdb", "pg_amcheck", "pg_dump", "pg_dumpall", "pg_restore", "psql", "reindexdb", "vacuumdb")


@click.command("postgres", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("program", type=click.Choice(_PROGRAMS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def postgres(context: click.Context, program: str, arguments: tuple[str, ...]) -> None:
    """Run a program of PostgreSQL on the embedded server: imagesync postgres pg_dump -Fc imagesync > imagesync.dump.

    Its databases are imagesync and dagster, head_office where one is served, and edge_NAME of stores without a dsn.
    """
    settings = load_settings(Settings)
    if settings.database_url is not None:
        raise click.ClickException(
            f"IMAGESYNC_DATABASE_URL names a server of yours, so use its {program}; this is for the embedded one"
        )
    server = ensure_server(settings.home.expanduser())
    environment = {**os.environ, "PGHOST": str(server.socket_folder), "PGUSER": SUPERUSER, "PGPORT": "5432"}
    done = subprocess.run([str(programs() / program), *arguments], env=environment, check=False)  # noqa: S603
    context.exit(done.returncode)
