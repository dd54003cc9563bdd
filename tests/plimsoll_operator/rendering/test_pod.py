"""One pod, whoever speaks of it: what was decided for it is what it asks for, and where it mounts nobody else mounts."""

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, deployment, manifest, planned, verdict

from plimsoll_operator import pod
from plimsoll_operator.api import OWNED_PATHS, parse_inference_deployment
from plimsoll_operator.ports import Manifest
from plimsoll_operator.quantity import parse_millis, parse_quantity
from plimsoll_operator.render import Origin, render_workload

MIB = 1 << 20
SIDECAR = {"name": "proxy", "image": "example/proxy:1", "resources": {"cpu": "500m", "memory": "1Gi"}}
FLOOR = {"cpu": "40", "memory": "300Gi"}
ONE, TWO, EIGHT = ({"tensorParallelSize": size, "maxModelLen": 4096} for size in (1, 2, 8))
PODS = [
    ("one GPU", LLAMA_8B, ONE, None),
    ("two GPUs", LLAMA_70B, TWO, None),
    ("eight GPUs", LLAMA_70B, EIGHT, None),
    ("a sidecar beside the engine", LLAMA_8B, ONE, {"sidecars": [SIDECAR]}),
    ("an engine that is given more", LLAMA_70B, TWO, {"resources": FLOOR}),
    ("both", LLAMA_70B, TWO, {"resources": FLOOR, "sidecars": [SIDECAR, SIDECAR | {"name": "logs"}]}),
]


@pytest.mark.parametrize(("why", "model", "engine", "template"), PODS, ids=[row[0] for row in PODS])
def test_the_pod_asks_for_what_was_decided_and_is_booked(why: str, model: str, engine: dict[str, int], template: Manifest | None) -> None:
    spec: Manifest = {"engine": engine} | ({"template": template} if template else {})
    plan = planned(verdict(model, **spec))
    child = render_workload(deployment(model, **spec), plan, Origin(generation=1, spec_digest="", replan=""))
    made = child["spec"]["template"]["spec"]
    asked = [container.get("resources", {}).get("requests", {}) for container in made["containers"]]
    assert sum(parse_millis(row.get("cpu", "0")) for row in asked) == pod.cpu_millis(plan.gpus_per_pod) + plan.template_cpu_millis
    memory = sum(parse_quantity(row.get("memory", "0")) for row in asked)
    assert 0 <= memory - plan.host_memory_bytes - plan.template_memory_bytes < MIB, "rounded up, and by less than its unit"
    assert sum(parse_quantity(row.get("ephemeral-storage", "0")) for row in asked) == plan.ephemeral_storage_bytes
    (shared,) = (volume["emptyDir"] for volume in made["volumes"] if volume["name"] == "shm")
    assert parse_quantity(shared["sizeLimit"]) == pod.shared_memory_bytes(plan.gpus_per_pod) < plan.host_memory_bytes


@pytest.mark.parametrize(("gpus", "shared_gib", "cores"), [(1, 2, 2), (2, 3, 3), (8, 9, 9)])
def test_a_pod_grows_with_its_gpus(gpus: int, shared_gib: int, cores: int) -> None:
    assert (pod.shared_memory_bytes(gpus), pod.cpu_millis(gpus)) == (shared_gib << 30, cores * 1000)


@pytest.mark.parametrize(
    ("source", "security"),
    [(None, None), ({"persistentVolumeClaim": {"claimName": "c"}}, None), (None, {"runAsUser": 1000, "readOnlyRootFilesystem": True})],
)
def test_nobody_mounts_where_the_pod_does(source: Manifest | None, security: Manifest | None) -> None:
    obj = manifest(engine=ONE, template={"securityContext": security} if security else {})
    obj["spec"]["model"] |= {"source": source} if source else {}
    wish = parse_inference_deployment(obj)
    child = render_workload(wish, planned(verdict(engine=ONE)), Origin(generation=1, spec_digest="", replan=""))
    (engine,) = child["spec"]["template"]["spec"]["containers"]
    mounted = {mount["mountPath"] for mount in engine["volumeMounts"]}
    assert mounted <= {*OWNED_PATHS, pod.HOME_MOUNT, pod.COMPILE_MOUNT, "/tmp"}, "of these, only the last but one may be the user's"
    assert pod.SHARED_MEMORY_MOUNT in mounted
