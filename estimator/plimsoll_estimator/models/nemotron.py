"""Nemotron: dense, NAS (DeciLM) with blocks of their own, and H with one mixer a layer.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{nemotron,nemotron_nas,nemotron_h}.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, LAYER_NAMES, NEITHER, STATE, mamba2_caches, ordinary_backend
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, mlp, sizes, stack
from plimsoll_estimator.layers.kv_dtype import kv_head_bytes
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import Mamba2, mamba2
from plimsoll_estimator.layers.text_shape import TextShape, within
from plimsoll_estimator.models.llama import LLAMA
from plimsoll_estimator.reader import MAX_WIDTH, language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import round_up

NEMOTRON = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    mlp_names=("up_proj",),
    norm_bias=True,
    partial_rotary=0.5,
)


def _block(config: HfConfig, index: int) -> tuple[HfConfig, HfConfig]:
    blocks = config.list_or_none("block_configs") or ()
    if index >= len(blocks) or not isinstance(blocks[index], Mapping):
        raise InvalidInput(f"{config.path}.block_configs", len(blocks), f"must have an object for layer {index}")
    block = HfConfig(blocks[index], f"{config.path}.block_configs[{index}]")
    empty = HfConfig({}, block.path)
    return block.sub("attention") or empty, block.sub("ffn") or empty


def nemotron_nas(rank: Rank) -> None:
    """DeciLMForCausalLM (Nemotron-NAS): every block has its own key-value heads and MLP width, or lacks one of them."""
    text = rank.text
    style = LLAMA
    size = sizes(text, style, rank.config)

    def ffn_width(ffn: HfConfig) -> int:
        ratio = ffn.float_or_none("ffn_mult")
        if ratio is None:
            return ffn.int("intermediate_size")
        return round_up(int(2 * ratio * size.hidden_size / 3), 256)

    def layer(i: int) -> None:
        heads, ffn = _block(text, i)
        name = f"layers.{i}"
        if not heads.bool("no_op"):
            group = max(heads.int("n_heads_in_group", default=1), 1)
            attention(rank, name, replace(size, kv_heads=size.heads // group), style)
            rank.norm(size.hidden_size)
            rope(rank, size.head_dim, size.positions)
        if not ffn.bool("no_op"):
            mlp(rank, f"{name}.mlp", size.hidden_size, ffn_width(ffn), style)
            rank.norm(size.hidden_size)

    def kind(i: int) -> Hashable:
        heads, ffn = _block(text, i)
        return (
            heads.raw("no_op"),
            heads.raw("n_heads_in_group"),
            ffn.raw("no_op"),
            ffn.raw("ffn_mult"),
            ffn.raw("intermediate_size"),
        )

    stack(rank, size, style, layer, kind)


def nemotron_h(rank: Rank) -> None:
    """NemotronHForCausalLM: one mixer per layer, named by a pattern: M Mamba 2, * attention, - MLP, E experts (perhaps latent)."""
    text = rank.text
    style = everywhere(DecoderStyle(ties=False, gated=False, mlp_names=("up_proj",), attention="mixer", mlp_bias=("mlp_bias",)))
    pattern = _pattern(text)
    size = sizes(HfConfig({"num_hidden_layers": len(pattern), **text.as_mapping()}, text.path), style, rank.config)
    heads = text.int("mamba_num_heads")
    dims = Mamba2(
        hidden=size.hidden_size,
        inner=heads * text.int("mamba_head_dim"),
        heads=heads,
        groups=text.int("n_groups", default=8),
        state=text.int("ssm_state_size", default=128),
        kernel=text.int("conv_kernel", default=4),
        bias=text.bool("use_bias"),
        conv_bias=text.bool("use_conv_bias", True),
    )

    def layer(i: int) -> None:
        name = f"layers.{i}"
        kind = pattern[i]
        if kind == "M":
            mamba2(rank, f"{name}.mixer", dims)
        elif kind == "*":
            attention(rank, name, size, style)
        elif kind == "E":
            _nemotron_experts(rank, f"{name}.mixer", size.hidden_size, style)
        else:
            mlp(rank, f"{name}.mixer", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size)

    stack(rank, size, style, layer, lambda i: pattern[i], layers=len(pattern))


def _pattern(text: HfConfig) -> str:
    pattern = text.str_or_none("hybrid_override_pattern")
    if pattern is not None:
        return pattern.replace("|", "")
    letters = {"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*", "mlp": "-", "moe": "E"}
    kinds = text.list_or_none("layers_block_type") or ()
    return "".join(letters.get(str(kind), "-") for kind in kinds) or "-" * text.int("num_hidden_layers")


def _nemotron_experts(rank: Rank, parent: str, hidden: int, style: DecoderStyle) -> None:
    text = rank.text
    experts = text.int("n_routed_experts")
    latent = text.int_or_none("moe_latent_size")
    capability = rank.resolved.gpu.capability
    # GateLinear keeps float32 weights where no kernel computes bfloat16 in float32.
    rank.tensor(experts * hidden, None if capability == 90 or capability // 10 == 10 else 4)
    rank.tensor(experts, 4)
    rank.experts(f"{parent}.experts", experts, latent or hidden, text.int("moe_intermediate_size"), gated=False)
    if latent:
        rank.replicated(parent, ("fc1_latent_proj",), hidden, (latent,), bias=text.bool("mlp_bias"))
        rank.replicated(parent, ("fc2_latent_proj",), latent, (hidden,), bias=text.bool("mlp_bias"))
    shared = (text.int_or_none("n_shared_experts") or 0) * text.int("moe_shared_expert_intermediate_size", default=0)
    if shared:
        mlp(rank, f"{parent}.shared_experts", hidden, shared, style, rank.shared_experts_tp(EngineVersion(0, 11)))


def nemotron_h_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Mamba 2 and attention where the pattern says so; MLPs and experts keep nothing."""
    text = language(config)
    kinds = _nemotron_kinds(text)
    heads, head_dim = text.int("mamba_num_heads"), text.int("mamba_head_dim")
    return mamba2_caches(
        config, shape, resolved, rules, kinds,
        inner=heads * head_dim, groups=text.int("n_groups", default=8), heads=heads, head_dim=head_dim,
        state_size=text.int("ssm_state_size", default=128), conv_kernel=text.int("conv_kernel", default=4),
        ssm_dtype=text.str_or_none("mamba_ssm_cache_dtype") or "float32",
    )  # fmt: skip


