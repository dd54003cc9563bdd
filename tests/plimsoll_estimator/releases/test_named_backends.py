"""Attention backends that a user names: which names a release has, and which GPUs, heads, dtypes and models each of them runs.

Expected values are read in vLLM's own code, in the file that a row names; "called" rows were asked of the release's own classes.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.overhead_models import GPT_OSS, model
from tests.plimsoll_estimator.overhead_models import LATENT as DEEPSEEK

from plimsoll_estimator import catalogue
from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.attention_backends import backend_rules
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.fp8_cache import AskedOfBackend, fp8_rules
from plimsoll_estimator.layers.named_backend import check_named_backend
from plimsoll_estimator.resolved import Estimate

V100, T4, A100, RTX_3090 = "Tesla-V100-SXM2-32GB", "Tesla-T4", "NVIDIA-A100-SXM4-80GB", "NVIDIA-GeForce-RTX-3090"
H100, B200, RTX_5090 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-B200", "NVIDIA-GeForce-RTX-5090"
LLAMA, PHI, LATENT = model(), model(head_dim=96, num_key_value_heads=32), {**DEEPSEEK, "moe_intermediate_size": 1408}

NAMES = [
    # why, where that is said, release, arguments; words of the refusal, None where they are taken
    ("no release has it", "0.14.1 config/attention.py: AttentionBackendEnum", "0.14.1", ["--attention-backend=NOSUCH"], "is no attention"),
    ("the older engine's name", "0.19.1 registry.py", "0.19.1", ["--attention-backend=TRITON_ATTN_VLLM_V1"], "is no attention"),
    ("it went", "0.12.0 registry.py, config/multimodal.py (PR 29262)", "0.19.1", ["--attention-backend", "XFORMERS"], "is no attention"),
    ("it went later", "0.22.0 registry.py", "0.22.0", ["--attention-backend=TREE_ATTN"], "name FLASH_ATTN, FLASHINFER"),
    ("it is there before", "0.20.0 registry.py", "0.20.0", ["--attention-backend=TREE_ATTN"], None),
    ("in between nobody has looked", "0.20.0 and 0.22.0 registry.py", "0.21.0", ["--attention-backend=TREE_ATTN"], "not known to be"),
    ("it comes later", "0.16.0 registry.py", "0.16.0", ["--attention-backend=FLASHINFER_MLA_SPARSE"], "is no attention"),
    ("and is there then", "0.17.1 registry.py", "0.17.1", ["--attention-backend=FLASHINFER_MLA_SPARSE"], None),
    ("small letters do", "0.32.0 config/attention.py: validate_backend_before", "0.32.0", ["--attention-backend=flash_attn"], None),
    ("as a key", "0.32.0 config/attention.py", "0.32.0", ["--attention-config.backend=NOSUCH"], "is no attention"),
    ("in the configuration", "0.25.1 config/attention.py", "0.25.1", ["-ac", '{"backend": "NOSUCH"}'], "is no attention"),
    ("by a number", "called in 0.14.1, 0.19.1 and 0.32.0", "0.32.0", ['--attention-config={"backend": 7}'], "must be the name of"),
    ("none is no name", "called in 0.19.1", "0.19.1", ['--attention-config={"backend": "none"}'], "is no attention backend"),
    ("but the parser's None", "called in 0.19.1", "0.19.1", ["--attention-backend=None"], None),
    ("null leaves it open", "called in 0.14.1", "0.14.1", ['--attention-config={"backend": null, "flash_attn_version": 2}'], None),
    ("auto in the configuration", "called in 0.14.1", "0.14.1", ['--attention-config={"backend": "auto"}'], "from vLLM 0.18"),
    (
        "beside a name it says nothing",
        "called in 0.19.1",
        "0.19.1",
        ['--attention-config={"backend": "auto"}', "--attention-backend=FLASH_ATTN"],
        None,
    ),
    ("a key that there is not", "called in 0.19.1 and 0.32.0", "0.32.0", ['--attention-config={"nope": 1}'], "is no key of"),
    ("not by itself either", "called in 0.32.0", "0.32.0", ["--attention-config.nope=1"], "is no key of"),
    ("it is passed over before", "called in 0.14.1", "0.14.1", ['--attention-config={"nope": 1}'], None),
    ("a key that went", "0.22.0 config/attention.py", "0.22.0", ['--attention-config={"use_cudnn_prefill": true}'], "is no key of"),
    ("a version", "called in 0.19.1: literal_error", "0.19.1", ['--attention-config={"flash_attn_version": 5}'], "use one of"),
    ("the fourth came later", "0.16.0 config/attention.py", "0.16.0", ['--attention-config={"flash_attn_version": 4}'], "use one of"),
    ("by kind", "0.26.0 config/attention.py", "0.26.0", ['--attention-config={"backend_per_kind": {}}'], "has no rule yet"),
    ("a switch", "called in 0.19.1", "0.19.1", ['--attention-config={"use_trtllm_attention": "maybe"}'], "must be true or false"),
    ("as a number", "called in 0.14.1 and 0.19.1", "0.19.1", ['--attention-config={"disable_flashinfer_prefill": 1}'], None),
    ("as a word", "called in 0.14.1 and 0.19.1", "0.14.1", ['--attention-config={"disable_flashinfer_prefill": "Yes"}'], None),
    ("no other number", "called in 0.19.1", "0.19.1", ['--attention-config={"use_cudnn_prefill": 2}'], "must be true or false"),
    ("left open", "called in 0.32.0", "0.32.0", ['--attention-config={"use_trtllm_attention": null}'], None),
    ("which others are not", "0.32.0 config/attention.py", "0.32.0", ['--attention-config={"use_non_causal": null}'], "must be true or"),
    ("a list", "called in 0.19.1", "0.19.1", ["--attention-config=[]"], "must be a JSON object"),
    # each called in 0.14.1, 0.19.1, 0.25.1 and 0.32.0, where the release has the key
    ("by an object", "called", "0.19.1", ['--attention-config={"backend": {"a": 1}}'], "must be the name of"),
    ("by a number, as a key", "called", "0.19.1", ["--attention-config.backend=7"], "must be the name of"),
    ("with a blank", "called", "0.19.1", ["--attention-backend=FLASH_ATTN "], "is no attention backend"),
    ("with one in the configuration", "called", "0.32.0", ['--attention-config={"backend": "FLASH_ATTN "}'], "is no attention backend"),
    ("a version, by its key", "called", "0.19.1", ["--attention-config.flash_attn_version=9"], "use one of"),
    ("which is a number", "called", "0.19.1", ['--attention-config={"flash_attn_version": "2"}'], "use one of"),
    ("a whole one", "called", "0.19.1", ['--attention-config={"flash_attn_version": 2.0}'], None),
    ("a switch, by its key", "called", "0.19.1", ["--attention-config.use_trtllm_attention=maybe"], "must be true or false"),
    ("which may be null", "called", "0.19.1", ["--attention-config.use_trtllm_attention=null"], None),
    ("a number", "called", "0.32.0", ['--attention-config={"flash_attn_max_num_splits_for_cuda_graph": "x"}'], "a whole number"),
    ("with a fraction", "called", "0.14.1", ['--attention-config={"flash_attn_max_num_splits_for_cuda_graph": 32.5}'], "a whole number"),
    ("that is null", "called", "0.14.1", ['--attention-config={"flash_attn_max_num_splits_for_cuda_graph": null}'], "a whole number"),
    ("in quotes", "called", "0.32.0", ['--attention-config={"flash_attn_max_num_splits_for_cuda_graph": " 3_2.0 "}'], None),
    ("an open one", "called", "0.25.1", ['--attention-config={"flex_attn_block_m": null}'], None),
    ("that is none", "called", "0.25.1", ['--attention-config={"flex_attn_block_m": "x"}'], "a whole number"),
    ("too small", "called", "0.32.0", ['--attention-config={"sparse_mla_prefill_workspace_factor": 1}'], "at least 2"),
    ("too large", "called", "0.32.0", ['--attention-config={"tokenspeed_mla_min_split_kv": 257}'], "at most 256"),
    ("prefill's backend", "called", "0.32.0", ['--attention-config={"mla_prefill_backend": "NOPE"}'], "is no mla_prefill_backend"),
    ("in small letters", "called", "0.25.1", ['--attention-config={"mla_prefill_backend": "flash_attn"}'], None),
    ("with a blank there", "called", "0.25.1", ['--attention-config={"mla_prefill_backend": "FLASH_ATTN "}'], "is no mla_prefill_"),
    ("left open there", "called", "0.32.0", ['--attention-config={"mla_prefill_backend": null}'], None),
    ("an index's dtype", "called", "0.32.0", ['--attention-config={"indexer_kv_dtype": "fp3"}'], "use one of auto, bf16"),
    ("not in capitals", "called", "0.32.0", ['--attention-config={"indexer_kv_dtype": "FP8"}'], "is no indexer_kv_dtype"),
    ("auto came later", "called", "0.25.1", ['--attention-config={"indexer_kv_dtype": "auto"}'], "use one of bf16"),
    ("and is there", "0.28.0 config/attention.py: IndexerKVDType", "0.28.0", ['--attention-config={"indexer_kv_dtype": "auto"}'], None),
    ("MiniMax's", "called", "0.32.0", ['--attention-config={"minimax_m3_msa_decode_backend": "x"}'], "use one of cutlass"),
    ("no object", "called", "0.32.0", ['--attention-config={"hisparse_config": 3}'], "must be a JSON object"),
    (
        "said twice",
        "0.19.1 engine/arg_utils.py: mutually exclusive",
        "0.19.1",
        ['--attention-config={"backend":"FLASH_ATTN"}', "--attention-backend=FLASH_ATTN"],
        "say one of them",
    ),
    (
        "said twice, one by its key",
        "0.14.1 engine/arg_utils.py",
        "0.14.1",
        ["--attention-backend=FLASH_ATTN", "--attention-config.backend=FLASHINFER"],
        "say one of them",
    ),
]  # fmt: skip

GEMMA = catalogue.lookup("google/gemma-3-4b-it")
IMAGES = [
    # called in the release's own configuration, or read in platforms/cuda.py: get_supported_vit_attn_backends
    ("a text model has none to look at", "called in 0.14.1, 0.19.1 and 0.32.0", "0.19.1", HfConfig(LLAMA), "FOO", None),
    ("what sees images has", "called in 0.19.1", "0.19.1", GEMMA, "FOO", "is no attention backend"),
    ("one that went", "0.32.0 config/multimodal.py", "0.32.0", GEMMA, "XFORMERS", "is no attention backend"),
    ("one of images", "0.32.0", "0.32.0", GEMMA, "TORCH_SDPA", None),
    ("Triton's came later", "0.16.0", "0.16.0", GEMMA, "TRITON_ATTN", "name one of FLASH_ATTN, TORCH_SDPA"),
    ("and is there", "0.17.1", "0.17.1", GEMMA, "TRITON_ATTN", None),
    ("one for text alone", "0.32.0", "0.32.0", GEMMA, "FLEX_ATTENTION", "name one of FLASHINFER, FLASH_ATTN"),
]
HALF = {"dtype": "float16"}
STARTS = [
    # why, where that is said, release, card, model, arguments, backend; words of the refusal, None where it starts
    ("FlashAttention has no Volta", "called: capability not supported", "0.14.1", V100, LLAMA, HALF, "FLASH_ATTN", "capability 8.0"),
    ("in any release", "0.19.1 flash_attn.py: DeviceCapability(8, 0)", "0.19.1", V100, LLAMA, HALF, "FLASH_ATTN", "capability 8.0"),
    ("nor Turing", "0.32.0 flash_attn.py", "0.32.0", T4, LLAMA, HALF, "FLASH_ATTN", "capability 8.0"),
    ("FlashInfer has no Volta", "0.14.1 flashinfer.py: DeviceCapability(7, 5)", "0.14.1", V100, LLAMA, HALF, "FLASHINFER", "7.5 or more"),
    ("but Turing", "the same", "0.19.1", T4, LLAMA, HALF, "FLASHINFER", None),
    ("until its floor rose", "0.25.1 flashinfer.py: DeviceCapability(8, 0)", "0.25.1", T4, LLAMA, HALF, "FLASHINFER", "8.0 or more"),
    ("Triton has every card", "0.14.1 triton_attn.py", "0.14.1", V100, LLAMA, HALF, "TRITON_ATTN", None),
    ("sinks need FlashAttention 3", "0.13.0 fa_utils.py: supports_sinks", "0.13.0", RTX_3090, GPT_OSS, {}, "FLASH_ATTN", "sinks"),
    ("which a 5090 has not", "0.19.1 fa_utils.py: get_flash_attn_version", "0.19.1", RTX_5090, GPT_OSS, {}, "FLASH_ATTN", "sinks"),
    ("Hopper has", "0.19.1 fa_utils.py", "0.19.1", H100, GPT_OSS, {}, "FLASH_ATTN", None),
    ("Triton has sinks on all", "0.13.0 triton_attn.py: supports_sink", "0.13.0", A100, GPT_OSS, {}, "TRITON_ATTN", None),
    ("FlexAttention on none", "0.32.0 backend.py: supports_sink", "0.32.0", H100, GPT_OSS, {}, "FLEX_ATTENTION", "sinks"),
    ("FlashMLA has no Ampere", "0.19.1 mla/flashmla.py; called in 0.14.1", "0.19.1", A100, LATENT, {}, "FLASHMLA", "capability 9.x"),
    ("dense it is Hopper's alone", "0.14.1 ops/flashmla.py: is_flashmla_dense_supported", "0.14.1", B200, LATENT, {}, "FLASHMLA", "9.x"),
    ("CUTLASS' is Blackwell's", "0.32.0 mla/cutlass_mla.py", "0.32.0", H100, LATENT, {}, "CUTLASS_MLA", "capability 10.x"),
    ("Triton's is everybody's", "0.19.1 mla/triton_mla.py", "0.19.1", A100, LATENT, {}, "TRITON_MLA", None),
    ("FlashMLA on Hopper", "0.19.1 mla/flashmla.py", "0.19.1", H100, LATENT, {}, "FLASHMLA", None),
    ("it computes no other attention", "0.14.1, called: non-MLA", "0.19.1", H100, LLAMA, {}, "FLASHMLA", "latent attention"),
    ("nor does CUTLASS'", "0.19.1 backend.py: validate_configuration", "0.19.1", B200, LLAMA, {}, "CUTLASS_MLA", "latent attention"),
    ("nor FlashAttention's", "the same", "0.32.0", H100, LLAMA, {}, "FLASH_ATTN_MLA", "latent attention"),
    ("nor the sparse one", "the same", "0.19.1", B200, LLAMA, {}, "FLASHMLA_SPARSE", "latent attention"),
    ("latent takes no other", "backend.py: MLA not supported", "0.19.1", H100, LATENT, {}, "FLASH_ATTN", "does not compute latent"),
    ("nor a sparse one", "backend.py: non-sparse not supported", "0.19.1", H100, LATENT, {}, "FLASHMLA_SPARSE", "is for sparse"),
    ("FlashInfer has no heads of 96", "0.19.1 flashinfer.py: head sizes", "0.19.1", H100, PHI, {}, "FLASHINFER", "heads of 96"),
    ("FlashAttention has", "0.19.1 flash_attn.py: supports_head_size", "0.19.1", H100, PHI, {}, "FLASH_ATTN", None),
    ("but none of 300", "0.14.1 flash_attn.py", "0.14.1", H100, model(head_dim=300), {}, "FLASH_ATTN", "heads of 300"),
    ("nor float32", "0.14.1 flash_attn.py: supported_dtypes", "0.14.1", A100, LLAMA, {"dtype": "float32"}, "FLASH_ATTN", "in float32"),
    ("which FlexAttention has", "0.14.1 flex_attention.py", "0.14.1", A100, LLAMA, {"dtype": "float32"}, "FLEX_ATTENTION", None),
    (
        "the second FlashAttention has no sinks", "0.19.1 fa_utils.py: flash_attn_supports_sinks", "0.19.1", H100, GPT_OSS,
        {"flash_attn_version": 2}, "FLASH_ATTN", "version 2 of FlashAttention",
    ),
    ("in no release", "0.32.0 fa_utils.py: in (3, 4)", "0.32.0", H100, GPT_OSS, {"flash_attn_version": 2}, "FLASH_ATTN", "sinks"),
    ("the third has", "0.14.1 fa_utils.py: == 3", "0.14.1", H100, GPT_OSS, {"flash_attn_version": 3}, "FLASH_ATTN", None),
    ("the fourth not yet", "0.19.1 fa_utils.py: == 3", "0.19.1", H100, GPT_OSS, {"flash_attn_version": 4}, "FLASH_ATTN", "sinks"),
    ("then it has", "0.20.0 fa_utils.py: in (3, 4)", "0.20.0", H100, GPT_OSS, {"flash_attn_version": 4}, "FLASH_ATTN", None),
    ("Triton is not asked for it", "0.19.1 triton_attn.py", "0.19.1", H100, GPT_OSS, {"flash_attn_version": 2}, "TRITON_ATTN", None),
    (
        "Blackwell exchanges the third", "0.20.0 fa_utils.py: Cannot use FA version 3 on Blackwell", "0.20.0", B200, GPT_OSS,
        {"flash_attn_version": 3}, "FLASH_ATTN", None,
    ),
    ("not the second", "0.20.0 fa_utils.py: in (3, 4)", "0.20.0", B200, GPT_OSS, {"flash_attn_version": 2}, "FLASH_ATTN", "sinks"),
    ("it must be there", "cuda.py: ImportError", "0.19.1", A100, LLAMA, {"flashinfer_installed": False}, "FLASHINFER", "installed"),
]  # fmt: skip


def started(version: str, product: str, config: dict[str, Any], **arguments: Any) -> Estimate:
    asked = EngineArgs(**{"max_model_len": 2048, "tensor_parallel_size": 4, **arguments})
    return estimate(HfConfig(config), asked, gpu_from(product), EngineVersion.parse(version))


@pytest.mark.parametrize(("why", "said", "version", "args", "words"), NAMES, ids=[row[0] for row in NAMES])
def test_a_name_must_be_one_of_the_releases_and_said_once(why: str, said: str, version: str, args: list[str], words: str | None) -> None:
    assert said
    if words is None:
        parse_extra_args(args, EngineVersion.parse(version))
    else:
        with pytest.raises(InvalidInput, match=words):
            parse_extra_args(args, EngineVersion.parse(version))


@pytest.mark.parametrize(
    ("why", "said", "version", "product", "config", "arguments", "named", "words"), STARTS, ids=[" ".join(row[:1]) for row in STARTS]
)
def test_a_backend_by_name_must_run_the_model_on_the_gpu(
    why: str, said: str, version: str, product: str, config: dict[str, Any], arguments: dict[str, Any], named: str, words: str | None
) -> None:
    """platforms/cuda.py: get_attn_backend_cls, "Selected backend ... is not valid for this configuration"."""
    assert said
    answer = started(version, product, config, attention_backend=named, **arguments)
    message = answer.message or ""
    if words is None:
        assert (answer.verdict, answer.reason) == ("starts", None), answer.message
    else:
        assert (answer.verdict, answer.reason) == ("refused", Check.NO_ATTENTION_BACKEND), answer.message
        assert named in message
        assert words in message


@pytest.mark.parametrize(
    ("version", "flash", "refused"),
    [
        # 0.14.1 and 0.19.1 fa_utils.py: flash_attn_supports_fp8, "== 3"; 0.25.1 flash_attn.py: supports_kv_cache_dtype; 0.27.0 and 0.31.0
        # fa_utils.py: flash_attn_supports_kv_cache_dtype
        ("0.14.1", 2, True),
        ("0.19.1", 2, True),
        ("0.19.1", 4, True),
        ("0.19.1", 3, False),
        ("0.25.1", 2, True),
        ("0.25.1", 3, False),
        ("0.27.0", 4, True),
        ("0.31.0", 4, False),
        ("0.31.0", 2, True),
    ],
)
def test_an_fp8_cache_is_kept_by_some_versions_of_flash_attention(version: str, flash: int, refused: bool) -> None:
    answer = started(version, H100, LLAMA, attention_backend="FLASH_ATTN", flash_attn_version=flash, kv_cache_dtype="fp8")
    assert (answer.reason == Check.KV_CACHE_DTYPE_UNSUPPORTED) == refused, answer.message
    assert not refused or f"version {flash} of FlashAttention" in (answer.message or "")


@pytest.mark.parametrize(("why", "said", "version", "config", "named", "words"), IMAGES, ids=[row[0] for row in IMAGES])
def test_a_backend_of_images_is_one_that_sees_them(
    why: str, said: str, version: str, config: HfConfig | None, named: str, words: str | None
) -> None:
    assert said
    assert config is not None
    release = EngineVersion.parse(version)
    asked = EngineArgs(max_model_len=2048, **parse_extra_args([f"--mm-encoder-attn-backend={named}"], release).engine_args)
    if words is None:
        assert estimate(config, asked, gpu_from(H100), release).verdict == "starts"
    else:
        with pytest.raises(InvalidInput, match=words):
            estimate(config, asked, gpu_from(H100), release)


def test_leaving_the_backend_out_is_offered_where_that_was_tried() -> None:
    """Phi-3's heads on an H100 run by the backend that vLLM takes; a cache that nothing reads there is refused either way."""
    assert "; name no attention backend" in (started("0.19.1", H100, PHI, attention_backend="FLASHINFER").message or "")
    untried = started("0.19.1", H100, PHI, attention_backend="FLASHINFER", max_model_len=100_000_000)
    assert "leave" not in (untried.message or "")


