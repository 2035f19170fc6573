"""The Dagster resource of this connector: the image database's API and the ERP, as the settings name them.

What belongs here: opening the client from settings. What does not: the HTTP contract (api.py), the settings themselves.
"""

from collections.abc import Callable

import dagster as dg

from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings, missing_variables
from imagesync_pipelines.settings import Settings, SettingsError, check_transport, load_settings
from imagesync_pipelines.upstream.auth import BasicAuth
from imagesync_pipelines.upstream.session import SessionPolicy, UpstreamSession


class ImageDbResource(dg.ConfigurableResource):
    """The image database's API (HTTP Basic) and the ERP, read from IMAGE_API_*, IMAGE_DB_* and ERP_* at run time."""

    def settings(self) -> ImageDbSettings:
        """The connector's settings; raises SettingsError naming the variable that is wrong."""
        return load_settings(ImageDbSettings)

    def session(self, shared: Settings, warn: Callable[[str], None]) -> UpstreamSession:
        """A session on the API; `warn` is told about plain http.

        Raises SettingsError when a variable is missing, or when plain http is refused in production.
        """
        settings = self.settings()
        missing = missing_variables(settings)
        if missing or settings.image_api_url is None or settings.image_api_password is None:
            raise SettingsError(f"not set: {', '.join(missing)}. Put them into .env (see .env.example).")
        warning = check_transport("IMAGE_API_URL", settings.image_api_url, shared.environment)
        if warning:
            warn(warning)
        return UpstreamSession(
            SessionPolicy(
                base_url=settings.image_api_url,
                auth=BasicAuth(settings.image_api_username or "", settings.image_api_password),
                read_timeout=settings.image_api_timeout,
                connect_timeout=min(10.0, settings.image_api_timeout),
                total_deadline=4 * settings.image_api_timeout,
                verify_tls=settings.image_api_verify_tls,
            )
        )
