"""The declaration of the folder connector: pictures named by SKU, in a folder or a bucket, onto the ERP's products."""

from imagesync_pipelines.connectors.folder import reading, steps
from imagesync_pipelines.connectors.folder.doctor import probes
from imagesync_pipelines.connectors.folder.model import NAME
from imagesync_pipelines.connectors.folder.settings import FolderSettings
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products import channel_pictures
from imagesync_pipelines.products.showing import names_of_products
from imagesync_pipelines.products.undoing import undo_jobs
from imagesync_pipelines.sync.carry_out import ApplyOptions
from imagesync_pipelines.sync.choosing import NOT_OURS, our_product, our_products
from imagesync_pipelines.sync.connector import Connector, External, Job, Schedule, Step

RETRY_SECONDS = 30

CONNECTOR = Connector(
    name=NAME,
    title=N_("Folder"),
    description="Pictures named by SKU, in a folder or a bucket → product_image, beside the image database's.",
    settings=FolderSettings,
    options=steps.FolderPlanOptions,
    names_of=names_of_products,
    channel_pictures=channel_pictures.of_source(NAME),
    pictures_of=steps.pictures_of,
    groups_of=our_product,
    groups_by_sku=our_products,
    unknown_sku=NOT_OURS,
    probes=probes,
    missing=lambda shared, settings: told(f"not set: {', '.join(settings.missing)}") if settings.missing else "",
    externals=(External("folder", "A folder or a bucket of pictures that are named by SKU.", ("file",)),),
    steps=(
        Step.of(reading.files, kinds=("file",), after=("folder",), tries_again_after=RETRY_SECONDS),
        Step.of(steps.plan, kinds=("pandas", "parquet"), after=("files",), options=steps.FolderPlanOptions),
        Step.of(
            steps.product_images,
            kinds=("postgres",),
            after=("plan",),
            options=ApplyOptions,
            tries_again_after=RETRY_SECONDS,
        ),
    ),
    jobs=(
        Job("sync", "Read the folder, plan, and write the images of the products, of all or of some (skus)."),
        Job(
            "dry_run",
            "Read the folder and plan; product_image stays as it is. Apply it later with its number.",
            steps=("files", "plan"),
            presets={"plan": {"dry_run": True}},
        ),
        *undo_jobs(NAME),
    ),
    apply_steps=("product_images",),
    schedules=(
        Schedule(
            "hourly",
            "sync",
            lambda settings: settings.schedule,
            "Reads the folder and brings the images of the products up to it.",
            skip=lambda shared, settings: (
                f"{' and '.join(settings.missing)} not set, so there is no folder to read." if settings.missing else ""
            ),
        ),
    ),
)
