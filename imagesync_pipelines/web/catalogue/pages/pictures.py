"""Pictures in the sizes that pages need: found among the copies that are kept, or made from the original and kept.

A picture that cannot be had is never an error page.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import sqlalchemy as sa
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Path, Request
from itsdangerous import BadSignature, URLSafeSerializer
from prometheus_client import Counter
from starlette.responses import Response

from imagesync_pipelines.imaging.derivatives import RECIPE, SIDES, CannotDeriveError, Encoding, derive
from imagesync_pipelines.imaging.errors import Fault
from imagesync_pipelines.imaging.validation import BadImageError, DecodeLimits, check_image
from imagesync_pipelines.languages import told
from imagesync_pipelines.products.originals import Failed, fetch_original
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage import contents
from imagesync_pipelines.storage.facts import PictureFacts
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.connector import AT
from imagesync_pipelines.upstream.addresses import web_address
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import Fetched, FetchPolicy, Validators, fetch_changed
from imagesync_pipelines.web.catalogue.pages.rendering import PACKAGE, Here, RowId
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.gate import is_known

router = APIRouter(include_in_schema=False)
logger = logging.getLogger("imagesync.catalogue")

# A picture that we keep by its hash never is another one. What an address elsewhere gives may change: it is asked again
# for after CHECKED_EVERY, so that with the time that a browser keeps it a change is seen within a day.
FOR_EVER = "public, max-age=31536000, immutable"
FOR_AN_HOUR, FOR_AN_HOUR_HERE = "public, max-age=3600", "private, max-age=3600"
ASK_AGAIN = "no-cache"
CHECKED_EVERY = timedelta(hours=22)
# Copies are what pages show while a media host is down; originals are needed until their copies were made.
HOLD_COPY, HOLD_ORIGINAL = timedelta(days=30), timedelta(days=1)
RENEWED_EVERY = timedelta(days=1)
# Each holds a connection to the database and a picture in memory while it waits for a media host.
MAKERS = 4
CONNECT_SECONDS = 5.0
OUTCOMES = ("kept", "made", "failed")

Purpose = Literal["thumb", "small", "web"]


class OriginalPicture(NamedTuple):
    """A file of a picture: where it is, and what surely changes when its source says that the bytes there do.

    kept_as, kept_sha256: of content that is kept under another name than that of an address.
    """

    url: str
    version: str
    kept_as: str = ""
    kept_sha256: str = ""

    @property
    def source(self) -> str:
        """The name under which its content is kept."""
        return self.kept_as or contents.own_source_at(self.url) or f"catalogue:{self.version}:{self.url}"

    @property
    def own_sha256(self) -> str:
        """The SHA-256 of a picture that we keep by it, '' of one at an address elsewhere."""
        source = contents.own_source_at(self.url)
        if self.kept_sha256:
            return self.kept_sha256
        return source.rpartition(":")[2] if source is not None else ""


def copy_name(sha256: str, purpose: Purpose, encoding: Encoding) -> str:
    """The name under which a smaller copy is kept of the original with this SHA-256."""
    return f"{contents.COPY_SOURCE}{RECIPE}:{purpose}:{encoding}:{sha256}"


Originals = Sequence[OriginalPicture]


class Derivatives:
    """The copies of one process: few are made at a time, so that pages never wait for a media host.

    tally: how many copies it gave ("kept") and made, and how often there was none ("failed"), since it started; of all
    processes together (metrics.py).
    """

    def __init__(self, opened: Opened) -> None:
        settings = opened.settings
        self.tally = Counter("imagesync_smaller_copies", "smaller copies of pictures", ["outcome"], registry=None)
        for outcome in OUTCOMES:
            self.tally.labels(outcome)
        self._failed = Failed()
        self._makers = CapacityLimiter(MAKERS)
        self._contents = contents.Contents(opened.engine, opened.storage, opened.clock)
        self._clock = opened.clock
        self._engine, self._shared = opened.engine, opened.shared
        self._limits = DecodeLimits(
            max_pixels=settings.derivative_max_pixels, child_seconds=settings.derivative_seconds
        )
        self._policy = FetchPolicy(
            allowed_hosts=frozenset(opened.shared.allowed_image_hosts),
            connect_timeout=min(CONNECT_SECONDS, settings.derivative_seconds),
            max_bytes=settings.derivative_max_bytes,
            total_deadline=settings.derivative_seconds,
            tries=1,
        )

    async def copy(self, originals: Originals, purpose: Purpose, encoding: Encoding) -> contents.Content | None:
        """What is kept of a picture in this size and encoding, made if need be; None when it cannot be had now.

        An address elsewhere is asked again after a while whether it still gives the same; while it does not answer,
        what was there is shown.
        """
        found, outcome = await to_thread.run_sync(self._kept, originals, purpose, encoding), "kept"
        if found is None:
            wanted = [original for original in originals if not self._failed.knows(original.url)]
            if wanted:
                found = await to_thread.run_sync(self._make_first, wanted, purpose, encoding, limiter=self._makers)
            outcome = "made"
        if found is None:
            found = await to_thread.run_sync(partial(self._kept, originals, purpose, encoding, though_due=True))
            outcome = "kept" if found is not None else "failed"
        self.tally.labels(outcome).inc()
        return found

    async def whole(self, originals: Originals) -> tuple[str, bytes, PictureFacts] | None:
        """The name, bytes and facts of the first original that can be had, decoded whole; None without any."""
        for original in (one for one in originals if not self._failed.knows(one.url)):
            try:
                body, facts = await to_thread.run_sync(self._original, original, limiter=self._makers)
            except (UpstreamError, BadImageError) as error:
                logger.info("no picture to keep: %s", error)
                self._failed.note(original.url, error)
                continue
            return unquote(urlsplit(original.url).path.rpartition("/")[2]) or "picture", body, facts
        return None

    def read(self, content: contents.Content) -> bytes | None:
        """The bytes of a copy; None when its file is gone or altered: it is then made again next time."""
        try:
            return self._contents.read(content)
        except contents.ContentMissingError as error:
            logger.warning("%s", error)
            return None

    def _kept(
        self, originals: Originals, purpose: Purpose, encoding: Encoding, *, though_due: bool = False
    ) -> contents.Content | None:
        """The copy that is kept, of the first of the originals that has one; its time is renewed.

        though_due: of one too that is to be asked again.
        """
        checks = self._contents.checks([original.source for original in originals])
        names = []
        for original in originals:
            check = checks.get(original.source)
            sha256 = original.own_sha256 or (check.sha256 if check and (though_due or not self._is_due(check)) else "")
            names += [copy_name(sha256, purpose, encoding)] if sha256 else []
        there = self._contents.find(names)
        found = next((there[name] for name in names if name in there), None)
        if found is not None:
            self._contents.renew(found.source, HOLD_COPY, RENEWED_EVERY)
        return found

    def _is_due(self, check: contents.AddressCheck) -> bool:
        return self._clock() - check.checked_at >= CHECKED_EVERY

    def _make_first(self, originals: Originals, purpose: Purpose, encoding: Encoding) -> contents.Content | None:
        """Make and keep the copy from the first original that can be had, unless its content has one already.

        Its host may have failed while this waited for its turn.
        """
        for original in (one for one in originals if not self._failed.knows(one.url)):
            try:
                sha256 = original.own_sha256 or self._seen(original)
                name = copy_name(sha256, purpose, encoding)
                if (found := self._contents.find([name]).get(name)) is not None:
                    return found
                body, facts = self._original(original)
                copy = derive(body, facts, SIDES[purpose], encoding, self._limits)
                return self._contents.put(copy_name(facts.sha256, purpose, encoding), copy.body, copy, HOLD_COPY)
            except (UpstreamError, BadImageError, CannotDeriveError) as error:
                logger.info("no smaller copy of a picture: %s", error)
                self._failed.note(original.url, error)
        return None

    def _seen(self, original: OriginalPicture) -> str:
        """The SHA-256 of what an address gives, asked if it was not lately; its bytes are kept where they are new."""
        with self._contents.fetching(original.source):
            check = self._contents.checks([original.source]).get(original.source)
            if check is not None and not self._is_due(check):
                return check.sha256
            known = Validators(check.etag, check.last_modified) if check is not None else Validators()
            fetched = None if original.url.startswith(AT) else fetch_changed(original.url, self._policy, known)
            if check is not None and fetched is None and not original.url.startswith(AT):
                self._contents.note_check(replace(check, checked_at=self._clock()))
                return check.sha256
            return self._take(original, fetched or self._fetch(original.url))

    def _original(self, original: OriginalPicture) -> tuple[bytes, PictureFacts]:
        """An original that was decoded whole: what is kept, or else fetched, which nobody else does meanwhile."""
        with self._contents.fetching(original.source) as kept:
            if original.kept_sha256 and (kept is None or kept.sha256 != original.kept_sha256):
                raise BadImageError(Fault.NO_IMAGE, "it is kept no longer")
            body = self.read(kept) if kept is not None else None
            if kept is not None and body is not None:
                return body, kept
            fetched = self._fetch(original.url)
            facts = check_image(fetched.body, limits=self._limits)
            self._take(original, fetched, facts)
            return fetched.body, facts

    def _fetch(self, url: str) -> Fetched:
        """What an address gives, or an account. Raises UpstreamError, BadImageError."""
        return fetch_original(url, self._policy, self._read)

    def _read(self, connector: str, account: str, key: str) -> bytes | None:
        return connector_named(connector).read_picture(self._engine, self._shared, account, key)

    def _take(self, original: OriginalPicture, fetched: Fetched, facts: PictureFacts | None = None) -> str:
        """Keep a picture that was fetched, and note what its address gives; the SHA-256. Raises BadImageError."""
        facts = facts or check_image(fetched.body, limits=self._limits)
        self._contents.put(original.source, fetched.body, facts, HOLD_ORIGINAL)
        said = fetched.validators
        if not original.own_sha256:
            self._contents.note_check(
                contents.AddressCheck(original.source, facts.sha256, said.etag, said.last_modified, self._clock())
            )
        return facts.sha256


def picture_of(engine: sa.Engine, image_id: int, purpose: Purpose) -> tuple[tuple[OriginalPicture, ...], str] | None:
    """What a product image can be shown from, the file to try first at the front, and the version of its address.

    None when there is none with this id.

    The source's own thumbnail is enough for the smallest size, and is a thousandth of a large original.
    """
    names = ("image_url", "thumbnail_url", "newest_export", "fingerprint")
    query = sa.select(*(product_image.c[name] for name in names)).where(product_image.c.id == image_id)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    version = row.newest_export.isoformat() if row.newest_export is not None else ""
    urls = (row.thumbnail_url, row.image_url) if purpose == "thumb" else (row.image_url,)
    return tuple(OriginalPicture(url, version) for url in urls if url), row.fingerprint[:12]


def wanted_encoding(accept: str) -> Encoding:
    """What a browser wants of what we have, by its Accept header; JPEG unless it names another one itself."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *options = (piece.strip() for piece in part.split(";"))
        weight = next((option[2:] for option in options if option.startswith("q=")), "1")
        weights[name] = float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0
    offered = [(weights.get(f"image/{one}", 0.0), one) for one in (Encoding.AVIF, Encoding.WEBP)]
    best, encoding = max(offered, key=lambda pair: pair[0])
    return encoding if best > 0 and best >= weights.get("image/jpeg", 0.0) else Encoding.JPEG


