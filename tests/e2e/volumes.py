"""Volumes of a real node, whose folders are this machine's. Called by the tests that `make node` and `make demo-engine` run."""

from pathlib import Path

import yaml
from tests.controlplane.node.real_node import NAME


def volume(name: str, folder: Path, *, namespace: str) -> str:
    """The manifests of a volume on the real node, which is this folder, and of the claim that is bound to it."""
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}]}
    of_both = {"storageClassName": "", "accessModes": ["ReadOnlyMany"]}
    made = {
        **of_both,
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": str(folder), "type": "Directory"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}},
        "claimRef": {"namespace": namespace, "name": name},
    }
    wanted = {**of_both, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
    objects = [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": made},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace}, "spec": wanted},
    ]
    return yaml.safe_dump_all(objects)
