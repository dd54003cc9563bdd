"""Stacks of layers as configs spell them: windows by list, pattern or period; experts from a layer on, every so many, or by list.

Called by the model files, which name what their class does. Makes values of `shape`; refuses to know bytes and releases.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import STATES, Attention, DeltaNet, Experts, Latent, Mamba2, Mixer, Mlp
from plimsoll_estimator.objects import numbered, uniform
from plimsoll_estimator.reader import EXPERTS_PER_TOKEN, MAX_LAYERS, MAX_WIDTH, PREDICTION_MODULES, SHARED_EXPERTS, experts, positive
from plimsoll_estimator.shape import Dimensions, Layer, alike
from plimsoll_estimator.units import ceil_div

KNOWN_KINDS: Final = frozenset({"full_attention", "attention", "sliding_attention", "chunked_attention", "global", "local"})
ATTENDS: Final = {
    "attention": True, "full_attention": True, "mamba": False, "mamba2": False, "linear_attention": False,
}  # fmt: skip
"""Layers of hybrids as published files name them; Transformers 5 saves state-space layers as "linear_attention"."""
LATENT_TYPES: Final = frozenset({
    "axk1", "AXK1", "bailing_hybrid", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "kimi_k2",
    "kimi_linear", "longcat_flash",
})  # fmt: skip
"""Model types whose latents vLLM caches, whatever the class (model_arch_config_convertor.py: is_deepseek_mla, v0.32.0)."""
Said = TypeVar("Said")
Layers = Callable[[HfConfig, Dimensions], tuple[Layer, ...]]
Predictions = Callable[[HfConfig, tuple[Layer, ...]], tuple[Layer, ...]]


def stack(mixers: Sequence[tuple[Mixer, ...]], ffns: Iterable[Mlp | Experts | None]) -> tuple[Layer, ...]:
    """One layer a pair; equal layers are one object. Parts that are one object are not compared, since configs name up to 2,048 layers."""
    held, layers = list(ffns), []
    made: dict[Layer, Layer] = {}
    by_parts: dict[tuple[int, ...], Layer] = {}
    known: dict[tuple[int, int], Layer] = {}
    for mixer, ffn in zip(mixers, held, strict=True):
        layer = known.get((id(mixer), id(ffn)))
        if layer is None:
            parts = (id(ffn), *map(id, mixer))
            if parts not in by_parts:
                layer = Layer(mixers=mixer, ffn=ffn)
                by_parts[parts] = made.setdefault(layer, layer)
            layer = known[id(mixer), id(ffn)] = by_parts[parts]
        layers.append(layer)
    return tuple(layers)


def attending(seen: Sequence[Mixer], ffns: Sequence[Mlp | Experts | None]) -> tuple[Layer, ...]:
    """One mixer and one feed-forward block a layer; equal layers are one object."""
    mixers, order = numbered(seen)
    if len(seen) == len(ffns) and seen and uniform(ffns):
        kinds = [Layer(mixers=(mixer,), ffn=ffns[0]) for mixer in mixers]
        if len(kinds) == 1:
            return alike(kinds[0], len(seen))
        return tuple(map(unified(kinds).__getitem__, order))
    return stack(list(map([(mixer,) for mixer in mixers].__getitem__, order)), ffns)


def unified(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The same layers, equal ones made one object, so that each kind is built once (`Rank.kind`)."""
    made: dict[Layer, Layer] = {}
    return tuple(made.setdefault(layer, layer) for layer in layers)


def attention(size: Dimensions, *, sinks: bool = False) -> Attention:
    """Full attention of the model's own dimensions."""
    return Attention(heads=size.heads, kv_heads=size.kv_heads, head_dim=size.head_dim, v_head_dim=size.head_dim, sinks=sinks)


