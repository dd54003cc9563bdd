"""InferenceDeployments of one namespace on the shared cluster, as a user makes, changes and watches them."""

from tests.controlplane import Cluster
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP

API = f"/apis/{GROUP}/v1alpha1"


MERGE = "application/merge-patch+json"


MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def wish(name: str, *, model: str = MODEL, context: int = 8192, products: tuple[str, ...] = ("NVIDIA-L4",)) -> Json:
    spec = {
        "model": {"name": model},
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": context},
        "placement": {"gpuProducts": list(products)},
    }
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


class Wishes:
    """InferenceDeployments of one namespace, through the raw API: kubectl's start-up would be most of what is measured."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def path(self, name: str = "", subresource: str = "") -> str:
        return "/".join(part for part in (f"{API}/namespaces/{self.namespace}/inferencedeployments", name, subresource) if part)

    def create(self, manifest: Json) -> None:
        status, answer = self.cluster.request("POST", self.path(), manifest)
        assert status == 201, answer.get("message")

    def patch(self, name: str, patch: Json, subresource: str = "") -> None:
        status, answer = self.cluster.request("PATCH", self.path(name, subresource), patch, content_type=MERGE)
        assert status == 200, answer.get("message")

    def get(self, name: str) -> Json:
        status, found = self.cluster.request("GET", self.path(name))
        assert status == 200, found.get("message")
        return found

    def status(self, name: str) -> Json:
        found: Json = self.get(name).get("status", {})
        return found

    def condition(self, name: str, kind: str) -> str | None:
        return next((row["status"] for row in self.status(name).get("conditions", []) if row["type"] == kind), None)

    def pods(self, name: str) -> list[Json]:
        return [pod for pod in self.cluster.pods(self.namespace, f"{GROUP}/name={name}") if "deletionTimestamp" not in pod["metadata"]]

    def uids(self, name: str) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.pods(name)}

    def ready(self, name: str) -> None:
        wait_until(lambda: self.condition(name, "Ready") == "True", f"{name} to be Ready")

    def child(self, name: str) -> Json | None:
        status, found = self.cluster.request("GET", f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}")
        return found if status == 200 else None

    def arguments(self, name: str) -> list[str]:
        child = self.child(name)
        found: list[str] = child["spec"]["template"]["spec"]["containers"][0]["args"] if child is not None else []
        return found
