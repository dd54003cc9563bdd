"""fp8 caches by release, compute capability and head size: which starts are refused, by whose words, and what a card is said to have.

Expected values are read in vLLM's own code: platforms/cuda.py (CudaPlatform.get_attn_backend_cls, _get_backend_priorities), and under
v1/attention/backends flashinfer.py, triton_attn.py, flex_attention.py, flash_attn.py and mla/triton_mla.py; and two reports.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.overhead_models import GPT_OSS, model
from tests.plimsoll_estimator.overhead_models import LATENT as DEEPSEEK

from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.fp8_cache import AskedOfBackend, check_fp8_cache, fp8_rules
from plimsoll_estimator.resolve.support import support_of
from plimsoll_estimator.resolved import Estimate

V100, T4, A100, A10G = "Tesla-V100-SXM2-32GB", "Tesla-T4", "NVIDIA-A100-SXM4-80GB", "NVIDIA-A10G"
RTX_3090, L4, H100, B200 = "NVIDIA-GeForce-RTX-3090", "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3", "NVIDIA-B200"
RTX_5090 = "NVIDIA-GeForce-RTX-5090"
LLAMA, PHI, LATENT = model(), model(head_dim=96, num_key_value_heads=32), {**DEEPSEEK, "moe_intermediate_size": 1408}
CAPTURED, FLEX, LOOKS = "fails while graphs are captured", "FlexAttention", "is not supported by the Triton attention backend"

STARTS = [
    # why, where that is said, release, card, model, arguments; words of the refusal, None where it starts
    ("a 3090 takes Triton", "vllm#26431; 0.11.0 platforms/cuda.py: use_fp8_kv_cache", "0.11.0", RTX_3090, LLAMA, {}, CAPTURED),
    ("so does the cloud's A10G", "the same", "0.11.0", A10G, LLAMA, {}, CAPTURED),
    ("and an A100", "the same", "0.11.0", A100, LLAMA, {}, CAPTURED),
    ("without graphs requests fail", "the same, no capture", "0.11.0", A100, LLAMA, {"enforce_eager": True}, "every request does"),
    ("the format is of no help", "0.11.0 triton_attn.py: fp8_dtype", "0.11.0", A100, LLAMA, {"kv_cache_dtype": "fp8_e5m2"}, CAPTURED),
    ("Turing is left to FlexAttention", "0.11.0 flex_attention.py: FlexAttentionImpl.__init__", "0.11.0", T4, LLAMA, {}, FLEX),
    ("and Volta", "the same", "0.11.0", V100, LLAMA, {}, FLEX),
    ("Ada compiles Triton's kernels", "0.11.0 platforms/cuda.py", "0.11.0", L4, LLAMA, {}, None),
    ("Hopper has FlashAttention 3", "0.11.0 fa_utils.py: flash_attn_supports_fp8", "0.11.0", H100, LLAMA, {}, None),
    ("but not for heads of 80", "0.11.0 flash_attn.py: get_supported_head_sizes", "0.11.0", H100, model(head_dim=80), {}, FLEX),
    ("Blackwell has FlashInfer", "0.11.0 platforms/cuda.py", "0.11.0", B200, LLAMA, {}, None),
    ("FlashInfer precedes Triton on Turing", "0.11.1 _get_backend_priorities, supports_compute_capability", "0.11.1", T4, LLAMA, {}, None),
    ("in 0.19.1", "0.19.1 flashinfer.py: DeviceCapability(7, 5)", "0.19.1", T4, LLAMA, {}, None),
    ("to the last release before its floor rose", "vllm#47549: 0.23.0 worked on a Quadro RTX 8000", "0.23.0", T4, LLAMA, {}, None),
    ("then Triton is left, which looks", "vllm#47549, PR 47949; 0.24.0 flashinfer.py", "0.24.0", T4, LLAMA, {}, LOOKS),
    ("FlashInfer has no Volta", "0.11.1 to 0.22.0 flashinfer.py", "0.19.1", V100, LLAMA, {}, CAPTURED),
    ("FlashInfer reads Ampere's", "0.11.1 _get_backend_priorities", "0.11.1", A100, LLAMA, {}, None),
    ("to the newest", "0.32.0 flashinfer.py", "0.32.0", A10G, LLAMA, {}, None),
    ("but not heads of 96", "0.19.1 flashinfer.py: get_supported_head_sizes", "0.19.1", A100, PHI, {}, CAPTURED),
    ("which the backend refuses", "0.25.1 triton_attn.py: TritonAttentionImpl", "0.25.1", A100, PHI, {}, LOOKS),
    ("Ada reads heads of 96", "0.19.1 triton_attn.py: supports_head_size", "0.19.1", L4, PHI, {}, None),
    ("sinks are Triton's on Ampere", "0.19.1 flashinfer.py: supports_sink", "0.19.1", A100, GPT_OSS, {}, CAPTURED),
    ("float32 too", "0.19.1 flashinfer.py: supported_dtypes", "0.19.1", A100, LLAMA, {"dtype": "float32"}, CAPTURED),
    ("and where FlashInfer is missing", "0.19.1 get_valid_backends", "0.19.1", A100, LLAMA, {"flashinfer_installed": False}, CAPTURED),
    ("Triton's latent attention has none", "0.17.1 mla/triton_mla.py: NotImplementedError", "0.17.1", A100, LATENT, {}, "TRITON_MLA"),
    ("on no card", "the same; vllm#35577", "0.17.1", RTX_5090, LATENT, {}, "TRITON_MLA"),
    ("then from 8.9 on", "0.18.0 mla/triton_mla.py: supported_kv_cache_dtypes", "0.18.0", RTX_5090, LATENT, {}, None),
    ("where its kernels compile", "0.18.0 to 0.25.1 mla/triton_mla.py do not look", "0.25.1", A100, LATENT, {}, CAPTURED),
    ("which it checks since", "0.26.0 mla/triton_mla.py: requires SM89+", "0.26.0", A100, LATENT, {}, "Triton MLA backend"),
    ("FlashMLA had none", "0.10.1 mla/flashmla.py: NotImplementedError", "0.10.1", H100, LATENT, {}, "FLASHMLA"),
    ("until 0.10.2", "0.10.2 mla/flashmla.py", "0.10.2", H100, LATENT, {}, None),
    ("16 bits are read by all", "0.11.0 platforms/cuda.py", "0.11.0", A100, LLAMA, {"kv_cache_dtype": "auto"}, None),
]  # fmt: skip

E5M2, INC = {"kv_cache_dtype": "fp8_e5m2"}, {"kv_cache_dtype": "fp8_inc"}
STOPS, UNLISTED = "Unrecognized FP8 dtype", "no attention backend of this release reads"
FORMATS = [
    # why, where that is said, release, card, model, arguments; words of the refusal, None where it starts
    ("FlashAttention 3 knows one format", "0.10.2 flash_attn.py: get_fp8_dtype_for_flashattn", "0.10.2", H100, LLAMA, E5M2, STOPS),
    ("in 0.11.0", "the same", "0.11.0", H100, LLAMA, E5M2, STOPS),
    ("in 0.11.2", "the same", "0.11.2", H100, LLAMA, E5M2, STOPS),
    ("in 0.14.1", "the same, at line 142", "0.14.1", H100, LLAMA, E5M2, STOPS),
    ("in 0.19.1", "the same, at line 154", "0.19.1", H100, LLAMA, E5M2, STOPS),
    ("without graphs too", "used by each forward pass", "0.19.1", H100, LLAMA, {**E5M2, "enforce_eager": True}, "every request does"),
    ("then FlashInfer gets it", "0.22.0 flash_attn.py: supports_kv_cache_dtype", "0.22.0", H100, LLAMA, E5M2, None),
    ("and in later releases", "0.25.1 flash_attn.py, flashinfer.py", "0.25.1", H100, LLAMA, E5M2, None),
    ("Ada takes FlashInfer before", "0.14.1 fa_utils.py: flash_attn_supports_fp8", "0.14.1", L4, LLAMA, E5M2, None),
    ("Gaudi's format stops as well", "0.14.1 flash_attn.py", "0.14.1", H100, LLAMA, INC, STOPS),
    ("before lists of backends", "0.10.2 flash_attn.py", "0.10.2", H100, LLAMA, INC, STOPS),
    ("and is in no list", "0.25.1 supported_kv_cache_dtypes of every backend", "0.25.1", H100, LLAMA, INC, UNLISTED),
    ("on Ada in none either", "0.14.1 supported_kv_cache_dtypes", "0.14.1", L4, LLAMA, INC, UNLISTED),
    ("latent attention has e4m3", "0.19.1 mla/flashmla.py: supported_kv_cache_dtypes", "0.19.1", H100, LATENT, E5M2, "FLASHMLA"),
]  # fmt: skip

NAMED = [
    # why, release, card, model, arguments; words of the refusal
    ("Triton by name", "0.19.1", A100, LLAMA, ["--attention-backend=TRITON_ATTN"], CAPTURED),
    ("in small letters, where it looks", "0.25.1", A100, LLAMA, ["--attention-backend", "triton_attn"], LOOKS),
    ("by its configuration's key", "0.19.1", A100, LLAMA, ["--attention-config.backend=TRITON_ATTN"], CAPTURED),
    ("in its configuration", "0.19.1", A100, LLAMA, ["-ac", '{"backend": "TRITON_ATTN"}'], CAPTURED),
    ("FlashAttention has none below Hopper", "0.19.1", A100, LLAMA, ["--attention-backend=FLASH_ATTN"], "FLASH_ATTN does not take"),
    ("nor on Ada", "0.19.1", L4, LLAMA, ["--attention-backend=FLASH_ATTN"], "FLASH_ATTN does not take"),
    ("but on Hopper", "0.19.1", H100, LLAMA, ["--attention-backend=FLASH_ATTN"], None),
    ("FlexAttention has none anywhere", "0.32.0", H100, LLAMA, ["--attention-backend=FLEX_ATTENTION"], "it holds none"),
    ("nor Triton's below Ada", "0.19.1", A100, PHI, ["--attention-backend=TRITON_ATTN"], "captured"),
    ("FlashAttention on Hopper alone", "0.26.0", B200, LLAMA, ["--attention-backend=FLASH_ATTN"], "capability 9.x only"),
    ("until it had a fourth version", "0.27.0", B200, LLAMA, ["--attention-backend=FLASH_ATTN"], None),
    ("the tree has none", "0.14.1", H100, LLAMA, ["--attention-backend=TREE_ATTN"], "it holds none"),
    ("and for its own", "0.19.1", A100, LLAMA, ["--attention-backend=FLASHINFER"], None),
    ("by name its formats are asked", "0.25.1", H100, LLAMA, ["--attention-backend=FLASH_ATTN", "--kv-cache-dtype=fp8_e5m2"], "fp8_e5m2"),
    ("left open", "0.19.1", A100, LLAMA, ["--attention-backend=auto"], None),
    ("Triton on Ada", "0.19.1", L4, LLAMA, ["--attention-backend=TRITON_ATTN"], None),
]

CARDS = [
    # release, what T4, A10G, L4 and H100 are said to have
    ("0.10.2", ["V0 engine", "V0 engine", "V0 engine", "yes"]),
    ("0.11.0", ["no", "no", "yes", "heads 32/64/96/128/160/192/224/256"]),
    ("0.11.1", ["heads 64/128/256", "heads 64/128/256", "yes", "yes"]),
    ("0.23.0", ["heads 64/128/256", "heads 64/128/256", "yes", "yes"]),
    ("0.24.0", ["no", "heads 64/128/256/512", "yes", "yes"]),
]


def started(version: str, product: str, config: dict[str, Any], **arguments: Any) -> Estimate:
    asked = EngineArgs(**{"kv_cache_dtype": "fp8", "max_model_len": 2048, "tensor_parallel_size": 4, **arguments})
    return estimate(HfConfig(config), asked, gpu_from(product), EngineVersion.parse(version))


def judge(answer: Estimate, words: str | None) -> None:
    if words is None:
        assert (answer.verdict, answer.reason) == ("starts", None), answer.message
    else:
        assert (answer.verdict, answer.reason) == ("refused", Check.KV_CACHE_DTYPE_UNSUPPORTED), answer.message
        assert words in (answer.message or "")


@pytest.mark.parametrize(
    ("why", "said", "version", "product", "config", "arguments", "words"), STARTS + FORMATS, ids=[row[0] for row in STARTS + FORMATS]
)
def test_an_fp8_cache_is_served_where_the_backend_of_the_release_reads_it(
    why: str, said: str, version: str, product: str, config: dict[str, Any], arguments: dict[str, Any], words: str | None
) -> None:
    assert said
    judge(started(version, product, config, **arguments), words)


@pytest.mark.parametrize(("why", "version", "product", "config", "args", "words"), NAMED, ids=[row[0] for row in NAMED])
def test_a_backend_by_name_must_hold_the_cache(
    why: str, version: str, product: str, config: dict[str, Any], args: list[str], words: str | None
) -> None:
    """platforms/cuda.py: get_attn_backend_cls asks the named backend first ("is not valid for this configuration")."""
    judge(started(version, product, config, **parse_extra_args(args, EngineVersion.parse(version)).engine_args), words)


@pytest.mark.parametrize(
    ("version", "text_only", "served"),
    [("0.12.0", False, True), ("0.13.0", False, False), ("0.26.0", True, False), ("0.27.0", True, True), ("0.27.0", False, False)],
)
def test_image_tokens_that_see_one_another_are_left_to_triton(version: str, text_only: bool, served: bool) -> None:
    """attention/selector.py: use_mm_prefix, since 0.13.0; config/model.py: _supports_multimodal_for_mm_prefix, since 0.27.0."""
    asked = AskedOfBackend(
        capability=80, cache_dtype="fp8", dtype="bfloat16", head_sizes=frozenset({256}), image_prefix=True, text_only=text_only
    )
    if served:
        check_fp8_cache(asked, fp8_rules(EngineVersion.parse(version)))
    else:
        with pytest.raises(EngineRefusal, match="image tokens"):
            check_fp8_cache(asked, fp8_rules(EngineVersion.parse(version)))


@pytest.mark.parametrize(("version", "cells"), CARDS)
def test_a_card_is_said_to_serve_what_a_start_is_let_through_with(version: str, cells: list[str]) -> None:
    assert [support_of(gpu_from(card), EngineVersion.parse(version)).fp8_cache for card in (T4, A10G, L4, H100)] == cells