@pytest.mark.parametrize("named", ["CUSTOM", "NO_ATTENTION", "ROCM_ATTN", "TURBOQUANT", "FLASH_ATTN_DIFFKV"])
def test_what_has_no_rule_is_doubted_and_never_let_through(named: str) -> None:
    with pytest.raises(Unsupported, match="has no rule yet; name no attention backend"):
        started("0.20.0", H100, LLAMA, attention_backend=named)


def test_between_two_releases_that_were_read_a_changed_rule_is_doubted() -> None:
    """flashinfer.py: heads of 512 came after 0.20.0 and are in 0.22.0."""

    def ask(version: str) -> None:
        asked = AskedOfBackend(capability=90, cache_dtype="auto", dtype="bfloat16", head_sizes=frozenset({512}), named="FLASHINFER")
        release = EngineVersion.parse(version)
        check_named_backend(asked, release, fp8_rules(release))

    ask("0.22.0")
    with pytest.raises(EngineRefusal, match="heads of 512"):
        ask("0.20.0")
    with pytest.raises(Unsupported, match="not known whether"):
        ask("0.21.0")


@pytest.mark.parametrize(
    ("version", "capability", "named", "heads", "refused"),
    [
        # v1/attention/backend.py: supports_mm_prefix; flash_attn.py since 0.25.1: by FlashAttention 4, on Hopper in large heads
        ("0.19.1", 90, "FLASHINFER", {256}, True),
        ("0.19.1", 90, "FLASH_ATTN", {256}, True),
        ("0.19.1", 90, "TRITON_ATTN", {256}, False),
        ("0.19.1", 90, "FLEX_ATTENTION", {256}, False),
        ("0.25.1", 80, "FLASH_ATTN", {256}, True),
        ("0.25.1", 90, "FLASH_ATTN", {256}, True),
        ("0.25.1", 90, "FLASH_ATTN", {512}, False),
        ("0.25.1", 90, "FLASH_ATTN", {256, 512}, True),
        ("0.25.1", 100, "FLASH_ATTN", {512}, True),
    ],
)
def test_image_tokens_that_see_one_another_are_asked_of_the_named_one(
    version: str, capability: int, named: str, heads: set[int], refused: bool
) -> None:
    release = EngineVersion.parse(version)
    asked = AskedOfBackend(
        capability=capability, cache_dtype="auto", dtype="bfloat16", head_sizes=frozenset(heads), image_prefix=True, named=named
    )
    if not refused:
        check_named_backend(asked, release, fp8_rules(release))
    else:
        with pytest.raises(EngineRefusal, match="image tokens"):
            check_named_backend(asked, release, fp8_rules(release))


