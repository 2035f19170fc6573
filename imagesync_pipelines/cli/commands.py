"""Every command of `imagesync`: its name, where it is, and the one line that lists say of it.

`imagesync --help` is made from this file alone, so nothing heavy may be imported here.
"""

import click

from imagesync_pipelines.cli.lazy import LazyCommand, SyncCommand
from imagesync_pipelines.registry import CONNECTORS

PACKAGE = "imagesync_pipelines.cli"


def _command(name: str, where: str, line: str) -> LazyCommand:
    """The command at `where` ("module:attribute") in this package."""
    return LazyCommand(name, f"{PACKAGE}.{where}", line)


def _group(name: str, line: str, *commands: click.Command) -> click.Group:
    """The group of these commands."""
    return click.Group(name, help=line, commands=commands)


SYNC = _group(
    "sync",
    "Synchronise one connector now.",
    *(SyncCommand(name, line) for name, line in CONNECTORS.items() if name != "plytix"),
    # It has options that are about no run: where the report is written, and that one has to choose.
    _command("plytix", "plytix:sync", CONNECTORS["plytix"]),
)
IMAGE_DB = _group(
    "image-db",
    "Upkeep of the image database's pages.",
    _command(
        "discover",
        "pages:discover",
        "Ask the image database how many pages it has and make the page partitions equal to that (one call).",
    ),
    _command(
        "reset-pages",
        "pages:reset_pages",
        "Forget the page partitions and stored pages, after the block size was changed; product_image is not touched.",
    ),
)
EDGE = _group(
    "edge",
    "Upkeep of the edge stores.",
    _command(
        "check",
        "edge:check",
        "Try out a store's head office step by step, as an edge uses it; nothing is written anywhere.",
    ),
    _command(
        "migrate",
        "edge:migrate",
        "Add the columns and indexes that a store's table of photos lacks; nothing is ever dropped.",
    ),
    _command(
        "reset-failed",
        "edge:reset_failed",
        "Make failed photos pending again, so that the next run tries them afresh; pictures stay and are served.",
    ),
    _command(
        "scrub",
        "edge:scrub",
        "Hash every stored photo inside its database, and fetch again from the head office what differs.",
    ),
    _command("serve", "edge:serve", "Serve a store's photos out of its database until Ctrl-C."),
)
PLYTIX = _group(
    "plytix",
    "Upkeep of what we created in Plytix.",
    _command(
        "cleanup",
        "plytix:cleanup",
        "Plan the removal of what we created for listings that are not in FILE; `imagesync apply` then does it.",
    ),
)
MOYSKLAD = _group(
    "moysklad",
    "Requests for the МойСклад connector: which entities are to be synchronised soon.",
    _command(
        "enqueue",
        "moysklad:enqueue",
        "Queue the requests in FILE (default: standard input): JSON, one payload, an array, or one per line.",
    ),
    _command(
        "queue", "moysklad:queue", "Print how many requests wait, failed or were set aside, and the newest errors."
    ),
    _command("webhooks", "moysklad:webhooks", "Take МойСклад's webhooks and requests of others until Ctrl-C."),
)
HEAD_OFFICE = _group(
    "head-office",
    "The head office: the service that edge stores read their photos from.",
    _command("add-account", "head_office:add_account", "Add an account, or give an existing one a new password."),
    _command(
        "add-store",
        "head_office:add_store",
        "Add a store to a company and let it see brands; prints the id that edges need.",
    ),
    _command("grant", "head_office:grant", "Let an account read stores, named by their codes."),
    _command("health", "head_office:health", "Print how far every store is."),
    _command(
        "import-folder",
        "head_office:import_pictures",
        "Make each picture named <sku>.jpg, .png, .webp or .gif the photo of its product.",
    ),
    _command("serve", "head_office:serve", "Answer requests until Ctrl-C."),
)
QUARANTINE = _group(
    "quarantine",
    "Items that were set aside with their reason; they are tried again at every run.",
    _command("drop", "quarantine:drop", "Forget items: they come back when they fail again."),
    _command("list", "quarantine:list_items", "Print what is in quarantine."),
    _command("replay", "quarantine:replay", "Try items again now, from the stored pages."),
)
KEY = _group(
    "key",
    "Keys of systems that call the catalogue's API.",
    _command("add", "key:add", "Make a key for a system and print it, this once."),
    _command("list", "key:list_keys", "Print every key, without its secret."),
    _command("revoke", "key:revoke", "Let nobody call with the key of a system any more, from now on."),
)
USER = _group(
    "user",
    "People who may log in to the catalogue.",
    _command(
        "add",
        "users:add",
        "Add a person, or give one a new role and password; the password is asked for, or read from standard input.",
    ),
    _command("list", "users:list_people", "Print everybody."),
    _command("remove", "users:remove", "Let a person in no more, at once; what they chose stays, with their name."),
)
COMMANDS: tuple[click.Command, ...] = (
    SYNC,
    IMAGE_DB,
    EDGE,
    PLYTIX,
    MOYSKLAD,
    HEAD_OFFICE,
    QUARANTINE,
    KEY,
    USER,
    _command(
        "apply",
        "plans:apply",
        "Apply the stored plan PLAN (its number is printed by a dry run and by `imagesync plan`).",
    ),
    _command(
        "clean",
        "installation:clean",
        "Stop the embedded database and remove IMAGESYNC_HOME: all runs, plans, raw pages and product images in it.",
    ),
    _command(
        "cleanup",
        "cleanup:cleanup",
        "Remove kept image content that is not used any more; never a file that a run is using.",
    ),
    _command(
        "demo",
        "sandbox.demo:demo",
        "Synchronise made-up catalogues: an image database, two edge stores, Amazon into Plytix, МойСклад.",
    ),
    _command(
        "dev",
        "sandbox.dev:dev",
        "Dagster UI, daemon, catalogue, sandboxes and photo server on one home; stays up until Ctrl-C.",
    ),
    _command("env", "installation:env", 'Print what Dagster\'s own commands need: eval "$(imagesync env)".'),
    _command(
        "export",
        "export:export_images",
        "Write the images that are shown for every product: csv, ndjson, parquet, or a feed for Google Merchant.",
    ),
    _command("history", "history:history", "Print past runs: when, how they ended, what they changed."),
    _command(
        "plan", "plans:plan", "Print the last plan (or plan PLAN_ID): its numbers and the first rows that change."
    ),
    _command(
        "sandbox",
        "sandbox.stand_ins:sandbox",
        "Run the image database's stand-in until Ctrl-C and print the variables that point to it.",
    ),
    _command(
        "sandbox-amazon",
        "sandbox.stand_ins:sandbox_amazon",
        "Run Amazon's stand-in (catalogue, images) until Ctrl-C and print where it is.",
    ),
    _command(
        "sandbox-head-office",
        "sandbox.stand_ins:sandbox_head_office",
        "Run the head office's stand-in until Ctrl-C and print the accounts that point to it.",
    ),
    _command(
        "sandbox-moysklad",
        "sandbox.stand_ins:sandbox_moysklad",
        "Run МойСклад's stand-in (one main account, two child accounts) until Ctrl-C and print where it is.",
    ),
    _command(
        "sandbox-plytix",
        "sandbox.stand_ins:sandbox_plytix",
        "Run Plytix's stand-in until Ctrl-C; it knows the demo's products and fetches images from sandbox-amazon.",
    ),
    _command(
        "serve", "serve:serve", "Serve the catalogue until Ctrl-C: products, pictures, history, plans, API and exports."
    ),
)
