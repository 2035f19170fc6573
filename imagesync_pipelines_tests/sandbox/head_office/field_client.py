"""What the edge client in the field does with V2, from docs/contracts/edge.md: it lists, takes bytes, and believes."""

import hashlib
from dataclasses import dataclass, field
from uuid import UUID

import requests

from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines_tests.sandbox.head_office.callers import ROOT, SECONDS, log_in

BUCKET_OF_HEAD_OFFICE = "http://localhost:9000"


@dataclass
class FieldClient:
    """It adds its own limit to the offset whatever came, and takes any error for the end of the listing."""

    sandbox: HeadOfficeSandbox
    company: UUID
    store: UUID
    limit: int = 100
    photos: dict[str, bytes] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def ask(self, **more: object) -> requests.Response:
        """One page."""
        body = {"company_id": str(self.company), "brand_id": "ignored", "store_id": str(self.store), **more}
        headers = {"Authorization": f"Bearer {log_in(self.sandbox)['access']}"}
        return requests.post(self.sandbox.url + ROOT, json=body, headers=headers, timeout=SECONDS)

    def sync(self) -> None:
        """Everything."""
        offset, has_more = 0, True
        while has_more:
            answer = self.ask(limit=self.limit, offset=offset)
            if not answer.ok:
                return
            for photo in answer.json()["photos"]:
                self._take(photo)
            offset, has_more = offset + self.limit, answer.json()["has_more"]

    def _take(self, photo: dict[str, str]) -> None:
        url = photo["image_url"].replace(BUCKET_OF_HEAD_OFFICE, self.sandbox.s3.endpoint_url)
        answer = requests.get(url, timeout=SECONDS)
        good = answer.ok and hashlib.md5(answer.content, usedforsecurity=False).hexdigest() == photo["checksum"]
        if good:
            self.photos[photo["id"]] = answer.content
        else:
            self.failed.append(photo["id"])
