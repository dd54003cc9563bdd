"""What towers, mixtures and Gated DeltaNet hold in the profile run: by vLLM's own code, and against starts that were logged."""

from typing import Any

import pytest

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.overhead import stage_overhead, widths_of
from plimsoll_estimator.overhead.communication import non_torch_bytes
from plimsoll_estimator.overhead.encoder import encoder_peak_bytes
from plimsoll_estimator.overhead.experts import expert_workspace_bytes, passing_expert_bytes
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.quantization.settings import weight_only
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import Estimate, ResolvedArgs

GIB = 1 << 30
H100, L40S, RTX4090, RTX5090 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-L40S", "NVIDIA-GeForce-RTX-4090", "NVIDIA-GeForce-RTX-5090"
NO_IMAGES = {"image": 0, "video": 0}


def config_of(name: str, **changes: Any) -> HfConfig:
    found = lookup(name)
    assert found is not None, name
    return HfConfig({**found.as_mapping(), **changes})


def setting(config: HfConfig, version: str, product: str = H100, **arguments: Any) -> tuple[Widths, ResolvedArgs]:
    resolved = resolve(config, EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(version))
    return widths_of(shape_of(config), text_only=resolved.text_only, weight_only=weight_only(config)), resolved


def answer(config: HfConfig, version: str, product: str, **arguments: Any) -> Estimate:
    return estimate(config, EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(version))


QWEN_25_VL, QWEN_35_4B, QWEN_35_27B = "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3.5-4B", "Qwen/Qwen3.5-27B"


@pytest.mark.parametrize(
    ("sentence", "name", "arguments", "elements"),
    [
        (
            "a gated MLP: what goes through a block five times, then gate, up and their product",
            QWEN_25_VL,
            {"max_model_len": 8192},
            5 * 1280 + 3 * 3420,
        ),
        ("a plain one leaves the peak to attention: eleven widths", QWEN_35_4B, {}, 11 * 1024),
        ("heads are divided, what enters and leaves a block is not", QWEN_35_4B, {"tensor_parallel_size": 2}, 3 * 1024 + 8 * 512),
    ],
)
def test_one_block_for_the_largest_image_sets_the_encoders_peak(sentence: str, name: str, arguments: dict[str, Any], elements: int) -> None:
    """vllm 0.27.1, model_executor/models/qwen2_5_vl.py and qwen3_vl.py: 16384 tokens of four patches each."""
    widths, resolved = setting(config_of(name), "0.18.0", **arguments)
    pixels = 3 * 2 * (14 if name == QWEN_25_VL else 16) ** 2
    assert encoder_peak_bytes(widths, resolved) == 65536 * (pixels + elements) * 2, sentence


def test_a_model_that_sees_nothing_has_no_encoder_peak_and_one_batch_may_hold_two_images() -> None:
    widths, resolved = setting(config_of(QWEN_35_4B), "0.18.0", limit_mm_per_prompt=NO_IMAGES)
    assert encoder_peak_bytes(widths, resolved) == 0
    one, two = (encoder_peak_bytes(*setting(config_of(QWEN_35_4B), "0.18.0", max_num_batched_tokens=n)) for n in (32767, 32768))
    assert two == 2 * one


def test_the_encoder_and_the_language_model_are_not_at_their_peak_together() -> None:
    widths, resolved = setting(config_of(QWEN_35_4B), "0.17.1", RTX5090)
    assert stage_overhead(widths, resolved, 0).activation_bytes == encoder_peak_bytes(widths, resolved)


@pytest.mark.parametrize(
    ("source", "name", "version", "product", "arguments", "logged_gib", "within_gib"),
    [
        (
            "code-index:61585879089, 62,736 tokens of 56 KiB",
            QWEN_25_VL,
            "0.27.1",
            RTX4090,
            {"max_model_len": 8192, "gpu_memory_utilization": 0.9, "limit_mm_per_prompt": {"image": 1}},
            3.35,
            0.3,
        ),
        ("public-file-index:id=69494016274", QWEN_35_4B, "0.29.0", "NVIDIA-L4", {"max_model_len": 32768}, 9.1, 0.36),
    ],
)
def test_pools_beside_an_encoder_are_as_logged(
    source: str, name: str, version: str, product: str, arguments: dict[str, Any], logged_gib: float, within_gib: float
) -> None:
    found = answer(config_of(name), version, product, **arguments)
    assert found.ranks[0].available_kv_cache_bytes / GIB == pytest.approx(logged_gib, abs=within_gib), source


