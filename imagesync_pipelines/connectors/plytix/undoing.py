"""Taking back what a run wrote into Plytix: planned from the history and the galleries as they are now, and written.

Assets stay in Plytix's library, so nothing is uploaded. Galleries are written whole, one call a product, whatever the
strategy is.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd

from imagesync_pipelines.connectors.plytix import errors, planning
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.gallery import (
    IN_GALLERY,
    IN_GALLERY_AND_THUMBNAIL,
    Known,
    Row,
    keys_shown,
    order_of,
    picture_key,
    rows_of,
)
from imagesync_pipelines.connectors.plytix.ledger import Ledger, Run, identity_of, ledger_of
from imagesync_pipelines.connectors.plytix.model import PlytixProduct
from imagesync_pipelines.connectors.plytix.reading import settle, settle_open
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.connectors.plytix.target import FATAL, NO_PRODUCT, NOT_THERE, OTHER_THUMBNAIL, STILL_THERE
from imagesync_pipelines.connectors.plytix.unmatched import whole_runs
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.effects import Effect, EffectRow
from imagesync_pipelines.storage.outbox import IN_PART
from imagesync_pipelines.sync import carry_out
from imagesync_pipelines.sync.apply import same_for_all
from imagesync_pipelines.sync.frames import among, row_frame
from imagesync_pipelines.sync.guard import approved, guard
from imagesync_pipelines.sync.model import EFFECTS, Change, GroupWork, Outcome, PlanCost, PlanRow, RowResult, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.planned import Planned
from imagesync_pipelines.sync.remote import WHOLE_FRESH_FOR
from imagesync_pipelines.sync.steps import StepResult, Texts
from imagesync_pipelines.sync.undo import BY_COMMAND, moved_only
from imagesync_pipelines.sync.undoing import Asked, groups_asked, limits_of_undo, undo_result, what_to_undo

_GONE = N_("Plytix has no product with this SKU any more")
_NO_ASSET = N_("nothing is known of its asset")
_NO_ORDER = N_("nothing is known of the former order of its gallery")
_REORDERED = N_("the order of its gallery was changed since by somebody else")


def plan_undo(context: Run, options: Asked, api: PlytixApi) -> StepResult:
    """What would give galleries and thumbnails back what they had before a run, or take our links away.

    Nothing is changed yet. They are read first: products that somebody changed since are left alone, each with who it
    was. Removals pass the deletion limits. The plan is carried out only by its number.

    Raises UndoRefusedError, AccountBusyError, IdentityRefusedError, and the errors of Plytix.
    """
    ledger, calls = ledger_of(context), api.calls
    with context.lock():
        unsettled = [intent.group for intent in ledger.open_intents()]
        products = api.search_products(list(dict.fromkeys((*groups_asked(context, options), *unsettled))))
        if products:
            identity_of(context, api.account).look(api.told())
        context.check_locks()
        # What a run that was killed did is in the history after this.
        settle(ledger, [products[sku] for sku in unsettled if sku in products])
        undoing = what_to_undo(context, options, lambda skus: skus)
        known = ledger.known()
    there = {sku: products[sku] for sku in sorted(undoing.groups & products.keys())}
    shown = _current(there, known, undoing.effects)
    # A picture of ours that somebody else put into a gallery is his there.
    theirs = [(sku, picture_key(key)) not in known.links for sku, key in zip(shown["group"], shown["key"], strict=True)]
    found = undoing.reversal(shown, _as_kept, theirs=pd.Series(theirs, index=shown.index, dtype="bool"))
    moved = {sku: _REORDERED for sku, product in there.items() if _is_reordered(product, undoing.effects)}
    refused = {**moved, **found.refused, **dict.fromkeys(undoing.groups - products.keys(), _GONE)}
    found = replace(found, refused=refused)
    stay = pd.Series(list(refused), dtype="str")
    current = _current({sku: one for sku, one in there.items() if sku not in refused}, known, undoing.effects)
    scope = Scope(frozenset(undoing.groups - refused.keys()), BY_COMMAND)
    built = build_plan(found.wanted[~among(found.wanted["group"], stay)], current, scope)
    links = pd.DataFrame([(f"{sku}/{key}", sku) for sku, key in known.links], columns=["key", "group"]).astype("str")
    owned = pd.concat([links, current[["key", "group"]]]).drop_duplicates("key")
    guarded = guard(built, scope, limits_of_undo(context), owned=owned)
    if_approved = approved(guarded.plan)
    number, most = (
        int(rows.loc[rows["change"].isin(EFFECTS), "group"].nunique()) for rows in (guarded.plan, if_approved)
    )
    tasks = {sku: planning.Task(one, (), back=_back(one, known, undoing.effects)) for sku, one in there.items()}
    planned = Planned(
        plan=guarded.plan.assign(product=guarded.plan["group"]),
        held=guarded.held,
        owned=guarded.owned,
        cost=PlanCost(number, 0, planning.minutes_for(number, api.limiter.windows()), most),
        states=group_states(shown_rows(there, known)),
        payload=[planning.payload_of(if_approved, tasks)],
        warnings=tuple(guarded.warnings),
        calls=api.calls - calls,
    )
    cost = told(f"{number} calls to Plytix, no upload among them.")
    kept = whole_runs(context.installation.engine, context.account)
    return undo_result(context, planned, undoing, found, names={}, groups="products", cost=cost, kept=kept)


def apply_undo(context: Run, loaded: carry_out.Loaded, api: PlytixApi) -> StepResult:
    """Carry out a plan that takes back a run, and tell of it; see apply_steps.product_images."""
    payload, ledger, calls = context.plans.need_payload(loaded.header.id), ledger_of(context), api.calls
    identity = identity_of(context, api.account)
    with context.lock():
        if loaded.resumed:
            settle_open(context, api, ledger)
        target = UndoTarget(api, ledger, planning.tasks_of(payload), context.clock)
        applied = carry_out.carry_out_remotely(
            context,
            loaded,
            lambda _: (),
            target,
            ledger,
            payload=payload,
            what=told("product images"),
            fatal=FATAL,
            identify=lambda: identity.record(api.told()),
            spent=lambda: api.calls - calls,
        )
    left = [
        told(f"{len(target.thumbnails)} products keep their thumbnail, the first is {sku}: {why}; set it in Plytix.")
        for sku, why in sorted(target.thumbnails.items())[:1]
    ]
    warnings = carry_out.applied_warnings(
        context, loaded, applied, what=told("product images"), stopped=target.stopped, found=left
    )
    summary = carry_out.applied_summary(context, loaded, applied, warnings=tuple(warnings), calls=api.calls - calls)
    return StepResult(
        rows=applied.kept + applied.added + applied.updated,
        shown={"errors": Texts(applied.errors), "account": identity.said(), "stopped": target.stopped or "-"},
        lines=[
            told(
                f"{context.account}: plan {loaded.header.id}: {len(applied.affected)} products are as they were; "
                f"{summary.api_calls} calls."
            )
        ],
        warnings=summary.warnings,
        summary=summary,
        goes_on_at=api.limiter.free_at,
    )


@dataclass
class UndoTarget:
    """Galleries as an undo writes them; satisfies the engine's RemoteTarget.

    stopped: why the rest was left. thumbnails: by SKU, why one is not as it was, though its gallery is.
    """

    api: PlytixApi
    ledger: Ledger
    tasks: Mapping[str, planning.Task]
    clock: Callable[[], datetime]
    stopped: str = ""
    thumbnails: dict[str, str] = field(default_factory=dict)
    _read: dict[str, tuple[datetime, PlytixProduct | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reading = threading.Lock()
        self._known = self.ledger.known()

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What Plytix holds now of our pictures on these products."""
        try:
            found = self.api.search_products(groups)
        except errors.HourSpentError as error:
            self.stopped = str(error)
            found = {group: self.tasks[group].product for group in groups}
        now = self.clock()
        self._read |= {group: (now, found.get(group)) for group in groups}
        return shown_rows(found, self._known)

    def apply(self, work: GroupWork) -> list[RowResult]:
        """Write one product's gallery and thumbnail in one call; once the account's calls are spent, the rest is left.

        Where the thumbnail is refused, its gallery is written alone.

        Raises AnswerLostError, CredentialsError, NotAllowedError, and other errors of Plytix about this product.
        """
        with self._reading:
            read_at, product = self._read[work.group]
            if self.clock() - read_at > WHOLE_FRESH_FOR:
                self.read([work.group])
                product = self._read[work.group][1]
        if self.stopped:
            return same_for_all(work, Outcome.REFUSED, self.stopped)
        if product is None:
            return same_for_all(work, Outcome.FAILED, NO_PRODUCT)
        back = self.tasks[work.group].back or planning.Back({}, {})
        shown = keys_shown(product, self._known, as_linked=True)
        leaving = {row.key: asset for row in work.rows if (asset := _leaves(row.change, row.key, shown)) is not None}
        coming = {row.key: back.assets[picture_key(row.key)] for row in work.rows if row.change is Change.ADD}
        gallery = given_back(product.gallery, back, coming, leaving.values())
        thumbnail, clears = _thumbnail(work, back, shown | {picture_key(key): asset for key, asset in coming.items()})
        new = {picture_key(key): asset for key, asset in coming.items() if asset not in product.gallery}
        said = _details(work, product, back, shown, gallery)
        self.ledger.begin_links(work.group, new, said)
        changed, answered, why = gallery if gallery != list(product.gallery) else None, None, ""
        try:
            if changed is not None or thumbnail is not None or clears:
                answered, why = self._patch(product.id, changed, thumbnail, clears=clears)
        except errors.HourSpentError as error:
            self.stopped = str(error)
            self.ledger.end_links(work.group, {})
            return same_for_all(work, Outcome.REFUSED, self.stopped)
        except (errors.ProductUnfitError, errors.WriteRefusedError) as error:
            self.ledger.end_links(work.group, {})
            return same_for_all(work, Outcome.FAILED, error_reason(error))
        held = answered.gallery if answered is not None else gallery
        if answered is not None and (thumbnail is not None or clears) and answered.thumbnail != thumbnail:
            why = why or OTHER_THUMBNAIL
        reasons = {key: STILL_THERE for key, asset in leaving.items() if asset in held}
        reasons |= {key: NOT_THERE for key, asset in coming.items() if asset not in held}
        if why:
            self.thumbnails[work.group] = why
            # What left the gallery has left it, whatever the thumbnail is.
            reasons = {row.key: why for row in work.rows if _shows_thumbnail(row)} | reasons
        made = {key: asset for key, asset in new.items() if asset in held}
        in_part = {
            row.key: {**said[row.key], IN_PART: {"fingerprint_after": IN_GALLERY}}
            for row in work.rows
            if row.key in reasons and picture_key(row.key) in made
        }
        taken = [picture_key(key) for key in leaving.keys() - reasons.keys()]
        self.ledger.end_links(work.group, made, taken, in_part)
        return [
            RowResult(
                row.key,
                row.group,
                row.change,
                Outcome.FAILED if row.key in reasons else Outcome.DONE,
                reasons.get(row.key, row.reason),
            )
            for row in work.rows
        ]

    def _patch(
        self, product_id: str, gallery: list[str] | None, thumbnail: str | None, *, clears: bool
    ) -> tuple[PlytixProduct | None, str]:
        """Write what is not None; the product as it was answered, and why its thumbnail was refused, '' if not."""
        try:
            return self.api.patch_product(product_id, gallery=gallery, thumbnail=thumbnail, no_thumbnail=clears), ""
        except errors.WriteRefusedError as error:
            if thumbnail is None and not clears:
                raise
            answered = self.api.patch_product(product_id, gallery=gallery) if gallery is not None else None
            return answered, error_reason(error)