@router.get("/media/{image_id}/{purpose}", name="derivative")
async def derivative(request: Request, opened: Here, image_id: RowId, purpose: Purpose, v: str = "") -> Response:
    """A product image of at most the purpose's size, as AVIF, WebP or JPEG; a grey picture when it cannot be had now.

    v is the version of the picture; with the present one the answer may be kept, for ever where we keep the picture.
    """
    picture = await to_thread.run_sync(picture_of, opened.engine, image_id, purpose)
    if picture is None:
        return _grey()
    originals, version = picture
    kept = FOR_EVER if all(original.own_sha256 for original in originals) else FOR_AN_HOUR
    return await _answer(request, originals, purpose, kept if v and v == version else ASK_AGAIN)


@router.get("/pictures/{image_id}/download", name="download")
async def download(request: Request, opened: Here, image_id: RowId) -> Response:
    """The file of a product image as it is, to be kept; 404 when it cannot be had now, or is no picture."""
    picture = await to_thread.run_sync(picture_of, opened.engine, image_id, "web")
    derivatives: Derivatives = request.app.state.derivatives
    found = await derivatives.whole(picture[0]) if picture is not None else None
    if found is None:
        raise HTTPException(
            404, told("The picture cannot be had at the moment. Try again later, or open its original.")
        )
    name, body, facts = found
    kept = {"Cache-Control": ASK_AGAIN, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return Response(body, media_type=f"image/{facts.format.lower()}", headers=kept)


@router.get(contents.OWN_PATH + "{sha256}", name="content")
def content(request: Request, opened: Here, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Response:
    """A picture that we keep for everybody, whole, by its hash; the address never shows another one."""
    kept, source = contents.Contents(opened.engine, opened.storage, opened.clock), contents.own_source(sha256)
    found = kept.find([source]).get(source)
    if found is None:
        raise HTTPException(404, told("There is no picture here."))
    headers = {"Cache-Control": FOR_EVER, "ETag": f'"{sha256}"'}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        body = kept.read(found)
    except contents.ContentMissingError:
        raise HTTPException(404, told("The picture is kept no longer; the next synchronisation brings it.")) from None
    return Response(body, media_type=f"image/{found.format.lower()}", headers=headers)


@router.get("/plan-pictures/{token}", name="picture_of_plan")
async def picture_of_plan(request: Request, opened: Here, token: str) -> Response:
    """A picture that a plan speaks about and no product image shows; the token is ours and holds its URL."""
    try:
        url: str = _signer(opened).loads(token)
    except BadSignature:
        raise HTTPException(404) from None
    if "\0" in url:  # no URL has one, and no database keeps one
        return _grey()
    if url.startswith(contents.KEPT):
        sha256, _, source = url.removeprefix(contents.KEPT).partition(":")
        return await _answer(request, (OriginalPicture(url, "", source, sha256),), "thumb", FOR_AN_HOUR_HERE)
    return await _answer(request, (OriginalPicture(url, ""),), "thumb", FOR_AN_HOUR_HERE)


def picture_token(opened: Opened, url: str) -> str:
    """A URL that only we can have written: the route fetches nothing else. Everybody can read it: it names no user."""
    is_ours = url.startswith((contents.KEPT, AT))
    token: str = _signer(opened).dumps(url if is_ours else web_address(url))
    return token


async def _answer(request: Request, originals: tuple[OriginalPicture, ...], purpose: Purpose, caching: str) -> Response:
    derivatives: Derivatives = request.app.state.derivatives
    encoding = wanted_encoding(request.headers.get("accept", ""))
    content = await derivatives.copy(originals, purpose, encoding)
    if content is None:
        return _grey()
    headers = {"Cache-Control": caching, "Vary": "Accept", "ETag": f'"{content.sha256}"'}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    body = await to_thread.run_sync(derivatives.read, content)
    return Response(body, media_type=f"image/{encoding}", headers=headers) if body is not None else _grey()


def _grey() -> Response:
    grey = (files(PACKAGE) / "static" / "picture-away.svg").read_bytes()
    return Response(grey, media_type="image/svg+xml", headers={"Cache-Control": ASK_AGAIN})


def _signer(opened: Opened) -> URLSafeSerializer:
    return URLSafeSerializer(opened.session_secret.get_secret_value(), salt="picture of a plan")
