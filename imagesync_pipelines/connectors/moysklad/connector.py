"""The МойСклад connector's declaration: its steps, jobs, options, schedules, checks and accounts.

One run is one child account: one that fails stops no other. Runs that start together share one reading of the main
account: `since` is the moment at which they were started, and a reading that is newer is not made again.
"""

from functools import partial

from imagesync_pipelines.connectors.moysklad import (
    apply_steps,
    channel,
    counterparts,
    mapping,
    plan_step,
    reading,
    settings,
    shown,
    undoing,
    unmatched,
)
from imagesync_pipelines.connectors.moysklad.accounts import MAIN, moysklad_accounts
from imagesync_pipelines.connectors.moysklad.child import declared, forget_child
from imagesync_pipelines.connectors.moysklad.doctor import probes
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync.carry_out import ApplyOptions
from imagesync_pipelines.sync.connector import AccountSet, Check, Connector, External, Job, Schedule, Step
from imagesync_pipelines.sync.undoing import undo_jobs

# Their limits are 1 (dagster.yaml): one reading or download of the main account at a time, one child after the other.
# They limit steps; calls are paced by the rate budgets.
_MAIN_STEP = partial(Step.of, pool="moysklad_main", tries_again_after=10)
_CHILD_STEP = partial(Step.of, pool="moysklad_child", tries_again_after=10)

EXTERNALS = (
    External(
        "main_account", "The main account of МойСклад: products, bundles and variants with their images.", {"rest"}
    ),
    External(
        "child_accounts",
        "The child accounts of МойСклад: the same entities under ids of their own, images of their owners.",
        {"rest"},
    ),
)

STEPS = (
    _MAIN_STEP(
        reading.main_images,
        kinds={"rest"},
        after=("main_account",),
        options=settings.ReadingOptions,
        partitions="",
        may_end=True,
    ),
    _CHILD_STEP(
        mapping.entity_map,
        kinds={"postgres", "rest"},
        after=("main_images", "child_accounts"),
        options=settings.ChosenEntities,
    ),
    _CHILD_STEP(plan_step.plan, kinds={"pandas", "parquet"}, after=("entity_map",), options=settings.ChildPlanOptions),
    _MAIN_STEP(apply_steps.content, kinds={"file", "rest"}, after=("plan",), options=ApplyOptions),
    _CHILD_STEP(apply_steps.child_images, kinds={"rest"}, after=("content",), options=ApplyOptions),
)

JOBS = (
    Job("sync", "Read the main account, find the child's entities, plan, download images, set the lists."),
    Job("entities", "The same for some (skus), one entity, one type, or what requests name; and for no other."),
    Job(
        "dry_run",
        "Read and plan; nothing is written into a child account. Apply it later with its number.",
        steps=("main_images", "entity_map", "plan"),
        presets={"plan": {"dry_run": True}},
    ),
    Job(
        "cleanup",
        "Removes image content that nobody used for a while, never what a run is using.",
        alone=Step.of(apply_steps.forget_content, kinds=(), partitions=""),
    ),
    *undo_jobs(NAME, undoing.plan_undo, "entity", kinds={"rest"}, pool="moysklad_child"),
)

# All of them warn, for the run itself has told what it could not do.
CHECKS = (
    Check.of("main_images", reading.every_entity_was_read),
    Check.of("entity_map", mapping.every_entity_has_a_counterpart),
    Check.of("content", apply_steps.every_picture_could_be_had),
    Check.of("child_images", apply_steps.no_image_is_in_quarantine),
)

# Runs of a schedule share one reading of the main account by the moment at which they start.
SCHEDULES = (
    Schedule(
        "hourly",
        "sync",
        lambda chosen: str(chosen.incremental_schedule),
        "What changed in the main account, child by child; a child at work or switched off is left out.",
        options=lambda moment: {"full": False, "since": moment.isoformat()},
        gives_way_to=lambda chosen: str(chosen.full_schedule),
    ),
    Schedule(
        "daily_full",
        "sync",
        lambda chosen: str(chosen.full_schedule),
        "Everything, compared with the child accounts themselves; waits for a run at work.",
        options=lambda moment: {"full": True, "since": moment.isoformat()},
        waits=True,
    ),
    Schedule(
        "daily",
        "cleanup",
        lambda chosen: str(chosen.cleanup_schedule),
        "Removes image content that no run used for MOYSKLAD_CONTENT_HOURS, never what is in use.",
    ),
)

CONNECTOR = Connector(
    name=NAME,
    title="МойСклад",
    description="The main account of МойСклад → the images in its child accounts.",
    settings=settings.MoyskladSettings,
    options=settings.ChildSyncOptions,
    job_for=settings.job_for,
    externals=EXTERNALS,
    steps=STEPS,
    jobs=JOBS,
    apply_steps=("content", "child_images"),
    checks=CHECKS,
    schedules=SCHEDULES,
    names_of=shown.names_of,
    channel_pictures=channel.channel_pictures,
    again=shown.again,
    without_match=unmatched.without_match,
    pictures_of=shown.pictures_of,
    past_of=shown.past_of,
    places_of=counterparts.places_of,
    groups_of=counterparts.groups_of,
    groups_by_sku=counterparts.groups_by_sku,
    unknown_sku=N_("nothing in the main account has this code or article, as it was read last"),
    mirrored_as=lambda child: MAIN,
    declared=declared,
    probes=probes,
    forget=forget_child,
    accounts=AccountSet(
        partition_set="moysklad_accounts",
        noun=N_("child account"),
        known=moysklad_accounts,
        missing=N_(
            "IMAGESYNC_ACCOUNTS: there are no child accounts of МойСклад; name a TOML file with the "
            "sections [moysklad.main] and [moysklad.children.<alias>]."
        ),
        active=lambda accounts: moysklad_accounts(accounts).active,
    ),
)