def given_back(
    gallery: Sequence[str], back: planning.Back, coming: Mapping[str, str], leaving: Collection[str]
) -> list[str]:
    """The gallery with what comes, by row, at its former place, and without what leaves; others' additions stay.

    Where what the run left is in the order in which it left it, all of it gets its former order, and what joined since
    follows what it follows now; else what is there keeps its order.
    """
    there = [asset for asset in gallery if asset not in leaving]
    new = {key: asset for key, asset in coming.items() if asset not in there}
    left = [asset for asset in back.after if asset in gallery]
    if left and left == [asset for asset in gallery if asset in left]:
        stays = {*there, *new.values()}
        line = [asset for asset in back.before if asset in stays]
        for at, asset in enumerate(there):
            if asset not in line:
                line.insert(line.index(there[at - 1]) + 1 if at else 0, asset)
        return [*line, *(asset for asset in new.values() if asset not in line)]
    for key in sorted(new, key=lambda key: back.places.get(picture_key(key), len(there))):
        there.insert(back.places.get(picture_key(key), len(there)), new[key])
    return there


def shown_rows(products: Mapping[str, PlytixProduct], known: Known) -> pd.DataFrame:
    """What products show of our pictures, as the engine's rows."""
    return row_frame(row for product in products.values() for row in _shown(product, known))