def test_what_is_not_the_encoder_s_is_as_logged_beside_it() -> None:
    """Qwen3.5-4B on an L4, 0.29.0 (public-file-index:id=69494016274): "9.01 GiB for consumed memory (weights + non-torch), 2.17 GiB for
    peak activation, and 0.24 GiB for CUDAGraph memory". What that pool is off by is the peak's.
    """
    rank = answer(config_of(QWEN_35_4B), "0.29.0", "NVIDIA-L4", max_model_len=32768).ranks[0]
    assert (rank.weights_bytes + rank.non_torch_bytes) / GIB == pytest.approx(9.01, abs=0.05)
    assert rank.cuda_graph_bytes / GIB == pytest.approx(0.24, abs=0.01)
    assert rank.activation_bytes / GIB < 2.17


def weights_gib(name: str, version: str, **arguments: Any) -> float:
    return answer(config_of(name), version, H100, **arguments).ranks[0].weights_bytes / GIB


def test_a_tower_whose_modalities_are_all_limited_to_none_is_not_built_since_0_15() -> None:
    """Interfaces.py:_mark_tower_model of 0.15.0; an 0.27.1 start logged 27.67 GiB (github.com/phivan3008/meeting-translator)."""
    whole, text = weights_gib(QWEN_35_27B, "0.18.0"), weights_gib(QWEN_35_27B, "0.18.0", limit_mm_per_prompt=NO_IMAGES)
    assert whole - text == pytest.approx(0.86, abs=0.03)
    assert weights_gib(QWEN_35_27B, "0.18.0", limit_mm_per_prompt={"image": 0}) == whole, "videos are still seen"


def test_gemma_4_hears_through_a_conformer_of_305_million_numbers() -> None:
    """Transformers' Gemma4AudioModel holds 304,825,612 numbers, the embedder 1536 x 2560; 15.18 GiB logged (code-index:59058689281)."""
    name, nothing = "google/gemma-4-E4B-it", {"audio": 0}
    heard, deaf = (
        answer(config_of(name), "0.26.0", H100, limit_mm_per_prompt=limits).ranks[0].weights_created_bytes for limits in (None, nothing)
    )
    assert heard - deaf == (304_825_612 + 1536 * 2560) * 2
    assert weights_gib(name, "0.26.0") == pytest.approx(15.18, abs=0.1)


GROUP = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}}
W4A16 = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": GROUP}, "ignore": ["lm_head"]}
EIGHT = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}
W8A8 = {
    **W4A16,
    "format": "int-quantized",
    "config_groups": {
        "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}, "input_activations": EIGHT}
    },
}


def mixture(settings: dict[str, Any]) -> HfConfig:
    return config_of("Qwen/Qwen3-30B-A3B", quantization_config=settings)


@pytest.mark.parametrize(
    ("sentence", "settings", "version", "freed", "kept"),
    [
        ("weights of four bits go through Marlin's plain call, freed with the layer", W4A16, "0.15.0", True, False),
        ("another release of it", W4A16, "0.22.1", True, False),
        ("which became a modular kernel", W4A16, "0.24.0", False, True),
        ("eight-bit activations were modular before, under the same method's name", W8A8, "0.15.0", False, True),
    ],
)
def test_workspaces_of_experts_follow_how_they_multiply(
    sentence: str, settings: dict[str, Any], version: str, freed: bool, kept: bool
) -> None:
    """Wheels of 0.15.0, 0.22.1 and 0.24.0: quantization/compressed_tensors/compressed_tensors_moe*, fused_moe/modular_kernel.py."""
    widths, resolved = setting(mixture(settings), version)
    assert (passing_expert_bytes(widths, resolved) > 0, expert_workspace_bytes(widths, resolved) > 0) == (freed, kept), sentence


def test_marlins_plain_call_holds_two_caches_and_the_output() -> None:
    """vllm 0.15.0, fused_moe/fused_marlin_moe.py:_fused_marlin_moe, for 8192 tokens, 8 experts a token, widths 2048 and 768."""
    widths, resolved = setting(mixture(W4A16), "0.15.0", max_num_batched_tokens=8192)
    rows = 8192 * 8
    assert passing_expert_bytes(widths, resolved) == 2 * (rows * max(2 * 768, 2048) + rows * 768 + 8192 * 2048)


