"""Our values for Dagster's own chart: only keys that it has, and pods that Kubernetes takes.

No package registry has that chart, so its keys stand here as its models declare them: dagster-io/dagster on GitHub,
helm/dagster/schema.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from imagesync_pipelines_tests.deployment.test_tools import KUBERNETES
from imagesync_pipelines_tests.deployment.written import read

pytestmark = pytest.mark.deploy

ENABLED = frozenset({"enabled"})
IMAGE = frozenset({"repository", "tag", "pullPolicy"})
# What the chart hands on to Kubernetes as it is.
OF_PODS = frozenset(
    {
        *("env", "envConfigMaps", "envSecrets", "annotations", "labels", "nodeSelector", "affinity", "tolerations"),
        *("podSecurityContext", "securityContext", "resources", "volumes", "volumeMounts", "schedulerName"),
        *("livenessProbe", "readinessProbe", "startupProbe"),
    }
)
HOST = frozenset({"host", "path", "pathType", "tls", "precedingPaths", "succeedingPaths"})
KEYS: Mapping[str, frozenset[str]] = {
    "": frozenset(
        {
            *(
                "dagsterWebserver",
                "dagster-user-deployments",
                "dagsterDaemon",
                "global",
                "ingress",
                "migrate",
                "telemetry",
            ),
            *("postgresql", "generatePostgresqlPasswordSecret", "generateCeleryConfigSecret", "rabbitmq", "redis"),
            *("flower", "imagePullSecrets", "computeLogManager", "scheduler", "runLauncher", "pythonLogs", "busybox"),
            *("serviceAccount", "retention", "concurrency", "additionalInstanceConfig"),
        }
    ),
    "global": frozenset(
        {
            *("postgresqlSecretName", "dagsterHome", "serviceAccountName", "celeryConfigSecretName"),
            "dagsterInstanceConfigMap",
        }
    ),
    "dagster-user-deployments": frozenset({"enabled", "enableSubchart", "imagePullSecrets", "deployments"}),
    "dagster-user-deployments.deployments": OF_PODS
    | {"name", "image", "port", "dagsterApiGrpcArgs", "codeServerArgs", "includeConfigInLaunchedRuns"},
    "dagster-user-deployments.deployments.image": IMAGE,
    "dagster-user-deployments.deployments.includeConfigInLaunchedRuns": ENABLED,
    "dagsterWebserver": OF_PODS
    | {"replicaCount", "image", "nameOverride", "pathPrefix", "service", "workspace", "deploymentLabels"}
    | {"enableReadOnly", "dbStatementTimeout", "dbPoolRecycle", "logLevel"},
    "dagsterWebserver.image": IMAGE,
    "dagsterWebserver.workspace": frozenset({"enabled", "servers", "externalConfigmap"}),
    "dagsterWebserver.workspace.servers": frozenset({"host", "port", "name", "ssl"}),
    "dagsterDaemon": OF_PODS
    | {"enabled", "image", "runCoordinator", "heartbeatTolerance", "deploymentLabels", "runMonitoring", "runRetries"}
    | {"sensors", "schedules"},
    "dagsterDaemon.image": IMAGE,
    "postgresql": frozenset(
        {
            *("image", "enabled", "postgresqlHost", "postgresqlUsername", "postgresqlPassword", "postgresqlDatabase"),
            *("postgresqlParams", "postgresqlScheme", "service"),
        }
    ),
    "postgresql.service": frozenset({"port"}),
    "rabbitmq": frozenset({"image", "enabled", "rabbitmq", "service", "volumePermissions"}),
    "redis": frozenset(
        {
            *("internal", "enabled", "usePassword", "password", "host", "port", "brokerDbNumber", "backendDbNumber"),
            *("brokerUrl", "backendUrl"),
        }
    ),
    "telemetry": ENABLED,
    "migrate": frozenset({"enabled", "extraContainers", "initContainers"}),
    "ingress": frozenset(
        {
            *("enabled", "apiVersion", "labels", "annotations", "flower", "dagsterWebserver", "ingressClassName"),
            "readOnlyDagsterWebserver",
        }
    ),
    "ingress.dagsterWebserver": HOST,
    "ingress.dagsterWebserver.tls": frozenset({"enabled", "secretName"}),
}


def unknown(values: Any, path: str = "") -> Iterator[str]:
    """The keys that the chart does not have, by their places."""
    for one in values if isinstance(values, list) else [values]:
        if not isinstance(one, Mapping):
            continue
        for key, value in one.items():
            where = f"{path}.{key}".strip(".")
            if key not in KEYS.get(path, ()):
                yield where
            elif key not in OF_PODS:
                yield from unknown(value, where)


def pod(values: Mapping[str, Any]) -> dict[str, Any]:
    """The pod that the chart makes of one of its parts, as far as Kubernetes judges it."""
    sources = [{"configMapRef": one} for one in values["envConfigMaps"]]
    sources += [{"secretRef": one} for one in values["envSecrets"]]
    container = {
        "name": "one",
        "image": f"{values['image']['repository']}:{values['image']['tag']}",
        "envFrom": sources,
        **{name: values[name] for name in ("securityContext", "resources", "volumeMounts")},
    }
    spec = {"containers": [container], "securityContext": values["podSecurityContext"], "volumes": values["volumes"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}


def parts() -> dict[str, dict[str, Any]]:
    """What runs in pods of its own."""
    values = read("helm/dagster-values.yaml")
    [code] = values["dagster-user-deployments"]["deployments"]
    return {"code": code, "webserver": values["dagsterWebserver"], "daemon": values["dagsterDaemon"]}


def test_every_key_is_one_of_the_chart() -> None:
    values = read("helm/dagster-values.yaml")
    assert list(unknown(values)) == []
    wrong = {**values, "dagit": {}, "dagsterWebserver": {"replicas": 1, "workspace": {"servers": [{"hosts": "code"}]}}}
    assert list(unknown(wrong)) == ["dagsterWebserver.replicas", "dagsterWebserver.workspace.servers.hosts", "dagit"]


@pytest.mark.parametrize("name", parts())
def test_kubernetes_takes_its_pod_which_is_nobodys_root(name: str) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    made = pod(parts()[name])
    for version in KUBERNETES:
        kubernetes.validate(made, version, strict=True)
    spec = made["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    spec["volumes"] = [{"name": "home", "emptydir": {}}]
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(made, KUBERNETES[0], strict=True)
