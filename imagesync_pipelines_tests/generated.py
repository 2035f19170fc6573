"""What is committed and written by a program: `.env.example`, the snapshot of what Dagster loads, a table of the docs.

After a change that is meant, renew all and look at the difference:

    python -m imagesync_pipelines_tests.generated
"""

import inspect
import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from pydantic_settings import BaseSettings

from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings, MoyskladWebhookSettings
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.products.settings import ErpSettings, ShowingSettings
from imagesync_pipelines.quality.rules import SEVERITIES, RuleSet, rule_sets
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import LanguageSettings, LogSettings, Settings
from imagesync_pipelines.telemetry.spans import TelemetrySettings
from imagesync_pipelines.web.catalogue.oidc.settings import OidcSettings
from imagesync_pipelines.web.catalogue.state import CatalogueSettings
from imagesync_pipelines.web.head_office.office import HeadOfficeSettings
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

ROOT = Path(__file__).parent.parent
ENV_EXAMPLE = ROOT / ".env.example"
SNAPSHOT = Path(__file__).parent / "definitions.json"
QUALITY = ROOT / "docs" / "quality.md"
_RULES_BEGIN, _RULES_END = "generated -->\n", "<!-- end of rules -->"

_SETTINGS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("All connectors", Settings),
    ("The language that is spoken", LanguageSettings),
    ("The log of every process", LogSettings),
    ("Traces and metrics (OpenTelemetry), off by default", TelemetrySettings),
    ("The ERP", ErpSettings),
    ("How product images are shown", ShowingSettings),
    ("The image database", ImageDbSettings),
    ("Edge stores", EdgeSettings),
    ("Plytix", PlytixSettings),
    ("МойСклад", MoyskladSettings),
    ("МойСклад: the endpoints for webhooks and requests (imagesync moysklad webhooks)", MoyskladWebhookSettings),
    ("Quality of main pictures (imagesync quality)", QualitySettings),
    ("The catalogue (imagesync serve)", CatalogueSettings),
    ("Signing in to the catalogue at an identity provider (OpenID Connect)", OidcSettings),
    ("Webhooks out: receivers that are told of changes (imagesync webhook)", WebhooksOutSettings),
    ("The head office as a service (imagesync head-office serve)", HeadOfficeSettings),
)
SETTINGS = (
    *_SETTINGS,
    *((one.title, one.settings) for one in connectors() if one.settings not in {kind for _, kind in _SETTINGS}),
)

_HEAD = """\
# Every variable imagesync reads, with its default. Copy to .env (git-ignored) and fill in what is yours.
# A variable in the environment wins over .env.
"""


def variables(kind: type[BaseSettings]) -> dict[str, tuple[object, str]]:
    """The variables of one settings class, without those of a class it extends: name → (default, description)."""
    prefix = str(kind.model_config.get("env_prefix") or "")
    extended = {name for base in kind.__mro__[1:] for name in getattr(base, "model_fields", {})}
    return {
        (named if isinstance(named := field.validation_alias, str) else prefix + name).upper(): (
            field.default,
            field.description or "",
        )
        for name, field in kind.model_fields.items()
        if name not in extended
    }


def env_example() -> str:
    """The text of `.env.example`; a variable without a default is a comment, so that a copy changes nothing."""
    parts = [_HEAD]
    for title, kind in SETTINGS:
        parts.append(f"# --- {title}\n")
        parts += [_variable(name, default, text) for name, (default, text) in variables(kind).items()]
    return "\n".join(parts)


def snapshot(definitions: dg.Definitions) -> dict[str, Any]:
    """What Dagster loads, as plain values: a change here is a change that people see in the UI."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {key.to_user_string(): _asset(graph, key) for key in sorted(graph.get_all_asset_keys())},
        "checks": {
            f"{key.asset_key.to_user_string()}: {key.name}": {"blocking": graph.get(key).blocking}
            for key in sorted(graph.asset_check_keys, key=str)
        },
        "jobs": {
            name: sorted(node.name for node in repository.get_job(name).nodes)
            for name in sorted(repository.job_names)
            if not name.startswith("__")
        },
        "schedules": {
            schedule.name: {
                "job": schedule.job_name,
                "cron": schedule.cron_schedule,
                "time zone": schedule.execution_timezone,
                "at first": schedule.default_status.value,
            }
            for schedule in sorted(repository.schedule_defs, key=lambda schedule: schedule.name)
        },
        "sensors": {
            sensor.name: {
                "kind": sensor.sensor_type.value,
                "seconds between": sensor.minimum_interval_seconds,
                "at first": sensor.default_status.value,
            }
            for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name)
        },
        "resources": sorted(repository.get_top_level_resources()),
    }


def quality_page() -> str:
    """docs/quality.md with the table of the shipped rules."""
    text = QUALITY.read_text(encoding="utf-8")
    head, rest = text.split(_RULES_BEGIN)
    known = rule_sets(QualitySettings.model_construct(rules_folder=None, channels=""))
    return head + _RULES_BEGIN + "".join(map(_rule_table, known.values())) + _RULES_END + rest.split(_RULES_END)[1]


def _rule_table(rule_set: RuleSet) -> str:
    lines = [
        f"\n**{rule_set.name}** (`{rule_set.id}`)\n",
        "| rule | what it asks | severity | source |",
        "|---|---|---|---|",
    ]
    for rule in rule_set.rules:
        bounds = (("at least", rule.at_least), ("at most", rule.at_most))
        bound = ", ".join(f"{word} {value:g}" for word, value in bounds if value is not None)
        source = rule_set.sources.get(rule.source)
        read = f", {source.read_on}" if source is not None and source.read_on and rule.sure != "heard" else ""
        named = f"[{source.name}]({source.url}){read}; " if source is not None else ""
        asks = f"`{rule.measure}` {bound or 'one of ' + ', '.join(rule.one_of)}"
        lines.append(f"| `{rule.id}`: {rule.title} | {asks} | {SEVERITIES[rule.severity]} | {named}{rule.sure} |")
    return "\n".join(lines) + "\n"


def renew() -> None:
    """Write all of it; settings of this machine play no part."""
    for _, kind in SETTINGS:
        for name in variables(kind):
            os.environ.pop(name, None)
    os.environ["IMAGESYNC_ENV_FILE"] = os.devnull
    ENV_EXAMPLE.write_text(env_example(), encoding="utf-8")
    QUALITY.write_text(quality_page(), encoding="utf-8")
    SNAPSHOT.write_text(json.dumps(snapshot(build_definitions()), indent=2) + "\n", encoding="utf-8")


def _asset(graph: AssetGraph, key: dg.AssetKey) -> dict[str, Any]:
    node = graph.get(key)
    policy = node.backfill_policy
    return {
        "after": sorted(parent.to_user_string() for parent in node.parent_keys),
        "group": node.group_name,
        "owners": sorted(node.owners),
        "kinds": sorted(node.kinds),
        "says": inspect.cleandoc(node.description or "").splitlines()[0],
        "external": node.is_external,
        "partitions": getattr(node.partitions_def, "name", None),
        "backfill": policy.policy_type.value if policy is not None else None,
        "pools": [] if node.is_external else sorted(node.pools or ()),
    }


def _variable(name: str, default: object, text: str) -> str:
    shown = "#" if default is None or default == () else ""
    return f"# {text}\n{shown}{name}={_written(default)}\n"


def _written(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


if __name__ == "__main__":
    renew()