def test_engines_that_share_experts_keep_the_modular_workspace() -> None:
    widths, resolved = setting(mixture(W4A16), "0.15.0", data_parallel_size=2, enable_expert_parallel=True)
    assert expert_workspace_bytes(widths, resolved) > 0


@pytest.mark.parametrize(("version", "gib"), [("0.15.0", 0.5), ("0.16.0", 0.5), ("0.17.1", 2.03), ("0.19.0", 2.03)])
def test_collectives_grow_where_all_reduce_and_norm_are_fused(version: str, gib: float) -> None:
    """config/vllm.py of 0.16.0 and 0.17.1: fuse_allreduce_rms is off by default, then on for tensor parallelism on Hopper."""
    widths, resolved = setting(config_of("Qwen/Qwen3-4B"), version, tensor_parallel_size=2)
    assert stage_overhead(widths, resolved, 0).non_torch_bytes / GIB == pytest.approx(gib, abs=0.08)


@pytest.mark.parametrize(
    ("sentence", "offloaded_gb", "gib"),
    [
        ("2.91 GiB stayed of 14.99, one matrix less than asked (TheBuccaneer/vllm-offload-profiles at 547be90)", 12.0, 2.91),
        ("embedding and head are no layers", 64.0, 1.96),
    ],
)
def test_parameters_move_to_the_host_until_the_allowance_is_passed(sentence: str, offloaded_gb: float, gib: float) -> None:
    """vllm 0.17.1, model_executor/offloader/uva.py: it stops at the first parameter after the allowance was reached."""
    found = answer(config_of("meta-llama/Llama-3.1-8B-Instruct"), "0.17.1", H100, max_model_len=8192, cpu_offload_gb=offloaded_gb)
    assert found.ranks[0].weights_bytes / GIB == pytest.approx(gib, abs=0.11), sentence


def test_fp8_experts_hold_each_token_once_in_8_bits_and_each_row_between_the_matrices() -> None:
    """fused_moe.py: TritonExperts.apply of 0.20: a1q is the tokens, qintermediate_cache2 the rows. Two starts of 235B over four H100
    at 0.20 (public-file-index:id=55471149664) left 4.15 GiB of 0.92 with 65,536 tokens and 12.15 of 0.96 with 32,768, 4.83 apart.
    """
    config = config_of("Qwen/Qwen3-235B-A22B-FP8")
    arguments: dict[str, Any] = {"tensor_parallel_size": 4, "enable_expert_parallel": True, "max_num_seqs": 128, "max_model_len": 32768}
    widths, resolved = setting(config, "0.20.0", max_num_batched_tokens=32768, **arguments)
    rows = 32768 * 8
    assert expert_workspace_bytes(widths, resolved) == rows * (4096 + 4096) * 2 + 32768 * 4096 + rows * 1536
    peaks = [answer(config, "0.20.0", H100, max_num_batched_tokens=n, **arguments).ranks[0].activation_bytes for n in (65536, 32768)]
    assert (peaks[0] - peaks[1]) / GIB == pytest.approx(4.83, abs=0.9)


SPILLED = [("NVIDIA-A100-80GB-PCIe", "0.19.0", 0.15), ("NVIDIA-L4", "0.29.0", 0.07), (RTX5090, "0.24.0", 0.17), (H100, "0.24.0", 0.0)]


@pytest.mark.parametrize(("product", "version", "gib"), SPILLED, ids=[product for product, _, _ in SPILLED])
def test_tuned_kernels_leave_local_memory_for_the_registers_they_spill(product: str, version: str, gib: float) -> None:
    """chunk_delta_h.py with two warps and 64 columns: 620 to 720 bytes a thread (Triton 3.6), for every thread the card runs at once."""
    widths, resolved = setting(config_of(QWEN_35_4B), version, product, max_model_len=4096)
    plain = widths._replace(gated_delta_net=False)
    assert (non_torch_bytes(widths, resolved) - non_torch_bytes(plain, resolved)) / GIB == pytest.approx(gib, abs=0.001)