def test_a_release_that_was_read_has_one_rule_a_backend() -> None:
    for version in ("0.13.0", "0.14.1", "0.15.0", "0.17.1", "0.18.0", "0.19.1", "0.20.0", "0.22.0", "0.25.1", "0.30.0", "0.32.0"):
        for named in ("FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLASHINFER_MLA", "FLASHMLA_SPARSE", "TRITON_MLA"):
            assert len(backend_rules(named, EngineVersion.parse(version))) == 1, (version, named)


def test_the_block_of_latent_attention_is_the_named_ones() -> None:
    """mla/flashmla.py: get_supported_kernel_block_sizes [64], flashattn_mla.py [MultipleOf(16)], on one Hopper."""
    blocks = {
        named: started("0.19.1", H100, LATENT, attention_backend=named).block_size for named in ("FLASHMLA", "FLASH_ATTN_MLA", "TRITON_MLA")
    }
    assert blocks == {"FLASHMLA": 64, "FLASH_ATTN_MLA": 16, "TRITON_MLA": 16}


@pytest.mark.parametrize(
    ("said", "version", "product", "block", "verdict"),
    [
        ("flash_attn.py: get_kv_cache_shape, 'Block size must be a multiple of 16.'", "0.8.5", H100, 8, "refused"),
        ("the same", "0.10.2", A100, 1, "refused"),
        ("0.11.2 gpu_model_runner.py: 'No common block size for 8'", "0.11.2", H100, 8, "refused"),
        ("0.14.1 platforms/cuda.py: the block has no say", "0.14.1", H100, 8, "refused"),
        ("flashinfer.py: blocks of 16, 32 and 64", "0.14.1", B200, 8, "refused"),
        ("triton_attn.py: get_kv_cache_shape", "0.14.1", T4, 8, "refused"),
        ("0.19.1 platforms/cuda.py: FlexAttention is taken", "0.19.1", H100, 8, "warned"),
        ("0.22.0 flex_attention.py: MultipleOf(16)", "0.22.0", H100, 8, "refused"),
        ("the same", "0.32.0", A100, 24, "refused"),
        ("a multiple of 16", "0.14.1", H100, 32, "starts"),
        ("another", "0.32.0", A100, 48, "starts"),
    ],
)
def test_blocks_are_of_as_many_tokens_as_a_backend_has(said: str, version: str, product: str, block: int, verdict: str) -> None:
    assert said
    answer = started(version, product, LLAMA, block_size=block, dtype="float16")
    if verdict == "warned":
        assert (answer.verdict, any("FlexAttention" in line for line in answer.warnings)) == ("starts", True)
        assert started(version, product, LLAMA, block_size=block, kv_cache_dtype="fp8").verdict == "refused"
        assert started(version, product, LLAMA, block_size=block, attention_backend="FLASH_ATTN").verdict == "refused"
        return
    assert answer.verdict == verdict, answer.message
    assert verdict == "starts" or "leave --block-size out" in (answer.message or "")