def _shown(product: PlytixProduct, known: Known) -> list[Row]:
    keys = list(keys_shown(product, known, as_linked=True))
    return rows_of(product, keys, known, with_left=False, as_linked=True)


def _current(products: Mapping[str, PlytixProduct], known: Known, effects: Sequence[Effect]) -> pd.DataFrame:
    """The same without places, but of what the run put in order: that has the place that the run gave it."""
    put = {row.key: row.position for one in effects for row in one.rows if row.change in EFFECTS and moved_only(row)}
    return row_frame(
        row._replace(position=put.get(row.key)) for product in products.values() for row in _shown(product, known)
    )


def _as_kept(effects: Iterable[Effect]) -> list[Effect]:
    """Effects as they can be taken back: what was put in order gets another place, wherever that was."""

    def judged(row: EffectRow, *, ordered: bool) -> EffectRow:
        before = row.before or {}
        if row.change == Change.REMOVE and not before.get("asset"):
            return replace(row, lost=row.lost or _NO_ASSET)
        if row.change == Change.UPDATE and moved_only(row):
            if not ordered:
                return replace(row, lost=row.lost or _NO_ORDER)
            # An undo noted which place its row had in the listing.
            place = before.get("place") if row.position_before is None else row.position_before
            return replace(row, position_before=None if place == row.position else place)
        return replace(row, position_before=None)

    return [
        replace(one, rows=tuple(map(partial(judged, ordered=any(_galleries(one.group, [one]))), one.rows)))
        for one in effects
    ]


