"""What the name of an image says of the accelerator that it is built for."""

import pytest

from plimsoll_operator.decision.checks.images import built_for

BUILDS = [
    ("vllm/vllm-openai:v0.19.0", ""),
    ("ghcr.io/llm-d/llm-d-cuda:v0.8.0", ""),
    ("nvcr.io/nvidia/vllm:25.11-py3", ""),
    ("registry.corp:5000/cpu-pool/vllm:v1", ""),
    ("registry.corp/vllm:v0.19.0-cpu-offload", ""),
    (f"vllm/vllm-openai@sha256:{'c' * 64}", ""),
    ("vllm/vllm-tpu:latest", "TPUs"),
    ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.11.0", "CPUs"),
    ("registry.corp/vllm:v0.19.0-cpu", "CPUs"),
    ("ghcr.io/llm-d/llm-d-xpu:v0.3.0", "Intel GPUs"),
    ("intel/vllm:0.10.0-xpu", "Intel GPUs"),
    ("ghcr.io/llm-d/llm-d-hpu:v0.3.0", "Gaudi"),
    ("quay.io/ascend/vllm-ascend:v0.11.0", "Ascend NPUs"),
    ("registry.corp/vllm-neuron:1", "AWS Neuron"),
    ("rocm/vllm:latest", "ROCm"),
    ("registry.corp/vllm-rocm6.4:1", "ROCm"),
]


@pytest.mark.parametrize(("image", "what"), BUILDS, ids=[row[0] for row in BUILDS])
def test_an_image_s_name_says_what_it_is_built_for(image: str, what: str) -> None:
    assert built_for(image) == what
