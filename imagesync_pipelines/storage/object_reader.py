"""Objects of a bucket read with obstore: in a third of boto3's processor time, from async code without threads.

It tells errors apart badly, and cannot ask for some keys: then boto3 (objects.py) is asked, and says what is meant.
"""

from datetime import timedelta
from typing import Any

from obstore.store import S3Store

from imagesync_pipelines.storage.objects import S3Place

CONNECT_SECONDS = 10


def open_objects(place: S3Place, *, tries: int, seconds: float, **limits: timedelta) -> S3Store:
    """A client on the bucket that tries so often, for so many seconds; limits: of obstore's client, such as timeout."""
    return S3Store(
        place.bucket,
        endpoint=place.endpoint_url,
        region=place.region,
        access_key_id=place.access_key,
        secret_access_key=place.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options=_options(place, limits),
        retry_config={"max_retries": tries - 1, "retry_timeout": timedelta(seconds=seconds)},
    )


def _options(place: S3Place, limits: dict[str, timedelta]) -> Any:
    secure = place.endpoint_url.startswith("https://")
    return {"allow_http": not secure, "connect_timeout": timedelta(seconds=CONNECT_SECONDS), **limits}


def is_plain(key: str) -> bool:
    """Whether obstore asks for an object key as it is: it trims slashes at both ends and refuses some segments."""
    return not any(ord(letter) < 32 or letter == "\x7f" for letter in key) and not any(
        segment in {"", ".", ".."} for segment in key.split("/")
    )
