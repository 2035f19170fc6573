"""`imagesync plytix …`: Upkeep of what we created in Plytix."""

import json
from pathlib import Path
from typing import Any

import click

from imagesync_pipelines.cli.output import print_outcome, progress_bars
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.settings import load_settings

account_option = click.option(
    "--plytix-account", "account", metavar="ALIAS", help="which account of the accounts file (default: the only one)"
)
lift_option = click.option(
    "--allow-mass-delete",
    "--lift-brake",
    "allow_mass_delete",
    is_flag=True,
    help="let removals happen that the deletion limits would hold back",
)


@click.command("plytix")
@click.option(
    "--mapping", metavar="FILE", default="", help="mapping file: a path or s3:// URL (default: PLYTIX_MAPPING_FOLDER)"
)
@click.option("--dry-run", is_flag=True, help="plan and report; nothing is written to Plytix")
@click.option("--execute", is_flag=True, help="plan, upload, link, set thumbnails")
@click.option("--live", is_flag=True, help="images from Amazon's catalogue; the file only says which products")
@click.option("--sku", "skus", metavar="SKU", multiple=True, help="only this product; can be repeated")
@click.option("--skip-existing", is_flag=True, help="leave products alone whose gallery holds any image")
@click.option("--force-reupload", is_flag=True, help="upload every image again, whatever we know of it")
@click.option("--marketplace", metavar="M", default="", help="only listings of this marketplace, such as US")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="write the run's report here, as JSON")
@account_option
@lift_option
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
        outcome = runs.only(runs.sync(CONNECTOR, named, progress=progress, dry_run=dry_run, **options))
    code = print_outcome(outcome)
    if outcome.report:
        told = outcome.report
        click.echo(
            f"  images uploaded {told['images_uploaded']}, images reused {told['images_skipped']}, "
            f"links created {told['links_created']}, thumbnails set on {told['main_image_links']} products"
        )
    if outcome.report and report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(outcome.report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        click.echo(f"  report: {report}")
    context.exit(code)


@click.command("cleanup")
@click.option("--missing-from", metavar="FILE", required=True, help="mapping file with every listing that still is")
@account_option
@lift_option
@click.pass_context
def cleanup(context: click.Context, missing_from: str, account: str | None, allow_mass_delete: bool) -> None:
    """Plan the removal of what we created for listings that are not in FILE; `imagesync apply` then does it."""
    named = [account] if account else []
    with progress_bars() as progress:
        outcomes = runs.run_job(
            CONNECTOR,
            "cleanup",
            named,
            progress=progress,
            missing_from=missing_from,
            allow_mass_delete=allow_mass_delete,
        )
        outcome = runs.only(outcomes)
    context.exit(print_outcome(outcome))
