"""KV-cache layouts family by family and release by release: what each keeps, and where vLLM changed its mind."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_estimator.layouts import layout_of, resolved_args

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.errors import EngineRefusal, EstimatorError, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import plan_kv_cache
from plimsoll_estimator.layers.kv_dtype import kv_head_bytes
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.resolved import KvPlan, KvRefusal
from plimsoll_estimator.shape import stage_layers
from plimsoll_estimator.units import GIB

DENSE: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
HALF_WINDOWED: dict[str, Any] = {
    "model_type": "gemma2", "num_hidden_layers": 4, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4,
    "head_dim": 256, "sliding_window": 4096,
}  # fmt: skip
LLAMA4: dict[str, Any] = {
    "model_type": "llama4",
    "text_config": {
        "model_type": "llama4_text", "num_hidden_layers": 8, "hidden_size": 5120, "num_attention_heads": 40, "num_key_value_heads": 8,
        "head_dim": 128, "attention_chunk_size": 8192,
    },
}  # fmt: skip
QWEN38_27B: dict[str, Any] = {
    "model_type": "qwen3_5",
    "text_config": {
        "model_type": "qwen3_5_text", "num_hidden_layers": 64, "hidden_size": 5120, "num_attention_heads": 24,
        "num_key_value_heads": 4, "head_dim": 256, "full_attention_interval": 4, "linear_num_key_heads": 16,
        "linear_num_value_heads": 48, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
        "mamba_ssm_dtype": "float32", "mtp_num_hidden_layers": 1,
    },
}  # fmt: skip


def test_layers_that_share_a_cache_keep_none() -> None:
    """Gemma 4 E4B: 18 of 42 layers read the cache of earlier ones; 20 windows of 512 and 4 wide layers remain."""
    types = (["sliding_attention"] * 5 + ["full_attention"]) * 7
    text = {
        "model_type": "gemma4_text", "num_hidden_layers": 42, "hidden_size": 2560, "num_attention_heads": 8, "num_key_value_heads": 2,
        "head_dim": 256, "global_head_dim": 512, "num_kv_shared_layers": 18, "sliding_window": 512, "layer_types": types,
    }  # fmt: skip
    layout = layout_of({"model_type": "gemma4", "text_config": text}, max_model_len=8192)
    assert sum(group.n_layers for group in layout.groups) == 24
    # The narrow layers take blocks of 32 tokens so that all pages are equal.
    assert [group.block_size for group in layout.groups] == [32] * 5 + [16]
    assert layout.request_blocks(8192) == 5 * (8192 // 32 + 1) + 512


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12},  # an encoder
        {**DENSE, "model_type": "qwen2", "is_causal": False},  # a decoder turned encoder
    ],
)
def test_encoders_keep_nothing(config: dict[str, Any]) -> None:
    plan = layout_of(config).plan((0,))
    assert isinstance(plan, KvPlan)
    assert (plan.num_gpu_blocks, plan.kv_block_bytes) == (1, (0,))


@pytest.mark.parametrize(("version", "cross_blocks"), [("0.11.0", 94), ("0.33.0", 512)])
def test_whisper_keeps_the_encoder_too(version: str, cross_blocks: int) -> None:
    """32 decoder layers of 20 heads x 64: 448 own tokens and, per request, 1,500 encoder states; since 0.12 a whole batch of 8,192."""
    config = {"model_type": "whisper", "decoder_layers": 32, "decoder_attention_heads": 20, "d_model": 1280, "max_source_positions": 1500}
    layout = layout_of(config, max_model_len=448, version=version)
    assert layout.kv_block_bytes == (32 * 16 * 20 * 128 * 2,)
    assert layout.request_blocks(448) == 28 + cross_blocks


def test_uneven_heads_and_missing_attention() -> None:
    """Block configs with 8 and 4 key/value heads, and a layer without attention: one block table, pages added up."""
    attentions = ({"n_heads_in_group": 8}, {"n_heads_in_group": 16}, {"no_op": True})
    blocks = [{"attention": attention, "ffn": {"ffn_mult": 2.625}} for attention in attentions]
    layout = layout_of({
        "architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "num_hidden_layers": 3, "hidden_size": 8192,
        "num_attention_heads": 64, "vocab_size": 128256, "block_configs": blocks,
    })  # fmt: skip
    assert layout.kv_block_bytes == (16 * (8 + 4) * 128 * 2 * 2,)
    assert len(layout.groups) == 1


def test_two_latents_per_layer() -> None:
    config = {
        "model_type": "longcat_flash", "num_layers": 28, "hidden_size": 6144, "num_attention_heads": 64, "kv_lora_rank": 512,
        "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
    }  # fmt: skip
    assert layout_of(config).kv_block_bytes == (56 * 16 * 576 * 2,)


def test_short_convolutions_hold_two_states_with_prefix_caching() -> None:
    config = {
        "model_type": "lfm2", "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8,
        "conv_dim": 2048, "conv_L_cache": 3, "full_attn_idxs": [2, 5, 8, 10, 12, 14],
    }  # fmt: skip
    attention_blocks = 32768 // 16
    assert layout_of(config).request_blocks(32768) == attention_blocks + 2 * 2
    assert layout_of(config, prefix=False).request_blocks(32768) == attention_blocks + 2


def test_prediction_modules_join_the_cache() -> None:
    """A measured start of Qwen3.8-27B on a GB10, vLLM 0.25.1, fp8 cache, 3 draft tokens: block 1600, 2,192,477 tokens, 8.36x."""
    given_args = EngineArgs(speculative_method="mtp", num_speculative_tokens=3)
    layout = layout_of(
        QWEN38_27B,
        version="0.25.1",
        capability=(12, 1),
        kv_cache_dtype="fp8",
        max_model_len=262144,
        drafts=3,
        prefix=False,
        given=given_args,
    )
    plan = layout.plan((int(76.4 * GIB),))
    assert isinstance(plan, KvPlan)
    assert (plan.block_size, plan.kv_cache_tokens, round(plan.max_concurrency, 2)) == (1600, 2_192_477, 8.36)


def test_a_draft_model_brings_its_own_layers() -> None:
    draft = HfConfig({**DENSE, "num_hidden_layers": 1})
    given_args = EngineArgs(speculative_method="eagle3", num_speculative_tokens=2, speculative_model_config=draft)
    assert layout_of(DENSE, given=given_args, drafts=2).kv_block_bytes == (33 * 65_536,)
    assert layout_of(DENSE, given=EngineArgs(speculative_method="ngram"), drafts=2).kv_block_bytes == (32 * 65_536,)
    with pytest.raises(Unsupported, match="speculative_method"):
        layout_of(DENSE, given=EngineArgs(speculative_method="telepathy"), drafts=2)


@pytest.mark.parametrize(
    ("config", "version", "blocks"),
    [
        # Two full and two windowed layers of 4096 at 32,768 tokens: full attention alone until 0.9.1, then two groups.
        (HALF_WINDOWED, "0.8.5", 2048),
        (HALF_WINDOWED, "0.9.1", 2048 + (4095 + 8192 + 15) // 16 + 1),
        (HALF_WINDOWED, "0.25.1", 2048 + (4095 + 8192 + 15) // 16 + 1),
        # Since 0.26 a window holds every token in flight.
        (HALF_WINDOWED, "0.26.0", 2048 + (4095 + 16384 + 15) // 16 + 1),
        # Llama 4: chunks switched the hybrid manager off until 0.14.
        (LLAMA4, "0.13.0", 2048),
        (LLAMA4, "0.14.1", 2048 + 3 * (8192 + 8192) // 16),
    ],
)
def test_blocks_of_a_request_by_release(config: dict[str, Any], version: str, blocks: int) -> None:
    assert layout_of(config, version=version).request_blocks(32768) == blocks


def test_the_check_by_layer_ignored_padding() -> None:
    """Five windowed layers and three full ones make groups of three with one layer of padding; until 0.14 the check did not count it."""
    types = ["sliding_attention", "full_attention", "sliding_attention"] * 2 + ["sliding_attention", "full_attention"]
    config = {**HALF_WINDOWED, "num_hidden_layers": 8, "layer_types": types}
    page = 16 * 4 * 512 * 2
    older, newer = layout_of(config, version="0.13.0"), layout_of(config, version="0.19.1")
    window = (4095 + 8192 + 15) // 16 + 1
    assert older.bytes_for(32768) == ((3 * 2048 + 5 * window) * page,)
    assert newer.bytes_for(32768) == (3 * (2048 + 2 * window) * page,)
    # From 0.14 to 0.18 it counted the first group alone, here of windows (v1/core/kv_cache_utils.py:_max_memory_usage_bytes_from_groups).
    assert layout_of(config, version="0.18.1").bytes_for(32768) == (3 * window * page,)


@pytest.mark.parametrize(
    ("version", "tokens"),
    [
        ("0.8.5", 5000 * 16),  # blocks times the block size
        ("0.19.1", 5000 // 2 * 16),  # blocks per group
        ("0.20.0", 5000 // 2 * 16),  # still (v1/core/kv_cache_utils.py: _report_kv_cache_config), though the rest of 0.20 counts otherwise
        ("0.20.1", int(5000 / (2048 + 769) * 32768)),  # concurrency times the length
    ],
)
def test_what_the_token_figure_means(version: str, tokens: int) -> None:
    layout = layout_of(HALF_WINDOWED, version=version)
    plan = layout.plan((5000 * layout.kv_block_bytes[0],))
    assert isinstance(plan, KvPlan)
    assert plan.kv_cache_tokens == tokens


def test_0_20_0_tells_a_third_of_what_its_patch_tells_of_a_model_with_states() -> None:
    """Four groups of Qwen3.8-27B share blocks of the largest page; each state is one block a request however long it is."""
    plans = [layout_of(QWEN38_27B, version=version) for version in ("0.20.0", "0.20.1")]
    first, patched = (layout.plan((1000 * layout.kv_block_bytes[0],)) for layout in plans)
    assert isinstance(first, KvPlan)
    assert isinstance(patched, KvPlan)
    assert (first.num_gpu_blocks, first.max_concurrency) == (patched.num_gpu_blocks, patched.max_concurrency)
    assert first.kv_cache_tokens == 1000 // len(plans[0].groups) * plans[0].block_size
    assert 2.5 < patched.kv_cache_tokens / first.kv_cache_tokens < 4


@pytest.mark.parametrize(("version", "fits"), [("0.28.0", True), ("0.29.0", False)])
def test_the_null_block_is_held_back_since_0_29(version: str, fits: bool) -> None:
    layout = layout_of(DENSE, version=version)
    exactly = layout.request_blocks(32768) * layout.kv_block_bytes[0]
    assert isinstance(layout.plan((exactly,)), KvPlan if fits else KvRefusal)


def test_auto_length_is_what_fits() -> None:
    """`--max-model-len auto` with 4 GiB for Llama 3.1 8B: 32,752 tokens, one block below 32,768."""
    resolved = resolved_args(max_model_len=131072, given=EngineArgs(max_model_len=-1))
    plan = plan_kv_cache(shape_of(HfConfig(DENSE)), resolved, (4 * GIB,))
    assert isinstance(plan, KvPlan)
    assert plan.max_model_len == 32_752
    nothing = plan_kv_cache(shape_of(HfConfig(DENSE)), resolved, (2 << 20,))
    assert isinstance(nothing, KvRefusal)
    assert nothing.reason == "CannotFitMaxModelLen"


@pytest.mark.parametrize(
    ("dtype", "per_head"),
    [
        ("auto", 512),
        ("fp8", 256),
        ("fp8_e4m3", 256),
        ("bfloat16", 512),
        ("nvfp4", 144),
        ("int8_per_token_head", 264),
        ("int4_per_token_head", 136),
    ],
)
def test_bytes_of_one_head_by_cache_dtype(dtype: str, per_head: int) -> None:
    assert kv_head_bytes(dtype, "bfloat16", 128, 128) == per_head


@pytest.mark.parametrize(
    ("capability", "kv_cache_dtype", "version", "block"),
    [
        ((9, 0), "auto", "0.33.0", 16),  # FLASH_ATTN_MLA
        ((9, 0), "fp8", "0.33.0", 64),  # FLASHMLA
        ((9, 0), "auto", "0.17.1", 64),  # the platform forced FlashMLA's block
        ((10, 0), "auto", "0.33.0", 32),  # FLASHINFER_MLA
        ((10, 0), "auto", "0.12.0", 128),  # CUTLASS_MLA was forced
        ((8, 0), "auto", "0.33.0", 16),  # TRITON_MLA
    ],
)
def test_blocks_of_latent_attention(capability: tuple[int, int], kv_cache_dtype: str, version: str, block: int) -> None:
    config = {
        "model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128, "kv_lora_rank": 512,
        "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
    }  # fmt: skip
    assert layout_of(config, capability=capability, kv_cache_dtype=kv_cache_dtype, version=version).block_size == block


def test_caches_no_backend_can_hold_are_refused() -> None:
    """Attention sinks on an A100 leave only Triton, which has no fp8 there; sparse latents need Hopper or Blackwell."""
    sinks = {
        "model_type": "gpt_oss",
        "num_hidden_layers": 2,
        "hidden_size": 2880,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
    }
    with pytest.raises(EngineRefusal, match="Triton"):
        layout_of(sinks, capability=(8, 0), kv_cache_dtype="fp8")
    sparse = {
        "model_type": "deepseek_v32", "num_hidden_layers": 2, "hidden_size": 7168, "num_attention_heads": 128, "kv_lora_rank": 512,
        "qk_rope_head_dim": 64, "index_topk": 2048,
    }  # fmt: skip
    with pytest.raises(EngineRefusal, match="sparse MLA"):
        layout_of(sparse, capability=(8, 0))
    # Packed in DeepSeek's own form on Hopper, plain fp8 on Blackwell.
    assert layout_of(sparse, kv_cache_dtype="fp8").kv_block_bytes == (2 * 64 * (656 + 132),)
    assert layout_of(sparse, capability=(10, 0), kv_cache_dtype="fp8").kv_block_bytes == (2 * 64 * (576 + 132),)


def test_compressed_latents_are_packed_side_by_side() -> None:
    """DeepSeek-V4-Flash on Hopper: 43 windows in two groups of 22 and 21, latents and indexer whole, compressors in two groups.

    The latents' group is the widest: 21 x 37,440 + 21 x 8,640 + 20 x 1,728 bytes. Grouping compared with vLLM 0.33.0's own function.
    """
    config = {
        "model_type": "deepseek_v4", "num_hidden_layers": 43, "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 1,
        "head_dim": 512, "index_head_dim": 128, "sliding_window": 128, "compress_ratios": [0, 0, *([4, 128] * 20), 4, 0],
        "vocab_size": 129280, "n_routed_experts": 256, "moe_intermediate_size": 2048,
    }  # fmt: skip
    layout = layout_of(config, max_model_len=1_048_576)
    assert (layout.block_size, layout.kv_block_bytes) == (256, (1_002_240,))
    assert [group.n_layers for group in layout.groups] == [22, 21, 62, 42, 20]
    window, latent = (127 + 16384 + 63) // 64 + 1, 1_048_576 // 256
    assert layout.request_blocks(1_048_576) == 2 * window + latent + ((7 + 16384 + 3) // 4 + 1) + ((127 + 16384 + 7) // 8 + 1)
    for other in ({"capability": (10, 0)}, {"version": "0.32.0"}):
        with pytest.raises(Unsupported, match="Hopper"):
            layout_of(config, **other)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({**DENSE, "model_type": "novel"}, "no rules for the model architecture NovelModel"),
        ({**DENSE, "model_type": "novel", "architectures": ["LlamaForCausalLM"]}, "no rules for the model type novel"),
        ({**DENSE, "layer_types": ["full_attention", "wkv"]}, "no KV-cache rule for layers of type 'wkv'"),
    ],
)
def test_layers_without_a_rule_are_not_guessed(config: dict[str, Any], says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        layout_of(config)


def test_an_eagle_head_keeps_what_a_layer_of_its_language_model_keeps() -> None:
    head = {**DENSE, "architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1}
    assert layout_of(head).kv_block_bytes == layout_of({**DENSE, "num_hidden_layers": 1}).kv_block_bytes


def test_key_value_heads_are_replicated_beyond_their_number() -> None:
    sizes = [layout_of(DENSE, tp=tp).kv_block_bytes[0] for tp in (1, 8, 16, 32)]
    assert sizes == [2_097_152, 262_144, 262_144, 262_144]


def test_decode_context_parallelism_shares_the_tokens() -> None:
    layout = layout_of(DENSE, tp=16, dcp=2)
    assert layout.request_blocks(32768) == 1024


NONSENSE: st.SearchStrategy[Any] = st.sampled_from(
    [0, None, "x", [], {}, -1, 1, 3, 1_000_000, 1 << 40, 1e30, True, [1], [{}], float("inf")]
)
SHAPES = [DENSE, HALF_WINDOWED, LLAMA4, QWEN38_27B]


@given(st.sampled_from(SHAPES), st.data(), NONSENSE, st.sampled_from(["0.8.5", "0.19.1", "0.33.0"]), st.sampled_from([1, 3, 64]))
def test_hostile_configs_are_refused_by_name(config: dict[str, Any], data: st.DataObject, value: Any, version: str, tp: int) -> None:
    """Any one key replaced by nonsense: a plan, a refusal, or one of the drawn errors. Never a traceback, never minutes."""
    text = config.get("text_config", config)
    key = data.draw(st.sampled_from(sorted(text)))
    spoiled = {**text, key: value}
    whole = {**config, "text_config": spoiled} if "text_config" in config else spoiled
    with contextlib.suppress(EstimatorError):
        answer = plan_kv_cache(shape_of(HfConfig(whole)), resolved_args(version=version, tp=tp), (GIB,))
        assert isinstance(answer, KvPlan | KvRefusal)


@given(st.integers(1, 200), st.integers(1, 16))
def test_stages_hold_all_layers_evenly(layers: int, stages: int) -> None:
    sizes = [len(mine) for mine in stage_layers(max(layers, stages), stages)]
    assert sum(sizes) == max(layers, stages)
    assert max(sizes) - min(sizes) <= 1
    assert stages == 1 or sizes[-1] == min(sizes)