def _galleries(sku: str, effects: Iterable[Effect]) -> tuple[list[str], list[str]]:
    """A gallery before a run and after it, as far as the history has it."""
    rows = [row for one in effects if one.group == sku for row in one.rows]
    before = [row.before["gallery"] for row in rows if row.before and "gallery" in row.before]
    after = [row.after["gallery"] for row in rows if row.after and "gallery" in row.after]
    return (before[0], after[-1]) if before and after else ([], [])


def _is_reordered(product: PlytixProduct, effects: Sequence[Effect]) -> bool:
    """Whether a gallery that the run put in order has been put in another since."""
    rows = [row for one in effects if one.group == product.sku for row in one.rows]
    if not any(row.change == Change.UPDATE and moved_only(row) for row in rows):
        return False
    after = [asset for asset in _galleries(product.sku, effects)[1] if asset in product.gallery]
    return after != [asset for asset in product.gallery if asset in after]


def _back(product: PlytixProduct, known: Known, effects: Sequence[Effect]) -> planning.Back:
    """What is to be known of a product to take back what a run did to it."""
    rows = [row for one in effects if one.group == product.sku for row in one.rows]
    named = [(picture_key(row.key), row.before) for row in rows if row.before and row.before.get("asset")]
    thumbnails = [row.before["thumbnail"] for row in rows if row.before and "thumbnail" in row.before]
    before, after = _galleries(product.sku, effects)
    return planning.Back(
        assets={key: known.assets().get(key, values["asset"]) for key, values in named},
        places={key: values["place"] for key, values in reversed(named) if "place" in values},
        before=tuple(before),
        after=tuple(after),
        thumbnail=thumbnails[0] if thumbnails else None,
        put={row.key: row.position for row in rows if moved_only(row) and row.position is not None},
    )


def _leaves(change: Change, key: str, shown: Mapping[str, str]) -> str | None:
    return shown.get(picture_key(key)) if change is Change.REMOVE else None


def _is_thumbnail(fingerprint: str | None) -> bool:
    return fingerprint == IN_GALLERY_AND_THUMBNAIL


def _shows_thumbnail(row: PlanRow) -> bool:
    """Whether a picture that stays or comes is, or is to be, the thumbnail."""
    there = (row.fingerprint_before, row.fingerprint_after) if row.change is not Change.REMOVE else ()
    return any(map(_is_thumbnail, there))


def _thumbnail(work: GroupWork, back: planning.Back, assets: Mapping[str, str]) -> tuple[str | None, bool]:
    """The asset that has to become the thumbnail, None where it stays; and whether there is to be none."""
    main = next((row for row in work.rows if _is_thumbnail(row.fingerprint_after)), None)
    if main is not None:
        was = _is_thumbnail(main.fingerprint_before)
        return (None if was else assets.get(picture_key(main.key))), False
    lost = any(_is_thumbnail(row.fingerprint_before) for row in work.rows)
    return (back.thumbnail, back.thumbnail is None) if lost else (None, False)


def _details(
    work: GroupWork, product: PlytixProduct, back: planning.Back, shown: Mapping[str, str], gallery: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """What the history says of the rows, as GalleryTarget does, and by which order it is known that this was done."""
    details: dict[str, dict[str, Any]] = {}
    order = order_of(gallery)
    for row in work.rows:
        key, before = picture_key(row.key), dict[str, object]()
        asset = shown.get(key)
        if asset is not None:
            before |= {"asset": asset, "name": file_name(key), "place": product.gallery.index(asset)}
        if _is_thumbnail(row.fingerprint_after):
            before["thumbnail"] = product.thumbnail
        mine = asset or back.assets.get(key)
        after = None if row.change is Change.REMOVE else {"asset": mine, "name": file_name(key), "order": order}
        said = {"before": before or None, "after": after, "position_before": back.put.get(row.key)}
        details[row.key] = {name: value for name, value in said.items() if value is not None}
    for name, assets in (("before", product.gallery), ("after", gallery)):
        first = details[work.rows[0].key]
        first[name] = {**first.get(name, {}), "gallery": list(assets)}
    return details
