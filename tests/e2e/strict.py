"""What the API server says of an object in strict mode, by a dry run as the controller's.

Called by the tests of what is rendered, on the shared control plane and beside the real LeaderWorkerSet.
"""

from tests.controlplane import Cluster
from tests.controlplane.cluster import Json

PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "Service": "/api/v1/namespaces/{}/services/{}",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/{}",
    "LeaderWorkerSet": "/apis/leaderworkerset.x-k8s.io/v1/namespaces/{}/leaderworkersets/{}",
}
STRICT = "?dryRun=All&fieldManager=plimsoll-controller&force=true&fieldValidation=Strict"


def refusal(cluster: Cluster, namespace: str, made: Json) -> str:
    """Why it is not taken; nothing where it is."""
    made["metadata"]["namespace"] = namespace
    path = PATHS[made["kind"]].format(namespace, made["metadata"]["name"])
    status, answer = cluster.request("PATCH", path + STRICT, made, content_type="application/apply-patch+yaml")
    return "" if status in (200, 201) else str(answer.get("message"))
