"""GPUs whose memory is the host's too, or counted as its, and cards of which a GPUPool grants a part.

Source of the figures: vLLM start-up logs (data/gpus.json); owners of GB10s report 101 to 102 of 121.7 GiB free at vLLM's start, and starts
at 0.92 with 112.3 of 119.6 GiB free.
"""

import pytest
from tests.plimsoll_operator.decision_world import Files, planned, refused, verdict
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_estimator.hardware import known_gpus
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Reject

GIB = 1 << 30
SMALL = "Qwen/Qwen2.5-1.5B-Instruct"


def unified(product: str, host: str) -> Manifest:
    item = gpu_node("u", product, 1, 0, host=host, cpu="20")
    del item["metadata"]["labels"]["nvidia.com/gpu.memory"]  # NVML does not tell it
    return item


@pytest.mark.parametrize(("product", "host"), [("NVIDIA-GB10", "119Gi"), ("NVIDIA-GB10", "100Gi"), ("NVIDIA-Jetson", "61Gi")])
def test_budget_pod_and_system_fit_in_one_memory(product: str, host: str) -> None:
    plan = planned(verdict(SMALL, engine={"maxModelLen": 8192}, store=Files(unified(product, host))))
    total = known_gpus()[product].total_memory_bytes
    assert plan.host_memory_bytes > plan.allocated_bytes, "the request holds the budget, so that no other pod is put there"
    assert plan.host_memory_bytes <= min(total - total // 8, int(host[:-2]) * GIB)
    assert 0.6 < float(plan.gpu_memory_utilization) < 0.85


@pytest.mark.parametrize(("product", "generation"), [("NVIDIA-Thor", "11.0"), ("Jetson-AGX-Orin", "8.7"), ("acme-edge", "8.7")])
def test_a_system_on_a_chip_is_one_memory_whatever_its_label_calls_it(product: str, generation: str) -> None:
    major, minor = generation.split(".")
    compute: dict[str, str | None] = {"nvidia.com/gpu.compute.major": major, "nvidia.com/gpu.compute.minor": minor}
    node = gpu_node("u", product, 1, 62_000, host="61Gi", cpu="12", labels=compute)
    plan = planned(verdict(SMALL, version="0.25.1", engine={"maxModelLen": 8192}, store=Files(node)))
    assert plan.host_memory_bytes > plan.allocated_bytes
    assert 0.6 < float(plan.gpu_memory_utilization) < 0.85


PINNED = [("what owners start", 0.85, Admit), ("what leaves nothing for pod and system", 0.95, Reject)]


@pytest.mark.parametrize(("why", "share", "kind"), PINNED, ids=[row[0] for row in PINNED])
def test_who_pins_a_share_may_take_the_systems_but_not_the_pods(why: str, share: float, kind: type[Admit | Reject]) -> None:
    found = verdict(SMALL, engine={"maxModelLen": 8192, "gpuMemoryUtilization": share}, store=Files(unified("NVIDIA-GB10", "119Gi")))
    assert isinstance(found, kind), found


def test_memory_of_a_coherent_gpu_is_not_the_pods() -> None:
    def gh200(host: str) -> Files:
        return Files(gpu_node("g", "NVIDIA-GH200-480GB", 1, 97871, host=host, cpu="70"))

    # A node that counts 96 GB of HBM as its own and has little else has nothing for the pod.
    assert refused(verdict(SMALL, engine={"maxModelLen": 8192}, store=gh200("98Gi"))).reason == "HostMemory"
    assert isinstance(verdict(SMALL, engine={"maxModelLen": 8192}, store=gh200("480Gi")), Admit)


@pytest.mark.parametrize(("product", "granted"), [("NVIDIA-L4", 16), ("NVIDIA-H100-80GB-HBM3", 40), ("NVIDIA-GB10", 64)])
def test_what_a_gpu_pool_grants_is_a_limit_and_the_share_is_of_the_card(product: str, granted: int) -> None:
    item = gpu_node("n", product, 1, 0, host="119Gi", labels={"rack": "a"})
    spec = {"selector": {"rack": "a"}, "product": product, "usableMemoryBytes": f"{granted}Gi"}
    pool = {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "g"}, "spec": spec}
    plan = planned(verdict(SMALL, engine={"maxModelLen": 8192}, store=Files(item, corrections=[pool])))
    card = known_gpus()[product].total_memory_bytes
    assert plan.gpu_total_bytes == card
    assert float(plan.gpu_memory_utilization) * card < granted * GIB
    pinned = {"maxModelLen": 8192, "gpuMemoryUtilization": 0.9}
    assert refused(verdict(SMALL, engine=pinned, store=Files(item, corrections=[pool]))).reason == "InsufficientGpuMemory"


def test_of_a_product_that_no_table_has_the_word_is_all_there_is() -> None:
    item = gpu_node("n", "NVIDIA-L99", 1, 0, labels={"rack": "a"})
    spec = {"selector": {"rack": "a"}, "product": "NVIDIA-L99", "usableMemoryBytes": "20Gi", "computeCapability": "9.0"}
    pool = {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "g"}, "spec": spec}
    assert planned(verdict(SMALL, engine={"maxModelLen": 8192}, store=Files(item, corrections=[pool]))).gpu_total_bytes == 20 * GIB
