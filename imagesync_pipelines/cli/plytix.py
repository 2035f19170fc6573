"""`imagesync plytix …`: Upkeep of what we created in Plytix."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from imagesync_pipelines.cli.output import print_outcome, progress_bars, say
from imagesync_pipelines.cli.sync import options_of
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.settings import GalleryCleanupOptions, PlytixOptions, PlytixSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.languages import _, ngettext
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.home import hand_out

account_option = click.option(
    "--plytix-account", "account", metavar="ALIAS", help="which account of the accounts file (default: the only one)"
)


@click.command("plytix", params=options_of(PlytixOptions, "dry_run"))
@click.option("--dry-run", is_flag=True, help="plan and report; nothing is written to Plytix")
@click.option("--execute", is_flag=True, help="plan, upload, link, set thumbnails")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="write the run's report here, as JSON")
@account_option
@click.pass_context
def sync(
    context: click.Context, /, dry_run: bool, execute: bool, report: Path | None, account: str | None, **options: Any
) -> None:
    """Amazon's listings → assets, galleries and thumbnails in Plytix."""
    if dry_run == execute:
        raise click.UsageError(
            "Choose one: --dry-run plans and reports and writes nothing to Plytix, --execute does it.", context
        )
    by_sku = options["live"] and options["skus"]
    if not options["mapping"] and not by_sku and not load_settings(PlytixSettings).mapping_folder:
        raise click.UsageError(
            "Say which products: --mapping FILE, the variable PLYTIX_MAPPING_FOLDER, or --live with --sku SKU.", context
        )
    with progress_bars() as progress:
        named = [account] if account else []
        asked = {name: value for name, value in options.items() if value is not None}
        outcome = runs.only(runs.sync(CONNECTOR, named, progress=progress, dry_run=dry_run, **asked))
    code = print_outcome(outcome)
    if told := outcome.report:
        _print_report(told)
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            hand_out(report)
            say("  " + _("report: {file}").format(file=report))
    context.exit(code)


def _print_report(report: Mapping[str, Any]) -> None:
    """What a run did in Plytix, or would do, in a line."""
    shown = report["main_image_links"]
    planned = ngettext(
        "planned: images uploaded {uploaded}, images reused {reused}, links created {links}, thumbnails set "
        "{thumbnails}; {n} products will show their MAIN image",
        "planned: images uploaded {uploaded}, images reused {reused}, links created {links}, thumbnails set "
        "{thumbnails}; {n} products will show their MAIN image",
        shown,
    )
    done = ngettext(
        "images uploaded {uploaded}, images reused {reused}, links created {links}, thumbnails set {thumbnails}; {n} "
        "products show their MAIN image",
        "images uploaded {uploaded}, images reused {reused}, links created {links}, thumbnails set {thumbnails}; {n} "
        "products show their MAIN image",
        shown,
    )
    said = (planned if report["metadata"]["dry_run"] else done).format(
        uploaded=report["images_uploaded"],
        reused=report["images_skipped"],
        links=report["links_created"],
        thumbnails=report["thumbnails_set"],
        n=shown,
    )
    say(f"  {said}")


@click.command("cleanup", params=options_of(GalleryCleanupOptions))
@account_option
@click.pass_context
def cleanup(context: click.Context, /, account: str | None, **options: Any) -> None:
    """Plan the removal of what we created for listings that a mapping file lacks; `imagesync apply` then does it."""
    named = [account] if account else []
    with progress_bars() as progress:
        outcome = runs.only(runs.run_job(CONNECTOR, "cleanup", named, progress=progress, **options))
    context.exit(print_outcome(outcome))
