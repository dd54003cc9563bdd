"""What of a pod moves GPU memory and is no argument: what its image holds, and that it starts without compiled graphs."""

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, admitted, verdict
from tests.plimsoll_operator.nodes import H100, L4

from plimsoll_operator.decision.request.request import is_vllms_own_image
from plimsoll_operator.verdict import Admit, Reason, Reject, Verdict

ONE = {"tensorParallelSize": 1, "pipelineParallelSize": 1}


@pytest.mark.parametrize(
    ("image", "own"),
    [
        ("vllm/vllm-openai:v0.11.0", True),
        ("docker.io/vllm/vllm-openai:v0.11.0", True),
        ("vllm/vllm-openai@sha256:00", True),
        ("lmcache/vllm-openai:v0.3.3", False),  # github.com/LMCache/LMCache/issues/1384: it holds no FlashInfer
        ("vllm/vllm-openai-rocm:v0.19.0", False),
        ("registry.example/vllm/vllm-openai:v0.11.0", False),
    ],
)
def test_only_vllms_own_image_is_known_to_hold_flashinfer(image: str, own: bool) -> None:
    assert is_vllms_own_image(image) is own


def pool(image: str) -> int:
    found = verdict(LLAMA_8B, engine={**ONE, "image": image, "version": "0.11.0"}, store=Files(H100))
    assert isinstance(found, Admit), found
    return found.plan.predicted.kv_cache_bytes


def test_an_image_that_nobody_knows_is_taken_to_sort_its_logits() -> None:
    # 0.11.0 on an H100: 4.76 GiB of activation where PyTorch sorts, 1.89 GiB where a kernel does (tests/plimsoll_estimator/overhead).
    assert (pool("vllm/vllm-openai:v0.11.0") - pool("acme/vllm:v0.11.0")) / 2**30 == pytest.approx(4.76 - 1.89, abs=0.2)


def test_a_plan_is_for_a_first_start_and_offers_the_volume_that_spares_the_next() -> None:
    found = verdict("Qwen/Qwen3-8B", version="0.27.1", engine=ONE, store=Files(L4))
    assert isinstance(found, Admit), found
    told = [line for line in found.warnings if "first start" in line]
    assert told
    assert "0.9 GiB more" in told[0]
    assert "VLLM_CACHE_ROOT" in told[0]
    released = admitted(verdict("Qwen/Qwen3-8B", version="0.10.2", engine=ONE, store=Files(L4)))
    assert not any("first start" in line for line in released.warnings)


def test_a_pinned_utilisation_leaves_room_for_the_graphs_that_are_captured() -> None:
    """gpt-oss-120b, 0.11.2, on an H100: 0.97 for 87040 tokens and 100 sequences is a user's start, reported as having run.

    0.96 with 6 sequences is another, whose log shows it ready (blog.huikang.dev/2025/12/28/vllm-logs.html).
    """

    def asked(utilisation: float, sequences: int = 100) -> Verdict:
        engine = {"gpuMemoryUtilization": utilisation, "tensorParallelSize": 1, "maxModelLen": 87040, "maxNumSeqs": sequences}
        return verdict("openai/gpt-oss-120b", version="0.11.2", engine=engine, store=Files(H100))

    assert isinstance(asked(0.97), Admit), asked(0.97)
    assert isinstance(asked(0.96, 6), Admit), asked(0.96, 6)
    refused = asked(0.99)
    assert isinstance(refused, Reject)
    assert refused.reason == Reason.INSUFFICIENT_GPU_MEMORY
