"""What every part of the head-office service works with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.storage.objects import S3Client
from imagesync_pipelines.web.head_office.settings import HeadOfficeSettings


@dataclass(frozen=True)
class HeadOffice:
    """The head office's database, bucket, settings and clock.

    `jwt_secret` signs the tokens. `clock` gives aware UTC and stamps every row: it is the only clock of the service.
    """

    engine: sa.Engine
    s3: S3Client
    bucket: str
    settings: HeadOfficeSettings
    jwt_secret: SecretStr
    clock: Callable[[], datetime]
