"""Which call is which endpoint.

What belongs here: the table of endpoints, and finding one. What does not: the endpoints, and what stands before all of
them (app.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import Scope

from imagesync_pipelines.sandbox.moysklad import downloads, entities, hooks, images, lists
from imagesync_pipelines.sandbox.moysklad.office import Endpoint, Office
from imagesync_pipelines.sandbox.wire import Place

PREFIX = "/api/remap/1.2/"
OTHER, NOBODY = "other", "nobody"
_IMAGED, _LISTED = "product|bundle|variant", "product|bundle|variant|service"


@dataclass(frozen=True)
class Door:
    """One endpoint: its name in the ledger, its method and its path; `{name}` stands for an id, `a|b` for a choice.

    `writes` are those that change one entity, which no two may do at once.
    """

    name: str
    method: str
    path: str
    endpoint: Endpoint
    writes: bool = False


DOORS = (
    Door("assortment", "GET", "entity/assortment", lists.assortment),
    Door("webhook list", "GET", "entity/webhook", hooks.list_webhooks),
    Door("webhook create", "POST", "entity/webhook", hooks.create_webhook),
    Door("webhook change", "PUT", "entity/webhook/{webhook}", hooks.change_webhook),
    Door("webhook delete", "DELETE", "entity/webhook/{webhook}", hooks.delete_webhook),
    Door("list", "GET", f"entity/{_LISTED}", lists.list_entities),
    Door("bulk", "POST", f"entity/{_LISTED}", entities.post),
    Door("bulk", "POST", f"entity/{_LISTED}/batch", entities.post_many),
    Door("bulk delete", "POST", f"entity/{_LISTED}/delete", entities.delete_many),
    Door("get", "GET", f"entity/{_LISTED}/{{entity}}", entities.get),
    Door("put", "PUT", f"entity/{_LISTED}/{{entity}}", entities.put, writes=True),
    Door("delete", "DELETE", f"entity/{_LISTED}/{{entity}}", entities.delete, writes=True),
    Door("images list", "GET", f"entity/{_IMAGED}/{{entity}}/images", images.list_images),
    Door("images post", "POST", f"entity/{_IMAGED}/{{entity}}/images", images.post_images, writes=True),
    Door("images delete", "POST", f"entity/{_IMAGED}/{{entity}}/images/delete", images.delete_images, writes=True),
    Door("image delete", "DELETE", f"entity/{_IMAGED}/{{entity}}/images/{{image}}", images.delete_image, writes=True),
    Door("download", "GET", "download/{image}", downloads.download),
    Door("download head", "HEAD", "download/{image}", downloads.head),
    Door("download", "POST", "download/{image}", downloads.post),
    Door("download", "PUT", "download/{image}", downloads.put),
    Door("download", "DELETE", "download/{image}", downloads.delete),
    Door("token", "POST", "security/token", hooks.issue_token),
)
_PATTERNS = tuple((door, door.path.split("/")) for door in DOORS)


@dataclass(frozen=True)
class Found:
    """Where a call leads: the door, and the ids in its path."""

    door: Door
    ids: Mapping[str, str]


def find(method: str, path: str) -> Found | None:
    """The door of a call; None when there is none."""
    segments = path.removeprefix(PREFIX).split("/")
    for door, pattern in _PATTERNS:
        if door.method != method or len(pattern) != len(segments):
            continue
        ids: dict[str, str] = {}
        for part, segment in zip(pattern, segments, strict=True):
            if part.startswith("{"):
                ids[part[1:-1]] = segment
            elif "|" in part and segment in part.split("|"):
                ids["type"] = segment
            elif part != segment:
                break
        else:
            return Found(door, ids)
    return None


def api_place(office: Office) -> Callable[[Scope], Place]:
    """For the ledger and the faults: `<account> <door>`, and the entity or image that the path names."""

    def place(scope: Scope) -> Place:
        principal = office.principals.of(header(scope, b"authorization"))
        account = NOBODY if principal is None else principal.account.name
        found = find(scope["method"], scope["path"])
        if found is None:
            return f"{account} {OTHER}", scope["path"]
        return f"{account} {found.door.name}", found.ids.get("entity") or found.ids.get("image", "")

    return place


def header(scope: Scope, name: bytes) -> str:
    """The first line of a header, or nothing."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
