"""The declaration of the Plytix connector: Amazon's listings into Plytix's library, galleries and thumbnails."""

from functools import partial

from imagesync_pipelines.connectors.plytix import apply_steps, channel, plan_steps, quality, reading, undoing
from imagesync_pipelines.connectors.plytix.doctor import probes
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR as NAME
from imagesync_pipelines.connectors.plytix.ledger import declared, forget_account
from imagesync_pipelines.connectors.plytix.reading import with_pim
from imagesync_pipelines.connectors.plytix.report import (
    again,
    known_pictures,
    past_of,
    pictures_of,
    places_of,
    read_report,
)
from imagesync_pipelines.connectors.plytix.settings import (
    GalleryCleanupOptions,
    GalleryPlanOptions,
    ListingsOptions,
    PlytixOptions,
    PlytixSettings,
    job_for,
    plytix_accounts,
)
from imagesync_pipelines.connectors.plytix.unmatched import listed_skus, needed_runs, without_match
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products.showing import names_of_skus
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.sync.carry_out import ApplyOptions
from imagesync_pipelines.sync.connector import AccountSet, Check, Connector, External, Job, Schedule, Step
from imagesync_pipelines.sync.undoing import undo_jobs

# Its limit is 1 (dagster.yaml): one account after the other. It limits steps; calls are paced by the rate budget.
API_POOL = "plytix_api"
RETRY_SECONDS = 10
_PIM_STEP = partial(Step.of, kinds=("rest",), pool=API_POOL, tries_again_after=RETRY_SECONDS)


def _nothing_to_start(shared: Settings, settings: PlytixSettings) -> str:
    missing = told("PLYTIX_MAPPING_FOLDER is not set, so there are no mapping files to synchronise.")
    return "" if settings.mapping_folder else missing


CONNECTOR = Connector(
    name=NAME,
    title="Plytix",
    description="Amazon's listings → assets, galleries and thumbnails in Plytix.",
    settings=PlytixSettings,
    options=PlytixOptions,
    names_of=names_of_skus,
    channel_pictures=channel.channel_pictures,
    again=again,
    without_match=without_match,
    pictures_of=pictures_of,
    past_of=past_of,
    known_pictures=known_pictures,
    places_of=places_of,
    groups_of=lambda connection, product_id, sku: (sku,),
    groups_by_sku=lambda connection, account, skus: [(sku, sku) for sku in skus],
    known_skus=listed_skus,
    needed_runs=needed_runs,
    unknown_sku=N_("no listing has this SKU in the mapping files as they were read last"),
    declared=declared,
    probes=probes,
    forget=forget_account,
    externals=(
        External(
            "amazon",
            "Amazon's listings: mapping files made from them, and the catalogue API with their images now.",
            ("json", "rest"),
        ),
        External(
            "pim", "Plytix, the PIM: products, the assets in its library, and the galleries that show them.", ("rest",)
        ),
    ),
    steps=(
        Step.of(
            reading.listings,
            kinds=("json", "rest"),
            after=("amazon",),
            options=ListingsOptions,
            tries_again_after=RETRY_SECONDS,
        ),
        Step.of(reading.images, kinds=("pandas",), after=("listings",)),
        _PIM_STEP(with_pim(reading.products), after=("images", "pim")),
        Step.of(
            with_pim(plan_steps.plan),
            kinds=("pandas", "parquet"),
            after=("products",),
            options=GalleryPlanOptions,
            pool=API_POOL,
        ),
        _PIM_STEP(with_pim(apply_steps.assets), after=("plan",), options=ApplyOptions),
        _PIM_STEP(with_pim(apply_steps.product_images), after=("assets",), options=ApplyOptions),
    ),
    jobs=(
        Job("sync", "Read listings and Plytix, plan, upload images, fill galleries, set thumbnails, report."),
        Job(
            "dry_run",
            "Read listings and Plytix and plan; nothing is written. Apply it later with its number.",
            steps=("listings", "images", "products", "plan"),
            presets={"plan": {"dry_run": True}},
        ),
        Job("skus", "Chosen products (skus) of an account: the same, and nothing of any other product."),
        Job(
            "cleanup",
            "Plans the removal of what we created for listings that are gone; `imagesync apply` does it then.",
            alone=Step(
                "plan_cleanup",
                "Plans to take out what we created for listings that are not in a mapping file any more.",
                with_pim(plan_steps.clean_up),
                kinds=("rest",),
                options=GalleryCleanupOptions,
                pool=API_POOL,
            ),
            about="plan",
        ),
        *undo_jobs(NAME, with_pim(undoing.plan_undo), "product", kinds=("rest",), pool=API_POOL),
    ),
    apply_steps=("assets", "product_images"),
    job_for=job_for,
    report=lambda installation, run_id: read_report(installation.storage, run_id),
    checks=(
        Check("images", quality.PICTURE_CHECKS, quality.check_images, group="image_checks"),
        Check("products", quality.PRODUCT_CHECK, quality.check_products),
    ),
    schedules=(
        Schedule(
            "daily",
            "sync",
            lambda settings: settings.schedule,
            "All mapping files of PLYTIX_MAPPING_FOLDER, account by account; an account at work is left out.",
            starts_by_itself=lambda shared, settings: bool(settings.mapping_folder),
            skip=_nothing_to_start,
        ),
    ),
    accounts=AccountSet(
        "plytix_accounts",
        "account",
        plytix_accounts,
        missing=N_(
            "IMAGESYNC_ACCOUNTS: there are no Plytix accounts; name a TOML file with a section "
            "[plytix.accounts.<alias>]."
        ),
        one_by="--plytix-account ALIAS",
    ),
)
