"""The edge: product photos of a head office in the databases of its stores, declared."""

from functools import partial

from pydantic import Field

from imagesync_pipelines.connectors.edge import applying, channel, marking, reading, reporting, shown, undoing
from imagesync_pipelines.connectors.edge.doctor import probes
from imagesync_pipelines.connectors.edge.model import BINARIES, EDGE, LISTING
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, edge_stores
from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync.carry_out import ApplyOptions
from imagesync_pipelines.sync.connector import AccountSet, Check, Connector, External, Job, Schedule, Step
from imagesync_pipelines.sync.undoing import undo_jobs

# Their limit is 1 (dagster.yaml): one store after the other. It may be raised in the UI, each store has its own lock.
_API_STEP = partial(Step.of, pool="edge_api", tries_again_after=10)
_WRITE_STEP = partial(Step.of, pool="edge_write", tries_again_after=10)


class EdgeOptions(reading.StorePlanOptions, reading.ListingOptions):
    """What a person may ask of one synchronisation of a store."""

    dry_run: bool = Field(False, description="stop after the plan: nothing is written into a store's database")


STEPS = (
    _API_STEP(
        reading.photo_listing, kinds=("rest", "postgres"), after=("head_office",), options=reading.ListingOptions
    ),
    Step.of(reading.plan, kinds=("pandas", "parquet"), after=(LISTING,), options=reading.StorePlanOptions),
    _WRITE_STEP(applying.photo_binaries, kinds=("postgres",), after=("plan",), options=ApplyOptions),
    _API_STEP(reporting.status_report, kinds=("rest",), after=(BINARIES,), tries_again_after=None),
)

JOBS = (
    Job("sync", "List a store's photos at the head office, plan, download and verify, report back."),
    Job(
        "dry_run",
        "List and plan; nothing is written into the store's database. Apply it later with its number.",
        steps=(LISTING, "plan"),
        presets={LISTING: {"dry_run": True}, "plan": {"dry_run": True}},
    ),
    Job(
        "scrub",
        "Hashes every photo of a store inside its database, and repairs from the head office what differs.",
        alone=_WRITE_STEP(applying.scrub_store, kinds=("postgres",), tries_again_after=None),
        about=BINARIES,
    ),
    *undo_jobs(EDGE, undoing.plan_undo, "product", kinds=("postgres",)),
)

_OF_BINARIES = {
    "few_photos_fail": N_(
        "No more photos of a run fail than EDGE_MAX_FAILURE_SHARE; a few of few are no alarm (EDGE_FAILURE_FLOOR)."
    ),
    applying.IN_TIME: N_(
        "A run is done within EDGE_MAX_RUN_MINUTES; a sensor says so while a run that is late is still at work."
    ),
    "every_photo_matches_its_checksum": N_(
        "No photo's bytes differ twice in a row from the listed checksum; once may be a photo being replaced."
    ),
    "every_product_has_one_primary": N_("No product of a store shows more than one photo first."),
    "no_database_is_nearly_full": N_("A store's database uses no more of its capacity_gb than EDGE_MAX_STORAGE_SHARE."),
}
CHECKS = (
    Check.of(LISTING, reading.every_page_was_read),
    Check(BINARIES, _OF_BINARIES, applying.check_binaries, severe=True),
)

SCHEDULES = (
    Schedule(
        "hourly",
        "sync",
        lambda settings: settings.incremental_schedule,
        "What changed since the last listing, store by store; a store at work is left out this time.",
        gives_way_to=lambda settings: str(settings.full_schedule),
    ),
    Schedule(
        "daily_full",
        "sync",
        lambda settings: settings.full_schedule,
        "Everything, store by store: finds what vanished at the head office; waits for a run at work.",
        options=lambda moment: {"full": True},
        waits=True,
    ),
    Schedule(
        "weekly",
        "scrub",
        lambda settings: settings.scrub_schedule,
        "Hashes every stored photo inside the stores' databases and repairs what differs; off at first.",
        starts_by_itself=lambda shared, settings: False,
        waits=True,
    ),
)

CONNECTOR = Connector(
    name=EDGE,
    title=N_("Edge stores"),
    description="Product photos of a head office, in the database of each of its stores.",
    settings=EdgeSettings,
    options=EdgeOptions,
    externals=(
        External(
            "head_office",
            "The head office: product photos in an object store behind its HTTP API, one scope per store.",
            ("rest", "s3"),
        ),
    ),
    steps=STEPS,
    jobs=JOBS,
    apply_steps=(BINARIES, "status_report"),
    checks=CHECKS,
    schedules=SCHEDULES,
    accounts=AccountSet(
        partition_set="edge_stores",
        noun="store",
        known=edge_stores,
        option="--store NAME",
        missing=N_(
            "IMAGESYNC_ACCOUNTS: there are no edge stores; name a TOML file with a section [edge.stores.<name>]."
        ),
    ),
    names_of=shown.names_of,
    channel_pictures=channel.channel_pictures,
    known_pictures=shown.known_pictures,
    pictures_of=shown.pictures_of,
    past_of=shown.past_of,
    read_picture=shown.picture_of,
    places_of=shown.places_of,
    groups_of=shown.groups_of,
    groups_by_sku=shown.groups_by_sku,
    unknown_sku=N_("the head office lists no photo of it for this store"),
    declared=marking.declared,
    probes=probes,
    forget=marking.forget_store,
)
