"""What the name of an image says of the accelerator that it is built for: what is sure alone, since a false word keeps good pods away."""

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, verdict
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.importing.resources import refuse_other_builds
from plimsoll_operator.decision.checks.image_builds import built_for
from plimsoll_operator.verdict import Reason, Reject

SAYS_NOTHING = [
    "vllm/vllm-openai:v0.19.0",
    "ghcr.io/llm-d/llm-d-cuda:v0.8.0",
    "nvcr.io/nvidia/vllm:25.11-py3",
    "registry.corp:5000/cpu-pool/vllm:v1",
    "registry.corp/vllm:v0.19.0-cpu-offload",
    f"vllm/vllm-openai@sha256:{'c' * 64}",
    # A word within another is none.
    "registry.local/procmon/vllm-openai:v0.19.0",
    "ghcr.io/microcmp/vllm:1",
    "procmart.example.com/ml/vllm-openai:v0.19.0",
    "rocm.example.com/ml/vllm-openai:v0.19.0",
    "acme/macrocmd:1",
    "acme/vllm:v0.19.1-norocm",
    # A word that says what is done with vLLM, and not what it is built for.
    "mycorp/vllm-cpu-offload:1",
    "lmcache/lmcache-vllm-cpu-offload:1",
    "mycorp/vllm-kv-cpu-tier:1",
    "mycorp/vllm-openai-cpu-gpu:1",
    "mycorp/vllm-cuda-or-cpu:1",
    "mycorp/vllm-no-cpu:1",
    "mycorp/vllm-neuron-7b:1",
    "mycorp/vllm:v0.19.0-no-cpu",
    "mycorp/vllm:v0.19.0-multi-cpu",
    "mycorp/vllm:v0.19.0-cpu2",
    "mycorp/vllm-kv-tier:v0.1-cpu",
    "vllm/vllm-openai:cpu-offload",
    "mycorp/vllm:cpu-v0.19.0",  # a tag that begins so is known of vLLM's own alone
    "registry.corp/rocm/vllm-cuda:1",
    "user:secret@registry.corp/vllm-cpu:1",
]
BUILDS = [
    *((image, "") for image in SAYS_NOTHING),
    ("vllm/vllm-tpu:latest", "TPUs"),
    ("vllm/vllm-openai-cpu:v0.19.0", "CPUs"),
    ("vllm/vllm-openai-rocm:v0.19.0", "ROCm"),
    ("vllm/vllm-openai:cpu-v0.19.0", "CPUs"),
    ("docker.io/vllm/vllm-openai:tpu-nightly", "TPUs"),
    ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.11.0", "CPUs"),
    ("public.ecr.aws/q9t5s3a7/vllm-release-repo:0123456789abcdef0123456789abcdef01234567-cpu", "CPUs"),
    ("registry.corp/vllm:v0.19.0-cpu", "CPUs"),
    ("registry.corp/vllm-openai:latest-rocm6.4", "ROCm"),
    ("ghcr.io/llm-d/llm-d-xpu:v0.3.0", "Intel GPUs"),
    ("intel/vllm:0.10.0-xpu", "Intel GPUs"),
    ("registry.corp/vllm-ipex:1", "Intel's CPUs and GPUs"),
    ("ghcr.io/llm-d/llm-d-hpu:v0.3.0", "Gaudi"),
    ("vault.habana.ai/gaudi-docker/1.22/vllm-server:latest", "Gaudi"),
    ("harbor.corp/mirror/gaudi-docker/1.22/vllm-server:latest", "Gaudi"),
    ("quay.io/ascend/vllm-ascend:v0.11.0", "Ascend NPUs"),
    ("registry.corp/vllm-neuron:1", "AWS Neuron"),
    ("public.ecr.aws/neuron/pytorch-inference-vllm-neuronx:0.13.0-neuronx-py312-sdk2.26.0-ubuntu22.04", "AWS Neuron"),
    ("registry.redhat.io/rhaiis/vllm-spyre-rhel9:3.2", "IBM Spyre"),
    ("registry.redhat.io/rhaiis/vllm-rocm-rhel9:3.2", "ROCm"),
    ("rocm/vllm:latest", "ROCm"),
    ("rocm/vllm-dev:nightly", "ROCm"),
    ("harbor.corp/rocm/vllm:latest", "ROCm"),
    ("registry.corp/vllm-rocm6.4:1", "ROCm"),
    (f"registry.corp/vllm-cpu@sha256:{'c' * 64}", "CPUs"),
]


@pytest.mark.parametrize(("image", "what"), BUILDS, ids=[row[0] for row in BUILDS])
def test_an_image_s_name_says_what_it_is_built_for(image: str, what: str) -> None:
    assert built_for(image) == what


NO_REFERENCES = [
    "user:hunter2@reg.io/x/vllm-cpu:1",
    "reg.io/hunter2/../vllm:1",
    "reg.io/Hunter2/vllm:1",
    "reg.io/x/vllm:1:hunter2",
    "reg.io/x/vllm@hunter2",
]


@pytest.mark.parametrize("image", NO_REFERENCES)
def test_an_image_that_nothing_could_pull_is_refused_without_its_words(image: str) -> None:
    """Somebody may have written a password into it, and a verdict is read by more people than a spec."""
    store = Files(gpu_node("l4", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47"))
    for spec, field in (
        ({"engine": {"maxModelLen": 8192, "image": image, "version": "0.19.0"}}, "spec.engine.image"),
        ({"template": {"sidecars": [{"name": "proxy", "image": image}]}}, "spec.template.sidecars[0].image"),
    ):
        found = verdict(LLAMA_8B, store=store, **{"engine": {"maxModelLen": 8192}, **spec})
        assert isinstance(found, Reject)
        assert (found.reason, found.field) == (Reason.INVALID_SPEC, field)
        assert "hunter2" not in found.message.lower() + " ".join(found.details).lower()


def test_the_importer_refuses_it_too() -> None:
    with pytest.raises(InvalidInput) as refused:
        refuse_other_builds(NO_REFERENCES[0], "spec.containers[0].image")
    assert "hunter2" not in str(refused.value)
