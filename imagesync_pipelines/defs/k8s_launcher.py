"""Runs as jobs of Kubernetes: Dagster's launcher, which also knows runs that commands have started.

Named by dagster.yaml (deploy/dagster/kubernetes.yaml).
"""

from dagster_k8s import K8sRunLauncher

from imagesync_pipelines.defs.launchers import CheckedByLock


class CheckedK8sRunLauncher(CheckedByLock, K8sRunLauncher):
    """A run is alive while its job is, or while it holds its lock in our database."""
