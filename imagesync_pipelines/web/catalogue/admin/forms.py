"""What a browser sends: that it comes from a form of ours."""

import hmac

from fastapi import HTTPException, Request

from imagesync_pipelines.web.catalogue.admin.sessions import csrf_token

FIELD = "csrf"
_SAFE_METHODS = frozenset({"GET", "HEAD"})
# Each has a few fields; the list of chosen items in quarantine is the longest.
_MOST_FIELDS = 1000


async def from_our_form(request: Request) -> None:
    """Refuse what changes something and does not carry this session's token, as only our own forms do.

    HTMX sends the fields of the form as well, so its requests pass the same check.
    """
    if request.method in _SAFE_METHODS:
        return
    form = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    sent = form.get(FIELD)
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), csrf_token(request).encode()):
        raise HTTPException(403, "This form is too old, or it is not ours. Go back, reload the page and try again.")
