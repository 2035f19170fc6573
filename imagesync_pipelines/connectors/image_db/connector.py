"""The declaration of the image database's connector: its records into product_image, on the ERP's products."""

from collections.abc import Collection

from imagesync_pipelines.connectors.image_db import plan_steps, reading_steps
from imagesync_pipelines.connectors.image_db.checks import CHECKS
from imagesync_pipelines.connectors.image_db.client import count_pages
from imagesync_pipelines.connectors.image_db.doctor import probes
from imagesync_pipelines.connectors.image_db.pages import CONNECTOR as NAME
from imagesync_pipelines.connectors.image_db.record_store import Batches
from imagesync_pipelines.connectors.image_db.settings import (
    ErpOptions,
    ImageDbOptions,
    ImageDbSettings,
    PagesOptions,
    ProductImageOptions,
    ProductImagePlanOptions,
    RecordsOptions,
    job_for,
    missing_variables,
)
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products import channel_pictures
from imagesync_pipelines.products.showing import names_of_products
from imagesync_pipelines.products.undoing import undo_jobs
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.sync.choosing import NOT_OURS, our_product, our_products
from imagesync_pipelines.sync.connector import Connector, External, Job, PageSet, Schedule, Step

API_POOL = "image_db_api"
# A part of the source, read or looked at without partitions.
_PLANNED = ("erp_products", "records", "plan")
_PART = (*_PLANNED, "product_images", "export")
_ONLY_LOOK = {"erp_products": {"dry_run": True}, "plan": {"dry_run": True}}


def declared(shared: Settings, settings: ImageDbSettings) -> dict[str, str]:
    """How the source is declared: its address and login. It does not say whose it is, and nothing is written there."""
    url = settings.image_api_url
    return {} if url is None else {"": told(f"{url} as {settings.image_api_username} (only read)")}


def needed_runs(place: Installation) -> Collection[str]:
    """The runs whose batches of records are needed still."""
    return Batches(HandOvers(place.engine, place.storage, NAME)).kept()


CONNECTOR = Connector(
    name=NAME,
    title=N_("Image database"),
    description="The image database's records → product_image, on the ERP's products.",
    settings=ImageDbSettings,
    options=ImageDbOptions,
    names_of=names_of_products,
    channel_pictures=channel_pictures.of_source(NAME),
    # A key is the image's number, or a product and the image's number.
    again=lambda entries: {"external_ids": sorted({entry.key.rpartition("/")[2] for entry in entries})},
    pictures_of=plan_steps.pictures_of,
    groups_of=our_product,
    groups_by_sku=our_products,
    unknown_sku=NOT_OURS,
    declared=declared,
    probes=probes,
    missing=lambda shared, settings: (
        told(f"not set: {', '.join(missing_variables(settings))}") if missing_variables(settings) else ""
    ),
    externals=(
        External(
            "source",
            "The image database: records of pictures with their exports and the articles they show (HTTP API).",
            ("rest", "json"),
        ),
        External("erp", "The ERP: parent products and variants, from SQL or from files.", ("erp",)),
    ),
    steps=(
        Step.of(
            reading_steps.erp_products,
            kinds=("postgres", "erp"),
            after=("erp",),
            options=ErpOptions,
            tries_again_after=5,
        ),
        Step.of(
            reading_steps.api_pages,
            kinds=("rest", "json"),
            after=("source",),
            options=PagesOptions,
            partitions="pages",
            pool=API_POOL,
            tries_again_after=10,
        ),
        Step.of(
            reading_steps.records,
            kinds=("python", "parquet"),
            after=("api_pages",),
            options=RecordsOptions,
            pool=API_POOL,
            tries_again_after=10,
        ),
        Step.of(
            plan_steps.plan,
            kinds=("pandas", "parquet"),
            after=("records", "erp_products"),
            options=ProductImagePlanOptions,
        ),
        Step.of(
            plan_steps.product_images,
            kinds=("postgres",),
            after=("plan",),
            options=ProductImageOptions,
            pool="image_db_write",
            tries_again_after=10,
            may_end=True,
        ),
        Step.of(plan_steps.unmatched_articles, kinds=("postgres", "table"), after=("plan",)),
        Step.of(plan_steps.export, kinds=("csv", "parquet"), after=("product_images",)),
    ),
    jobs=(
        Job("sync", "Read all pages, plan, apply the plan. Choose all partitions: a part of them never removes."),
        Job(
            "dry_run",
            "Read all pages and plan; no product and no image is written. Apply it later with its number.",
            steps=("erp_products", "api_pages", "records", "plan"),
            presets=_ONLY_LOOK,
        ),
        Job("skus", "Chosen products (skus), from the newest proven scan; never removes.", steps=_PART),
        Job(
            "skus_dry_run",
            "Plan for chosen products (skus); no product and no image is written.",
            steps=_PLANNED,
            presets=_ONLY_LOOK,
        ),
        Job("partial", "Chosen pages (limit, skip_pages) or images (external_ids); never removes.", steps=_PART),
        Job(
            "partial_dry_run",
            "Plan for chosen pages or images; no product and no image is written.",
            steps=_PLANNED,
            presets=_ONLY_LOOK,
        ),
        *undo_jobs(NAME, needed_runs),
    ),
    apply_steps=("product_images", "export"),
    needed_runs=needed_runs,
    job_for=job_for,
    fresh_hours=lambda settings: settings.image_db_fresh_hours,
    checks=CHECKS,
    schedules=(
        Schedule(
            "daily",
            "sync",
            lambda settings: settings.image_db_schedule,
            "A new scan over all pages every night; off while IMAGE_API_* or ERP_* is not set.",
        ),
    ),
    pages=PageSet(
        per_block=lambda settings: settings.image_db_pages_per_block,
        count=count_pages,
        reset_command=reading_steps.RESET_PAGES,
    ),
)
