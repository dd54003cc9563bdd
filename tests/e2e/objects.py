"""Small objects for whole installations, and how they are applied."""

import json

from tests.controlplane import Cluster
from tests.controlplane.cluster import Json
from tests.e2e.installation import GROUP

NAME_LABEL = f"{GROUP}/name"


GARBAGE_COLLECTION_S = 60  # Kubernetes' garbage collector asks for new kinds every 30 s


MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def deployment(name: str, *, replicas: int = 1, model: str = MODEL, context: int = 8192, products: tuple[str, ...] = ("NVIDIA-L4",)) -> str:
    """Return an InferenceDeployment as JSON."""
    spec = {
        "model": {"name": model},
        "replicas": replicas,
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": context},
        "placement": {"gpuProducts": list(products)},
    }
    return json.dumps({"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec})


def running(cluster: Cluster, namespace: str, name: str, count: int) -> list[Json]:
    """Return the pods of an InferenceDeployment when `count` of them run and no other exists, else nothing."""
    pods = cluster.pods(namespace, f"{NAME_LABEL}={name}")
    return pods if len(pods) == count and all(pod["status"]["phase"] == "Running" for pod in pods) else []


def apply(cluster: Cluster, namespace: str, manifest: str, *arguments: str) -> str:
    """Apply as a user would and return what kubectl says."""
    done = cluster.kubectl("apply", "-n", namespace, "-f", "-", *arguments, stdin=manifest)
    return done.stdout + done.stderr
