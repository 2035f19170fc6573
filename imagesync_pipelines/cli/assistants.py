"""`imagesync mcp`: the catalogue for assistants, by the Model Context Protocol."""

import os
from typing import Any

import click
from pydantic import SecretStr

from imagesync_pipelines import logs
from imagesync_pipelines.cli.serve import open_here
from imagesync_pipelines.defs import runs
from imagesync_pipelines.languages import told
from imagesync_pipelines.web import service

KEY = "IMAGESYNC_MCP_KEY"


@click.command("mcp")
@click.option("--http", "port", type=click.IntRange(1, 65535), metavar="PORT", help="serve HTTP at /mcp on this port")
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on; put a TLS proxy in front")
def mcp(port: int | None, host: str) -> None:
    """Let an assistant read the catalogue, and make plans that a person applies.

    Without --http it speaks on standard input and output, as a program starts it that has an assistant; the key of
    `imagesync key add` is in the variable IMAGESYNC_MCP_KEY. With --http every request brings its key as a bearer
    token. A key with the scope read reads; one with the scope plan, too, makes plans.
    """
    build_app, build_server = _loaded()
    key = os.environ.get(KEY, "").strip()
    if port is None and not key:
        raise click.ClickException(f"{KEY} is not set: make a key with `imagesync key add`, and give it there.")
    with runs.opened() as (place, instance):
        opened = open_here(place, instance, {})
        if port is None:
            build_server(opened, SecretStr(key)).run("stdio")
            return
        logs.say(told(f"For assistants: http://{host}:{port}/mcp   (Ctrl-C stops it)"))
        service.serve(build_app(opened), host, port, trusted_proxies=opened.shared.trusted_proxies)


def _loaded() -> tuple[Any, Any]:
    try:
        from imagesync_pipelines.web.assistants.server import build_app, build_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise click.ClickException(
            "The package of the Model Context Protocol is not installed: pip install 'imagesync-pipelines[mcp]'."
        ) from error
    return build_app, build_server
