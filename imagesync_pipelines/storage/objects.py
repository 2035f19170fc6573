"""Access to an S3 object store through boto3: where it is, a client on it, its bucket."""

from dataclasses import dataclass
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from pydantic import SecretStr

from imagesync_pipelines.settings import Settings, SettingsError, check_transport
from imagesync_pipelines.storage.errors import StorageError

POOL = 32
CONNECT_SECONDS = 10
READ_SECONDS = 60
ATTEMPTS = 3
_MISSING = frozenset({"404", "NoSuchBucket", "NotFoundError"})
_OURS_ALREADY = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})

# boto3 makes its client classes while it runs and has no types for them.
S3Client = Any


class ObjectStoreError(StorageError):
    """The object store does not answer, refuses the keys, or lacks the bucket; the message says which."""


@dataclass(frozen=True)
class S3Place:
    """Where an object store is and how to get in; one bucket of it."""

    endpoint_url: str
    access_key: str
    secret_key: SecretStr
    region: str
    bucket: str


def s3_place(settings: Settings) -> S3Place | None:
    """The object store that the settings name, or None when they name none (then use the embedded one).

    Raises SettingsError when an endpoint is given without its keys, or is plain http in production.
    """
    if settings.s3_endpoint_url is None:
        return None
    if settings.s3_access_key is None or settings.s3_secret_key is None:
        raise SettingsError("IMAGESYNC_S3_ACCESS_KEY and IMAGESYNC_S3_SECRET_KEY: both are needed with an endpoint")
    check_transport("IMAGESYNC_S3_ENDPOINT_URL", settings.s3_endpoint_url, settings.environment)
    return S3Place(
        settings.s3_endpoint_url,
        settings.s3_access_key,
        settings.s3_secret_key,
        settings.s3_region,
        settings.s3_bucket,
    )


def s3_client(place: S3Place) -> S3Client:
    """A boto3 client on the place; one may be used by many threads, and making one costs about 100 ms."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=place.endpoint_url,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key.get_secret_value(),
        region_name=place.region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=POOL,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        ),
    )


def ensure_bucket(client: S3Client, bucket: str) -> None:
    """Make the bucket when it is not there; raises ObjectStoreError when the store does not answer or refuses."""
    try:
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) not in _MISSING:
                raise
            client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) not in _OURS_ALREADY:
            raise ObjectStoreError(
                f"The object store refuses the bucket {bucket!r} ({error_code(error)}). "
                "Check the keys and their rights, or make the bucket by hand."
            ) from error
    except BotoCoreError as error:
        raise ObjectStoreError(f"The object store does not answer: {error}") from error


def error_code(error: ClientError) -> str:
    """The store's own word for what went wrong, such as NoSuchKey."""
    return str(error.response.get("Error", {}).get("Code", ""))
