"""The reason that is named must be the cure: each pool says its own, offers lift the refusal, and nothing is counted twice."""

import json

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, offered, planned, refused, verdict
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Reject, Undecided

GIB = 1 << 30
ONE = {"maxModelLen": 8192}


def test_pools_that_fail_for_different_causes_each_say_theirs() -> None:
    starved = gpu_node("l4", "NVIDIA-L4", 1, 23034, host="4Gi")
    small = gpu_node("t4", "Tesla-T4", 1, 15360, host="60Gi")
    found = verdict(LLAMA_8B, engine=ONE, store=Files(starved, small))
    assert isinstance(found, Reject)
    assert found.reason == "HostMemory", "a larger host is the cheaper cure"
    (line,) = [line for line in found.details if "Tesla-T4" in line]
    assert "GiB of" in line
    assert "host memory" not in line


def test_pools_that_fail_for_one_cause_say_it_once() -> None:
    pools = [
        gpu_node(name, product, 1, memory, host="4Gi") for name, product, memory in (("a", "NVIDIA-L4", 23034), ("b", "NVIDIA-L40S", 46068))
    ]
    found = refused(verdict(LLAMA_8B, engine=ONE, store=Files(*pools)))
    assert (found.reason, found.details) == ("HostMemory", ())


def test_pools_of_one_product_may_lack_different_things() -> None:
    pools = [gpu_node("a", "NVIDIA-L4", 1, 23034, host="4Gi"), gpu_node("b", "NVIDIA-L4", 1, 23034, host="60Gi", cpu="1")]
    found = refused(verdict(LLAMA_8B, engine=ONE, store=Files(*pools)))
    assert found.reason == "HostMemory"
    assert any("the pod asks for 2000m CPU" in line for line in found.details), found.details


def test_no_offer_leaves_the_files_as_they_are_and_calls_them_smaller() -> None:
    """Quantised as they are loaded, weights are read from the same files: the host needs what it needed."""
    host = gpu_node("s", "NVIDIA-L4", 1, 23034, host="10Gi")
    engine = ONE | {"extraArgs": ["--safetensors-load-strategy", "eager"]}
    found = refused(verdict(LLAMA_8B, engine=engine, store=Files(host)))
    assert found.reason == "HostMemory"
    assert all("quantization" not in json.loads(offer.patch_json)["spec"].get("engine", {}) for offer in found.offers)
    for offer in found.offers:
        assert isinstance(offered(offer, LLAMA_8B, engine=engine, store=Files(host)), Admit)


def hub_cache(limit: str | None, path: str = "/hf") -> Manifest:
    env = [{"name": "HF_HOME", "value": path}]
    return {"env": env, "volumes": [{"name": "hf", "mountPath": "/hf", "emptyDir": {"sizeLimit": limit} if limit else {}}]}


# The files of Llama-3.1-8B are 15 GiB, chunks of a download at most 10 GB.
VOLUMES = [  # why, template, least and most GiB of ephemeral storage, or the reason of a refusal
    ("no volume", None, (27, 30)),
    ("a volume with a limit holds files and chunks", hub_cache("40Gi"), (44, 44)),
    ("a volume without one lies on the same disk", hub_cache(None), (27, 30)),
    ("a volume for something else is on top", hub_cache("40Gi", "/elsewhere"), (67, 70)),
    ("a volume that the download outgrows", hub_cache("20Gi"), "EphemeralStorage"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "template", "right"), VOLUMES, ids=[row[0] for row in VOLUMES])
def test_a_download_into_a_volume_with_a_limit_is_counted_once(why: str, template: Manifest | None, right: str | tuple[int, int]) -> None:
    spec = {"template": template} if template else {}
    found = verdict(LLAMA_8B, engine=ONE, store=Files(gpu_node("n", "NVIDIA-L4", 1, 23034, host="60Gi", disk="200Gi")), **spec)
    if isinstance(right, str):
        no = refused(found)
        assert (no.reason, no.field) == (right, "spec.template.volumes")
        assert "emptyDir volume that keeps the download" in no.message
        assert any("sizeLimit" in line for line in no.details)
        return
    assert right[0] <= planned(found).ephemeral_storage_bytes / GIB <= right[1]


NO_KERNELS = [("bfloat16, which the card has not either", ONE), ("a method that the card has not either", ONE | {"quantization": "fp8"})]


@pytest.mark.parametrize(("why", "engine"), NO_KERNELS, ids=[row[0] for row in NO_KERNELS])
def test_what_no_argument_cures_is_said_before_what_an_argument_would(why: str, engine: Manifest) -> None:
    found = refused(verdict(LLAMA_8B, version="0.8.5", engine=engine, store=Files(gpu_node("p", "Tesla-P100-PCIE-16GB", 1, 16384))))
    assert found.reason == "EngineRefuses"
    assert "no kernels for compute capability 6.0" in found.message


BUILDS = [  # what is in them: data/kernels.json; vllm#18818 (a V100, the image of 0.9.0), vllm#18995 (a 5090, the image of 0.9.0)
    ("a V100 has no kernels in vLLM's own image of 0.10.0", "Tesla-V100-SXM2-32GB", 32768, "vllm/vllm-openai:v0.10.0", "EngineRefuses"),
    ("what another image holds is not known", "Tesla-V100-SXM2-32GB", 32768, "acme/vllm:1", "KernelsNotKnown"),
    ("nothing was published for Arm hosts before 0.10.2", "NVIDIA-GH200-480GB", 97871, "vllm/vllm-openai:v0.10.0", "KernelsNotKnown"),
    ("and since then it was", "NVIDIA-GH200-480GB", 97871, "vllm/vllm-openai:v0.10.2", None),
    ("a B200 has them in vLLM's own image of 0.9.0", "NVIDIA-B200", 183359, "vllm/vllm-openai:v0.9.0", None),
    ("and a 5090 in that of 0.10.0", "NVIDIA-GeForce-RTX-5090", 32607, "vllm/vllm-openai:v0.10.0", None),
]


@pytest.mark.parametrize(("why", "product", "label_mib", "image", "reason"), BUILDS, ids=[row[0] for row in BUILDS])
def test_the_image_says_which_pytorch_s_kernels_count(why: str, product: str, label_mib: int, image: str, reason: str | None) -> None:
    engine = {"image": image, "maxModelLen": 2048, "dtype": "float16"} | ({} if image.startswith("vllm/") else {"version": "0.10.0"})
    found = verdict("Qwen/Qwen2.5-1.5B-Instruct", engine=engine, store=Files(gpu_node(product=product, memory_mib=label_mib)))
    assert (found.reason if isinstance(found, Reject | Undecided) else None) == reason, found
