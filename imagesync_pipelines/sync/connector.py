"""What a connector declares: its steps with their dependencies, jobs, options, schedules, accounts, checks.

A connector has no runner with a fixed order: it lists its own steps, and each is a function of the run context and of
the step's options that returns a StepResult.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from upath import UPath

from imagesync_pipelines.accounts.file import Accounts, KnownAccounts, load_accounts
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.storage.quarantine import QuarantineEntry
from imagesync_pipelines.sync.channel_picture import ChannelPicture
from imagesync_pipelines.sync.excluding import Channel, ExclusionRefusedError
from imagesync_pipelines.sync.health import Probe, Site
from imagesync_pipelines.sync.held import nothing_is_held_back
from imagesync_pipelines.sync.steps import CheckResult, GroupsBySku, RunContext, StepResult

# The name of the job that plans to take back what a run changed (sync/undoing.py).
UNDO = "undo"
# The name of the job that plans to take away what is there of excluded products (sync/undoing.py).
TAKE_AWAY = "take_away"


class NoOptions(BaseModel):
    """The options of a step that has none."""


@dataclass(frozen=True)
class External:
    """An outside system that steps depend on; it is shown at the roots of the lineage."""

    name: str
    description: str
    kinds: Collection[str]


@dataclass(frozen=True)
class Step:
    """One step of a connector, which is one Dagster asset (or one op of a job of its own).

    run: what it does. after: names of the steps and external systems that it needs. partitions: a partition per
    account, or per block of pages. pool: where its runs queue. tries_again_after: seconds until a step that broke is
    tried once more; None: never. may_end: whether it may end the run early. blocking checks stand before the next step.
    """

    name: str
    description: str
    run: Callable[[RunContext[Any], Any], StepResult]
    kinds: Collection[str]
    after: Sequence[str] = ()
    options: type[BaseModel] = NoOptions
    partitions: Literal["", "account", "pages"] = "account"
    pool: str = ""
    tries_again_after: float | None = None
    may_end: bool = False

    @classmethod
    def of(cls, run: Callable[[RunContext[Any], Any], StepResult], **rest: Any) -> "Step":
        """The step that a function is: its name, and its docstring without what it raises, said to people."""
        description = inspect.cleandoc(run.__doc__ or "").partition("\n\nRaises ")[0]
        return cls(run.__name__, description, run, **rest)


@dataclass(frozen=True)
class Check:
    """True sentences about what a step made: name → what it says. One look answers all of them.

    severe: a false one is an error and is told by an alert, else it is a warning. blocking: what follows the step in
    the same run waits for it. group: the name of the look where it answers several.
    """

    step: str
    sentences: Mapping[str, str]
    run: Callable[[RunContext[Any]], Mapping[str, CheckResult]]
    severe: bool = False
    blocking: bool = False
    group: str = ""

    @classmethod
    def of(cls, step: str, look: Callable[[RunContext[Any]], CheckResult], *, blocking: bool = False) -> "Check":
        """The check that a function is: its name, and its docstring is the sentence. One that blocks is severe."""
        name, sentence = look.__name__, inspect.cleandoc(look.__doc__ or "")
        return cls(step, {name: sentence}, lambda context: {name: look(context)}, severe=blocking, blocking=blocking)


@dataclass(frozen=True)
class Job:
    """Steps that run together. steps: their names, None: all. presets: step → options that the job itself decides.

    alone: a step that is no Dagster asset, such as a clean-up; `about` is the step that its events are shown with.
    """

    name: str
    description: str
    steps: Sequence[str] | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    alone: Step | None = None
    about: str = ""


@dataclass(frozen=True)
class Schedule:
    """When runs of a job start by themselves; with accounts, one run for each.

    cron: from the connector's settings. options: of the run. starts_by_itself: whether it is on until somebody
    decides, once the connector has what it needs. waits: start a run of an account that is at work too (it queues), or
    leave it out this time. gives_way_to: the cron of a schedule that does the same and more; nothing starts at a
    moment at which that starts. skip: a reason to start nothing now, '' when there is none.
    """

    name: str
    job: str
    cron: Callable[[Any], str]
    description: str
    options: Callable[[Any], Mapping[str, Any]] = lambda moment: {}
    starts_by_itself: Callable[[Settings, Any], bool] = lambda shared, settings: True
    waits: bool = False
    gives_way_to: Callable[[Any], str] | None = None
    skip: Callable[[Settings, Any], str] = lambda shared, settings: ""


@dataclass(frozen=True)
class AccountSet:
    """The accounts of a connector in the accounts file; each is a Dagster partition.

    partition_set: the name of the Dagster partitions. noun: what people call one. known: reads them. active: those that
    a run over all of them is about. missing: what is said where there is none. one_by: where a person has to say which
    of several is meant, the option that says it; '': a run that names none is about all.
    option: the command line's for naming accounts.
    """

    partition_set: str
    noun: str
    known: Callable[[Accounts], KnownAccounts[Any]]
    missing: str
    active: Callable[[Accounts], Collection[str]] | None = None
    one_by: str = ""
    option: str = "--account ALIAS"


@dataclass(frozen=True)
class PageSet:
    """The page partitions of a connector: blocks of consecutive pages of its source.

    per_block: how many pages a block has, by the settings. count: asks the source how many pages it has; it hears
    warnings by the last argument and raises UpstreamError, and ErpError where its runs need the ERP. reset_command:
    what a person types to forget all blocks.
    """

    per_block: Callable[[Any], int]
    count: Callable[[Settings, Any, Callable[[str], None]], int]
    reset_command: str


class RowName(NamedTuple):
    """What people call what a group of a plan is about. product_id: our product, None where it is none of ours."""

    product_id: int | None
    code: str
    name: str

    @property
    def words(self) -> str:
        """Code and name, as far as they are there."""
        return f"{self.code} {self.name}".strip()


class RowPictures(NamedTuple):
    """The picture of a row of a plan, before and after: URLs, or kept contents (storage.contents), '' for none.

    image: what people call the picture. size: in words, of the one after, or of one that goes.
    """

    image: str
    before: str = ""
    after: str = ""
    size: str = ""


class PastPicture(NamedTuple):
    """A picture that an effect tells of. key: the engine's; values: what the target had, or what was written.

    later: what the target had in its place when it was changed next, where that is known. is_last: nobody changed it
    since. is_lost: its bytes were not kept.
    """

    key: str
    values: Mapping[str, Any]
    later: Mapping[str, Any] | None = None
    is_last: bool = False
    is_lost: bool = False


class ImagePlace(NamedTuple):
    """Where images of a product also are: the account there, how many, since when at the latest, how that is known."""

    account: str
    images: int
    since: datetime | None
    note: str


class WithoutMatch(NamedTuple):
    """What a source has pictures of, and an account has nothing that would show them.

    key: the same at every run. code, name: what people call it. reason: why, and what to do. images: how many wait;
    picture: the first of them, as in RowPictures. again: the options of a run about it and nothing else.
    """

    key: str
    code: str
    name: str
    reason: str
    images: int
    picture: str
    again: Mapping[str, Any]


class KnownPicture(NamedTuple):
    """What is known of a picture in an account: the SHA-256 of its content, and its address; '' for what is not."""

    sha256: str = ""
    address: str = ""


NameGroups = Callable[[sa.Engine, str, Collection[str]], Mapping[str, RowName]]
ShowRows = Callable[[sa.Engine, UPath, PlanHeader, Sequence[Mapping[str, Any]]], Sequence[RowPictures]]
ShowPast = Callable[[sa.Engine, UPath, str, Sequence[PastPicture]], Sequence[str]]
ListPictures = Callable[[sa.Engine, Settings, str], Iterator[ChannelPicture]]


# Before what read_picture of a connector gives: connector, account, version and key.
AT = "at:"


def picture_at(connector: str, account: str, key: str, version: object) -> str:
    """How a picture of an account is named where else its address stands. version: another one, another picture."""
    return f"{AT}{connector}:{account}:{version}:{key}"


def keys_alone(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """What a page shows of rows of which only their keys are known."""
    return [RowPictures(str(row["key"])) for row in rows]


def addresses_told(engine: sa.Engine, storage: UPath, account: str, pictures: Sequence[PastPicture]) -> list[str]:
    """Where pictures of the past are, of which an effect tells the addresses."""
    return [str(one.values.get("thumbnail_url") or one.values.get("image_url") or "") for one in pictures]


def as_noted(
    connection: sa.Connection, shared: Settings, account: str, pictures: Sequence[Mapping[str, Any]]
) -> list[KnownPicture]:
    """What the history itself knows of pictures."""
    return [KnownPicture(str(one.get("sha256") or "")) for one in pictures]


def no_names(engine: sa.Engine, account: str, groups: Collection[str]) -> dict[str, RowName]:
    """Of groups that nobody has another name for."""
    return {}


@dataclass(frozen=True)
class Connector:
    """A connector's declaration.

    title: what people call it. settings: its settings model. options: all that a person may ask of one run; each step
    takes the fields that its own options have. job_for: which job does what the options ask. apply_steps: the steps
    that carry out a stored plan. report: the report of a run by its id, where runs have one beside their summary; empty
    for a run without. names_of: what people call the groups of an account's plans, those without a name left out;
    pictures_of: the pictures of its rows, one for each; pages and the command line show both. past_of: where pictures
    are that effects tell of, of one account, '' for one that nobody keeps. read_picture: the bytes that picture_at
    names, by account and key. again: the options of a run about what these quarantined items are about and nothing
    else, none where it is about the whole account. without_match: what an account has no counterpart for, by what the
    newest runs saw. places_of: where a product's images also are, by its SKU. known_pictures: what is known of pictures
    of an account, each with its `key` and what the history says of it, one for each. channel_pictures: what an account
    shows, by our own tables and the last runs alone. mirrored_as: under which account the source of an account is in
    the source mirror. groups_of: the groups of its plans that are about a product, by its id with us and its SKU;
    groups_by_sku: those about SKUs that people choose for an account. known_skus: those of SKUs that a run about them
    would find, None: those with a group; unknown_sku: why it finds none of another. declared: what is said of its
    accounts by who set them up, name → address and login. forget: what is remembered of one account, which another one
    does not have. needed_runs: the runs of which no clean-up may take what they left, however old they are.
    probes: its outside systems, as `imagesync doctor` asks them; missing: what a person has to set before it can be
    used, '' when it can.
    """

    name: str
    title: str
    description: str
    settings: type[BaseSettings]
    options: type[BaseModel]
    externals: Sequence[External]
    steps: Sequence[Step]
    jobs: Sequence[Job]
    apply_steps: Sequence[str]
    checks: Sequence[Check] = ()
    schedules: Sequence[Schedule] = ()
    accounts: AccountSet | None = None
    pages: PageSet | None = None
    fresh_hours: Callable[[Any], float] = lambda settings: float(settings.fresh_hours)
    report: Callable[[Installation, str], Mapping[str, Any]] = lambda installation, run_id: {}
    job_for: Callable[[Any], str] = lambda options: "dry_run" if options.dry_run else "sync"
    names_of: NameGroups = no_names
    pictures_of: ShowRows = keys_alone
    past_of: ShowPast = addresses_told
    again: Callable[[Sequence[QuarantineEntry]], Mapping[str, Any]] = lambda entries: {}
    without_match: Callable[[sa.Engine, UPath, str], Sequence[WithoutMatch]] = lambda engine, storage, account: ()
    read_picture: Callable[[sa.Engine, Settings, str, str], bytes | None] = lambda engine, shared, account, key: None
    places_of: Callable[[sa.Connection, str], Iterable[ImagePlace]] = lambda connection, sku: ()
    mirrored_as: Callable[[str], str] = lambda account: account
    known_pictures: Callable[[sa.Connection, Settings, str, Sequence[Mapping[str, Any]]], Sequence[KnownPicture]] = (
        as_noted
    )
    channel_pictures: ListPictures = lambda engine, shared, account: iter(())
    groups_of: Callable[[sa.Connection, int, str], Iterable[str]] = lambda connection, product_id, sku: ()
    groups_by_sku: GroupsBySku = lambda connection, account, skus: ()
    known_skus: Callable[[sa.Engine, UPath, str, Collection[str]], Collection[str]] | None = None
    unknown_sku: str = N_("it knows no product with this SKU")
    declared: Callable[[Settings, Any], Mapping[str, str]] = lambda shared, settings: {}
    forget: Callable[[sa.Connection, str], None] = lambda connection, account: None
    needed_runs: Callable[[Installation], Collection[str]] = lambda installation: ()
    probes: Callable[[Site, Any], Iterable[Probe]] = lambda site, settings: ()
    missing: Callable[[Settings, Any], str] = lambda shared, settings: ""

    def lacks(self, shared: Settings, settings: Any) -> str:
        """What a person has to set before it can be used at all, '' when it can. Raises AccountsError."""
        if self.accounts is not None and not self.accounts.known(load_accounts(shared)).names:
            return self.accounts.missing
        return self.missing(shared, settings)

    def channels(self, shared: Settings) -> tuple[str, ...]:
        """The accounts that it writes into, also those that are wrong; '' where it has none. Raises AccountsError."""
        return ("",) if self.accounts is None else self.accounts.known(load_accounts(shared)).names

    def wrong_accounts(self, shared: Settings) -> tuple[str, ...]:
        """What is wrong with accounts of it, which stops no other one. Raises AccountsError."""
        return () if self.accounts is None else self.accounts.known(load_accounts(shared)).told

    def channel(self, account: str, shared: Settings) -> Channel:
        """One of them, for excluding products from it. Raises ExclusionRefusedError and AccountsError."""
        known = self.channels(shared)
        if account not in known:
            wrong = told(f"no {self.accounts.noun} {account!r}") if self.accounts is not None else told("no accounts")
            if known == ("",):
                raise ExclusionRefusedError(f"{self.title} has {wrong}. Nothing was changed.")
            if not known and self.accounts is not None:
                raise ExclusionRefusedError(self.accounts.missing)
            raise ExclusionRefusedError(
                f"{self.title} has {wrong}; name one of {', '.join(known)}. Nothing was changed."
            )
        return Channel(self.name, account, self.groups_by_sku)

    def skus_known(self, engine: sa.Engine, storage: UPath, account: str, skus: Collection[str]) -> set[str]:
        """Those of SKUs about which a run of an account can be."""
        if self.known_skus is not None:
            return set(self.known_skus(engine, storage, account, skus))
        with engine.connect() as connection:
            return {sku for _, sku in self.groups_by_sku(connection, account, skus)}

    def step(self, name: str) -> Step:
        """The step of this name. Raises KeyError."""
        return {step.name: step for step in self.steps}[name]

    def job(self, name: str) -> Job:
        """The job of this name. Raises KeyError."""
        return {job.name: job for job in self.jobs}[name]

    def per_account(self, job: Job) -> bool:
        """Whether each run of a job is about one account."""
        return self.accounts is not None and (job.alone is None or job.alone.partitions != "")

    @property
    def apply_job(self) -> Job:
        """The job that carries out a stored plan."""
        return Job("apply", "Carry out a stored plan by its number (plan_id), without planning.", self.apply_steps)

    @property
    def all_checks(self) -> Sequence[Check]:
        """Its checks, and the one that every connector has of what it carried out."""
        return (*self.checks, Check.of(self.apply_steps[-1], nothing_is_held_back))

    @property
    def page_partitions(self) -> str:
        """The name of its page partitions in Dagster."""
        return f"{self.name}_pages"

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools in which its steps queue."""
        alone = [job.alone for job in self.jobs if job.alone is not None]
        return tuple(dict.fromkeys(step.pool for step in (*self.steps, *alone) if step.pool))
