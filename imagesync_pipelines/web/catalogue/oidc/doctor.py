"""The identity provider as `imagesync doctor` asks it: whether it is the one that is set and knows us, and its clock.

What speaks with it is imported when it is asked.
"""

from urllib.parse import urlsplit

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.settings import LOOPBACK_HOSTS, load_settings
from imagesync_pipelines.sync.health import Answer, Finding, Probe, State
from imagesync_pipelines.web.catalogue.oidc.settings import OidcSettings

PART = N_("sign-in")


def probes() -> list[Probe]:
    """The provider, where one is set. Raises SettingsError."""
    settings = load_settings(OidcSettings)
    if settings.issuer is None:
        return []
    return [Probe(PART, lambda: _asked(settings), "OIDC_ISSUER", settings.issuer)]


def _asked(settings: OidcSettings) -> Answer:
    from imagesync_pipelines.web.catalogue.oidc.provider import Provider, ProviderRefusedError

    provider = Provider(settings)
    metadata = provider.metadata()
    if not provider.has_keys():
        raise ProviderRefusedError("the provider shows no keys, so no token of it is good")
    ahead, findings = provider.ahead, [_redirect(settings, taken=provider.takes_us())]
    if not metadata.get("end_session_endpoint"):
        said = told("the provider has no end_session_endpoint: who signs out here stays signed in there")
        findings.append(Finding(PART, N_("sign-out"), State.FINE, said))
    if settings.passwords == "off" and not settings.break_glass:
        said = told("nobody comes in while the provider is away: passwords are off, and OIDC_BREAK_GLASS names nobody")
        todo = told("Name one user with a password there.")
        findings.append(Finding(PART, N_("broken glass"), State.WARNING, said, todo))
    return Answer(told(f"calls itself {settings.issuer}, as OIDC_ISSUER does"), ahead=ahead, findings=findings)


def _redirect(settings: OidcSettings, *, taken: bool) -> Finding:
    """Whether people come back to us from there."""
    url, check = settings.redirect_url, N_("redirect address")
    parts = urlsplit(url)
    if not taken:
        todo = told(f"Register {url} for OIDC_CLIENT_ID at the provider.")
        said = told(f"the provider refuses {url} for {settings.client_id}")
        return Finding(PART, check, State.WRONG, said, todo)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK_HOSTS:
        todo = told("Set OIDC_REDIRECT_URL to an https address of the proxy.")
        return Finding(PART, check, State.WARNING, told(f"{url} is not encrypted: codes pass in clear"), todo)
    return Finding(PART, check, State.FINE, told(f"the provider takes {url}"))