def latent(text: HfConfig, size: Dimensions) -> Latent:
    """Latent attention by DeepSeek's keys; `q_lora_rank` may be absent or null. Raises InvalidInput naming what is missing."""
    return Latent(
        heads=size.heads,
        q_lora_rank=text.int_or_none("q_lora_rank") or 0,
        kv_lora_rank=positive(text, "kv_lora_rank", limit=MAX_WIDTH),
        qk_nope_head_dim=text.int("qk_nope_head_dim"),
        qk_rope_head_dim=text.int("qk_rope_head_dim"),
        v_head_dim=positive(text, "v_head_dim", default=size.hidden_size // size.heads, limit=MAX_WIDTH),
    )


def cached_latent(text: HfConfig, size: Dimensions) -> Latent:
    """The same where the engine keeps latents. Raises Unsupported(Check.KV_CACHE_FAMILY) for a model type that it keeps whole heads for."""
    if size.model_type and size.model_type not in LATENT_TYPES:
        raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for latent attention in model type {size.model_type[:120]!r}")
    return latent(text, size)


def check_kinds(text: HfConfig, known: Collection[str] = KNOWN_KINDS) -> None:
    """Raises Unsupported(Check.KV_CACHE_FAMILY) for a layer kind in `layer_types` that the model's file does not know."""
    for name in text.list_or_none("layer_types") or ():
        if not isinstance(name, str) or name not in known:
            raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for layers of type {name!r} in model type {text.model_type!r}")


def by_name(text: HfConfig, count: int, names: Mapping[str, Said], *keys: str, longer: bool = False) -> list[Said] | None:
    """What `names` makes of every layer's entry in the first of the lists `keys` that the file has; None where it has none.

    Raises Unsupported for an entry that `names` does not know, InvalidInput for a list that is not as long as the layers are many, as the
    config classes do (`longer`: but for those that cut it).
    """
    key = next((key for key in keys if text.raw(key) is not None), None)
    if key is None:
        return None
    listed = text.list_or_none(key) or ()
    if len(listed) < count or not (longer or len(listed) == count):
        raise InvalidInput(f"{text.path}.{key}", len(listed), f"must name each of the {count} layers")
    for name in listed:
        if not isinstance(name, str) or name not in names:
            raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for layers of type {name!r} in model type {text.model_type!r}")
    return [names[name] for name in listed[:count]]


def hybrid(attends: Iterable[bool], full: Mixer, state: Mixer) -> list[tuple[Mixer, ...]]:
    """One mixer a layer: attention where the flag is set, a state elsewhere."""
    attending, keeping = (full,), (state,)
    return [attending if flag else keeping for flag in attends]


def delta_net(
    text: HfConfig, *, heads: int | None = None, key_dim: int | None = None, state_dtype: str | None = None, checkpoints: bool = True
) -> DeltaNet:
    """Gated DeltaNet by Qwen3-Next's keys. `heads`, `key_dim`: what the class fills in; values are then twice as wide as keys."""
    key_heads = positive(text, "linear_num_key_heads", default=heads, limit=MAX_WIDTH)
    key_dim = positive(text, "linear_key_head_dim", default=key_dim, limit=MAX_WIDTH)
    return DeltaNet(
        key_heads=key_heads,
        value_heads=positive(text, "linear_num_value_heads", default=heads, limit=MAX_WIDTH),
        key_dim=key_dim,
        value_dim=positive(text, "linear_value_head_dim", default=2 * key_dim, limit=MAX_WIDTH),
        kernel=positive(text, "linear_conv_kernel_dim", default=4, limit=MAX_WIDTH),
        state_dtype=state_dtype,
        checkpoints=checkpoints,
    )


def mamba2(text: HfConfig, size: Dimensions, inner: int | None = None) -> Mamba2:
    """Mamba 2 by Bamba's keys. `inner` channels, else `mamba_expand` times the hidden size. A head's width follows."""
    if inner is None:
        inner = positive(text, "mamba_expand", default=2, limit=MAX_WIDTH) * size.hidden_size
    heads = positive(text, "mamba_n_heads", default=128, limit=MAX_WIDTH)
    head_dim = even_heads(text, "mamba_n_heads", inner, heads)
    if text.raw("mamba_d_head") not in (None, "auto", head_dim):
        raise InvalidInput(f"{text.path}.mamba_d_head", text.raw("mamba_d_head"), f"times {heads} heads must be the {inner} inner channels")
    return Mamba2(
        inner=inner,
        heads=heads,
        head_dim=head_dim,
        groups=positive(text, "mamba_n_groups", default=1, limit=MAX_WIDTH),
        state=positive(text, "mamba_d_state", default=256, limit=MAX_WIDTH),
        kernel=positive(text, "mamba_d_conv", default=4, limit=MAX_WIDTH),
    )


def dt_rank(text: HfConfig, key: str, size: Dimensions) -> int:
    """The rank of Mamba's time steps; "auto" is one for 16 hidden channels."""
    return ceil_div(size.hidden_size, 16) if text.raw(key) in (None, "auto") else positive(text, key, limit=MAX_WIDTH)


def even_heads(text: HfConfig, key: str, inner: int, heads: int) -> int:
    """A head's channels. Raises InvalidInput where heads do not divide them all, as the config classes do."""
    if inner % heads:
        raise InvalidInput(f"{text.path}.{key}", heads, f"must divide the {inner} inner channels")
    return inner // heads


def windowed(text: HfConfig, size: Dimensions, full: Attention, every: int | None = None) -> list[Attention]:
    """Full or sliding attention, one a layer (vLLM's classes honour `layer_types`; a lone `sliding_window` counts for every layer).

    `every`: each so-manieth layer is full where the file has no list, as the class fills in; a pattern of letters or a period in the
    file wins. None: a class without such a pattern, whose window all layers have.
    """
    check_kinds(text)
    count, window = size.layer_count, text.int_or_none("sliding_window")
    if not window or not text.bool("use_sliding_window", default=True):
        return [full] * count
    local = replace(full, seen="sliding", window=window)
    kinds = text.list_or_none("layer_types")
    if kinds is not None and len(kinds) != count:
        raise InvalidInput(f"{text.path}.layer_types", len(kinds), f"must name each of the {count} layers")
    if kinds is not None:
        return [local if kind == "sliding_attention" else full for kind in kinds]
    if every is None:
        return [local] * count
    letters = text.raw("sliding_window_pattern")
    if isinstance(letters, str) and letters:
        return [local if letters[i % len(letters)] == "L" else full for i in range(count)]
    period = text.int_or_none("sliding_window_pattern", "_sliding_window_pattern") or every
    return [full if (i + 1) % period == 0 else local for i in range(count)]


def dense(*, every: int | None = None, windows: bool = True, sinks: bool = False) -> Layers:
    """Attention and an MLP in every layer. `windows` false: the class's attention never gets one."""

    def layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
        full = attention(size, sinks=sinks)
        if not windows:
            check_kinds(text)
        seen = windowed(text, size, full, every) if windows else [full] * size.layer_count
        return attending(seen, [Mlp(width=size.intermediate_size)] * len(seen))

    return layers


def routed_experts(text: HfConfig, width: int, *, shared: int | None = None, count: int | None = None) -> Experts:
    """The config's routed experts of `width`. `shared`: the width beside them; None: shared experts by count, of `width` each."""
    beside = (text.int_or_none(*SHARED_EXPERTS) or 0) * width if shared is None else shared
    return Experts(
        count=experts(text) if count is None else count, per_token=text.int_or_none(*EXPERTS_PER_TOKEN) or 0, width=width, shared=beside
    )


def sparse_from(size: Dimensions, block: Experts, *, first: int = 0, step: int = 1, dense: Collection[int] = ()) -> list[Mlp | Experts]:
    """Experts in every `step`-th layer from `first` on, but not in `dense`; elsewhere an MLP of the model's intermediate size."""
    plain = Mlp(width=size.intermediate_size)
    count = size.layer_count
    if step == 1 and not dense and block.count:
        return [plain] * min(first, count) + [block] * (count - first)
    return [block if i >= first and i not in dense and (i + 1) % step == 0 and block.count else plain for i in range(count)]


def mixture(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Attention, and experts as wide as the model's intermediate size, in every layer (Mixtral's build)."""
    seen = windowed(text, size, attention(size))
    return attending(seen, [routed_experts(text, size.intermediate_size, shared=0)] * len(seen))


def behind_dense(text: HfConfig, size: Dimensions, block: Experts, first: int = 0) -> list[Mlp | Experts]:
    """DeepSeek's order (deepseek_v2.py): experts in every `moe_layer_freq`-th layer, counted from 0, from `first_k_dense_replace` on.

    Without that key `mlp_layer_types` may list the layers, as Transformers 5 saves them; else `first` layers are dense.
    """
    plain, count = Mlp(width=size.intermediate_size), size.layer_count
    if "first_k_dense_replace" not in text:
        listed = by_name(text, count, {"sparse": True, "dense": False}, "mlp_layer_types")
        if listed is not None:
            return [block if sparse and block.count else plain for sparse in listed]
    start, every = text.int("first_k_dense_replace", default=first), positive(text, "moe_layer_freq", default=1)
    if every == 1 and block.count:
        return [plain] * min(start, count) + [block] * (count - start)
    return [block if i >= start and i % every == 0 and block.count else plain for i in range(count)]


def prediction_modules(text: HfConfig, silent: int = 0) -> int:
    """Modules of multi-token prediction that the file names; `silent` where it does not."""
    named = text.int_or_none(*PREDICTION_MODULES)
    return silent if named is None else positive(text, *PREDICTION_MODULES, limit=MAX_LAYERS) if named else 0


def predicted(text: HfConfig, layers: tuple[Layer, ...], silent: int = 0) -> tuple[Layer, ...]:
    """One layer a prediction module, which attends as the last layer that sees all tokens does (vLLM's ..._mtp.py build it of that class).

    A model without such a layer predicts as its last that attends; one of states alone has no modules. `silent`: how many its class builds
    where the file does not say.
    """
    count = prediction_modules(text, silent)
    if not count:
        return ()
    last = next(filter(_sees_all, reversed(layers)), None) or next(filter(_keeps_tokens, reversed(layers)), None)
    if last is None:
        return ()
    return (replace(last, mixers=tuple(mixer for mixer in last.mixers if not isinstance(mixer, STATES))),) * count


def _keeps_tokens(layer: Layer) -> bool:
    return layer.attends and layer.keeps_cache


def _sees_all(layer: Layer) -> bool:
    seen = any(isinstance(mixer, Latent) or (isinstance(mixer, Attention) and mixer.seen == "full") for mixer in layer.mixers)
    return seen and _keeps_tokens(layer)