def _nemotron_kinds(text: HfConfig) -> list[str]:
    pattern = text.str_or_none("hybrid_override_pattern")
    if pattern is not None:
        return [{"M": STATE, "*": ATTENTION}.get(letter, NEITHER) for letter in pattern]
    names = text.list_or_none("layers_block_type") or text.list_or_none("layer_types")
    if names is None:
        raise InvalidInput(f"{text.path}.hybrid_override_pattern", None, "is required")
    return [LAYER_NAMES.get(str(name), NEITHER) for name in names]


def nemotron_nas_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """`block_configs` gives each layer its own number of key/value heads, or no attention at all."""
    text = language(config)
    width = kv_head_bytes(resolved.kv_cache_dtype, resolved.dtype, shape.head_dim, shape.head_dim)
    made: dict[int, AttentionNeed] = {}
    layers: list[tuple[Need, ...]] = []
    for i, entry in enumerate(text.list_or_none("block_configs") or ()):
        attention = HfConfig(entry, f"{text.path}.block_configs[{i}]").sub("attention")
        if attention is None:
            raise InvalidInput(f"{text.path}.block_configs[{i}].attention", None, "is required")
        if attention.bool("no_op") or attention.bool("replace_with_linear"):
            layers.append(())
            continue
        heads = max(
            1,
            shape.heads
            // within(attention, "n_heads_in_group", attention.int("n_heads_in_group"), MAX_WIDTH)
            // resolved.tensor_parallel_size,
        )
        layers.append((made.setdefault(heads, AttentionNeed(kind="full", token_bytes=heads * width)),))
    return ModelNeeds(layers=tuple(layers), backend=ordinary_backend(shape, resolved, rules), attention_token_bytes=width)
