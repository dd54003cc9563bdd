"""Chooses how a checkpoint's modules are stored: reads `quantization_config`, hands out a Method.

`weights` calls `method_for` once per model. One function per vLLM method; the bytes are in `forms`, the names in `names`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.quantization.forms import (
    PLAIN,
    BitsAndBytes,
    Block8,
    Channel8,
    Form,
    Fp4,
    Grouped,
    Micro,
    Online,
    PaddedMicro,
    Tensor8,
)
from plimsoll_estimator.quantization.method import Method, canonical
from plimsoll_estimator.quantization.names import Assigned, Ignored, Mode, check_work, parents
from plimsoll_estimator.quantization.patterns import MOST_ITEMS
from plimsoll_estimator.quantization.quantized import Chooser, Quantized, Signature, no_scales
from plimsoll_estimator.quantization.releases import stored_rules
from plimsoll_estimator.quantization.settings import MOST_GROUPS, quantization_config, strings
from plimsoll_estimator.reader import layers_named
from plimsoll_estimator.resolved import ResolvedArgs

_NOTHING: Final = HfConfig({}, "quantization_config")
MOST_LAYERS: Final = 2048
_NATIVE_FP8: Final = 89  # below, Marlin multiplies fp8 (quantization/fp8.py: use_marlin)
"""Layers that a config may have (resolve/sanity.py), for the budget of those that do not say how many."""


@kept_with_config
def _ignored(settings: HfConfig, mode: Mode, keys: tuple[str, ...]) -> Ignored:
    """The ignore list under the first of these keys; made once, whatever layouts are tried."""
    key = next((key for key in keys if settings.raw(key)), keys[0])
    return Ignored(strings(settings, *keys), mode, f"{settings.path}.{key}")


def _chosen(form: Form, ignored: Ignored) -> tuple[Chooser, Chooser]:
    if ignored.empty:
        return (lambda path: form), (lambda parent: form)
    return (lambda path: PLAIN if ignored(path) else form), (lambda parent: PLAIN if ignored.experts(parent) else form)


def _told_by(tellers: Iterable[Signature | None]) -> Signature | None:
    """What tells layers apart by any of these."""
    told = [teller for teller in tellers if teller is not None]
    return (lambda layer: tuple([teller(layer) for teller in told])) if told else None


def _scalars(item: int, latent: bool) -> int:
    """Four scalars (q, k, v, prob), not on latent attention. quantization/kv_cache.py:BaseKVCacheMethod."""
    return 0 if latent else 4 * item


def _float_scalars(item: int, latent: bool) -> int:
    """Queries, keys and values in float32 besides."""
    return 0 if latent else 12 + 3 * item


def _scalars_everywhere(item: int, latent: bool) -> int:
    return 4 * item


def _online(form: Form, experts_only: bool = False) -> Method:
    resting = Online(resting=form, experts_only=experts_only)
    return Quantized(lambda path: resting, lambda parent: resting, None, _scalars)


def _fp8(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    if "quant_method" not in settings:
        return _online(Tensor8(static=False))
    ignored = _ignored(settings, "exact", ("ignored_layers", "modules_to_not_convert"))
    block = settings.list_or_none("weight_block_size")
    form: Form
    if block is not None:
        block_n, block_k = _pair(settings, block)
        rules = stored_rules(resolved.version)
        uneven, marlin = rules.uneven_merges, resolved.gpu.capability < _NATIVE_FP8
        form = Block8(block_n=block_n, block_k=block_k, refine=rules.refines_blocks, uneven_merges=uneven, repeats_scales=marlin)
    else:
        form = Tensor8(static=settings.str_or_none("activation_scheme") == "static")
    return Quantized(*_chosen(form, ignored), ignored.teller, _scalars, lists=(ignored,))


def _pair(settings: HfConfig, values: tuple[Any, ...]) -> tuple[int, int]:
    sizes = HfConfig({str(i): value for i, value in enumerate(values[:2])}, f"{settings.path}.weight_block_size")
    return max(sizes.int("0"), 1), max(sizes.int("1"), 1)


def _group_form(weights: HfConfig, activations: HfConfig | None, layout: str, indexed: bool) -> Form:
    """The compressed-tensors scheme of one config group: compressed_tensors.py:_get_scheme_from_parts."""
    bits, kind = weights.int("num_bits", default=8), weights.str_or_none("type") or "int"
    strategy, group = weights.str_or_none("strategy"), weights.raw("group_size")
    size = group if isinstance(group, int) and not isinstance(group, bool) else -1
    static = activations is not None and activations.raw("dynamic") is False
    if kind == "float" and bits == 4:
        if "mxfp4" in layout or size == 32:
            return Micro(bits=4)
        return Fp4()
    if bits == 8 and "mxfp8" in layout:
        return Micro(bits=8)
    if bits == 8 and strategy == "block":
        block = weights.list_or_none("block_structure") or (128, 128)
        block_n, block_k = _pair(weights, block)
        return Block8(block_n=block_n, block_k=block_k, refine=True)
    if bits == 8 and (activations is not None or kind == "float"):
        return Tensor8(static=static) if strategy == "tensor" else Channel8(static=static)
    if activations is not None and bits == 4 and kind == "int" and activations.int_or_none("num_bits") == 8:
        return Grouped(bits=8, group=size, zeros=False) if size > 0 else Channel8(static=static)
    return Grouped(bits=bits, group=size, zeros=weights.raw("symmetric") is False, shape_bytes=16, expert_index=indexed)


def _on_gpu(form: Form, resolved: ResolvedArgs) -> Form:
    return replace(form, repeats_scales=resolved.gpu.capability < _NATIVE_FP8) if isinstance(form, Block8) else form


def _compressed_tensors(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    rules = stored_rules(resolved.version)
    ignored = _ignored(settings, "exact", ("ignore",))
    groups = settings.sub("config_groups") or _NOTHING
    if len(groups.as_mapping()) > MOST_GROUPS:
        raise InvalidInput(groups.path, len(groups.as_mapping()), f"must be at most {MOST_GROUPS} groups")
    targets_of = _targets(settings)
    layout = settings.str_or_none("format") or ""
    linear: Form | None = None
    named: list[tuple[Ignored, Form]] = []
    for key in groups:
        group = groups.sub(key)
        weights = group.sub("weights") if group is not None else None
        if group is None or weights is None:
            continue
        layout_of = group.str_or_none("format") or layout
        form = _on_gpu(_group_form(weights, group.sub("input_activations"), layout_of, rules.makes_index), resolved)
        everywhere, targets = targets_of[key]
        if everywhere:
            linear = form
        named.append((targets, form))

    def choose(path: str) -> Form:
        if ignored(path):
            return PLAIN
        for targets, form in named:
            if targets(path):
                return form
        return linear or PLAIN

    def choose_experts(parent: str) -> Form:
        return choose(f"{parent}.0.gate_proj") if not ignored(parent) else PLAIN

    scales = _float_scalars if rules.float32_cache_scales else _scalars
    lists = (ignored, *(targets for targets, _ in named))
    return Quantized(choose, choose_experts, _told_by([one.teller for one in lists]), scales, lists=lists)


@kept_with_config
def _targets(settings: HfConfig) -> Mapping[str, tuple[bool, Ignored]]:
    """Of each group: whether it is for every linear, and the modules that it names."""
    groups = settings.sub("config_groups") or _NOTHING
    found, size = {}, 0
    for key in groups:
        group = groups.sub(key)
        if group is not None:
            said = strings(group, "targets")
            names = Ignored([target for target in said if target != "Linear"], "exact", f"{group.path}.targets")
            size += names.size
            if size > MOST_ITEMS:
                raise InvalidInput(groups.path, size, f"characters of patterns in all targets are too many: at most {MOST_ITEMS}")
            found[key] = ("Linear" in said, names)
    return found


@kept_with_config
def _nested(settings: HfConfig) -> HfConfig:
    """ModelOpt's settings: flat, or in the form of hf_quant_config.json. A copy: kept with the other, it must not hold it."""
    return settings.sub("quantization") or HfConfig(settings.as_mapping(), settings.path)


def _modelopt_ignored(settings: HfConfig) -> Ignored:
    nested = _nested(settings)
    return _ignored(nested, "wildcard", ("exclude_modules", "ignore"))


_ALGORITHMS: Final[Mapping[str, Form]] = {
    "FP8": Tensor8(static=True),
    "FP8_PER_CHANNEL_PER_TOKEN": Channel8(),
    "FP8_PB_WO": Block8(block_n=128, block_k=128, refine=True),
    "NVFP4": Fp4(),
    "W4A16_NVFP4": Fp4(narrow_input_scale=True),
    "MXFP8": Micro(bits=8),
}


def _modelopt(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    nested = _nested(settings)
    algorithm = (nested.str_or_none("quant_algo") or "").upper()
    form = _ALGORITHMS.get(algorithm)
    if form is None:
        raise Unsupported(Check.UNSUPPORTED_QUANTIZATION, f"no rules for ModelOpt's {algorithm or 'unnamed algorithm'}")
    ignored = _modelopt_ignored(settings)
    return Quantized(*_chosen(form, ignored), ignored.teller, _scalars_everywhere, packs_head=True, lists=(ignored,))


def _modelopt_mixed(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    nested = _nested(settings)
    ignored = _modelopt_ignored(settings)
    assigned = _assigned(nested)
    forms = dict(_ALGORITHMS)
    if not stored_rules(resolved.version).weight_only_nvfp4:
        forms["W4A16_NVFP4"] = Fp4()
    cached = nested.raw("kv_cache_scheme") or nested.raw("kv_cache_quant_algo")

    def choose(path: str) -> Form:
        return PLAIN if ignored(path) else forms.get(assigned(path) or "", PLAIN)

    def choose_experts(parent: str) -> Form:
        return PLAIN if ignored.experts(parent) else forms.get(assigned.experts(parent) or "", PLAIN)

    signature = _told_by([ignored.teller, assigned.signature])
    return Quantized(choose, choose_experts, signature, _scalars_everywhere if cached else no_scales, packs_head=True, lists=(ignored,))


@kept_with_config
def _assigned(nested: HfConfig) -> Assigned:
    layers = nested.sub("quantized_layers") or _NOTHING
    return Assigned((path, _algorithm(value)) for path, value in layers.as_mapping().items())


def _algorithm(value: object) -> str:
    found = value.get("quant_algo") if isinstance(value, Mapping) else None
    return found.upper() if isinstance(found, str) else ""


def _mxfp4(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    """Experts only; the padding is that of the kernel vLLM picks on this GPU (fused_moe/oracle/mxfp4.py).

    Raises Unsupported for what is made of a checkpoint that is not quantised: linears and experts, whose layouts nobody measured.
    """
    if "quant_method" not in settings and stored_rules(resolved.version).makes_mxfp4:
        raise Unsupported(Check.UNSUPPORTED_QUANTIZATION, "no memory rule for MXFP4 that is made as the weights are loaded")
    capability = resolved.gpu.capability
    steps = (64, 1) if 90 <= capability < 100 else (128, 256)
    tiled = 90 <= capability < 100 and stored_rules(resolved.version).mxfp4_drops_loaded_scales
    form = PaddedMicro(bits=4, intermediate_step=steps[0], hidden_step=steps[1], drops_loaded_scales=tiled)
    return Quantized(lambda path: PLAIN, lambda parent: form, None)


def _deepseek_v4(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    """fp8 blocks with one-byte scales; experts in MXFP4, NVFP4 (ModelOpt's export) or fp8 (vllm/models/deepseek_v4/quant_config.py)."""
    block = Block8(block_n=128, block_k=128, refine=True, scale_bytes=1)
    capability = resolved.gpu.capability
    steps = (64, 1) if 90 <= capability < 100 else (128, 256)
    experts: Form = PaddedMicro(bits=4, intermediate_step=steps[0], hidden_step=steps[1])
    if "quantized_layers" in settings or settings.str_or_none("moe_quant_algo") == "NVFP4":
        experts = Fp4()
    elif settings.str_or_none("expert_dtype") == "fp8":
        experts = block
    return Quantized(lambda path: block, lambda parent: experts, None)


def _gptq(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    bits, group = settings.int("bits"), settings.raw("group_size")
    size = group if isinstance(group, int) else -1
    act_order = settings.bool("desc_act")
    symmetric = settings.bool("sym", True)
    form = Grouped(
        bits=bits,
        group=size,
        zeros=True,
        index=act_order or stored_rules(resolved.version).makes_index,
        act_order=act_order,
        drops_zeros=symmetric and bits in (4, 8),
        whole_groups=False,
    )
    ignored = _gptq_ignored(settings)
    return Quantized(*_chosen(form, ignored), ignored.teller, packs_head=settings.bool("lm_head"), lists=(ignored,))


@kept_with_config
def _gptq_ignored(settings: HfConfig) -> Ignored:
    rules = settings.sub("dynamic")
    skipped = [f"re:{name[2:]}" for name in rules if name.startswith("-:")] if rules is not None else []
    return Ignored([*skipped, *strings(settings, "modules_to_not_convert")], "substring", f"{settings.path}.dynamic")


def _awq(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    bits, size = settings.int("bits", "w_bit"), settings.int("group_size", "q_group_size", default=128)
    form = Grouped(bits=bits, group=size, zeros=True)
    ignored = _ignored(settings, "substring", ("modules_to_not_convert",))
    return Quantized(*_chosen(form, ignored), ignored.teller, packs_head=settings.bool("lm_head"), lists=(ignored,))


def _bitsandbytes(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    form = BitsAndBytes(bits=8 if settings.bool("load_in_8bit") or settings.bool("_load_in_8bit") else 4)
    ignored = _ignored(settings, "substring", ("llm_int8_skip_modules",))
    return Quantized(*_chosen(form, ignored), ignored.teller, lists=(ignored,))


def _fbgemm(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    ignored = _ignored(settings, "exact", ("modules_to_not_convert",))
    return Quantized(*_chosen(Channel8(), ignored), ignored.teller, lists=(ignored,))


def _auto_round(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    """AutoRound, in GPTQ's or AWQ's packing: only the named blocks, but for modules that `extra_config` keeps at 16 bits."""
    bits, group = settings.int("bits"), settings.raw("group_size")
    size = group if isinstance(group, int) and not isinstance(group, bool) else -1
    form = Grouped(bits=bits, group=size, zeros=True, drops_zeros=settings.bool("sym", True), whole_groups=False)
    extra = settings.sub("extra_config") or _NOTHING
    kept = [name for name in extra if (extra.sub(name) or _NOTHING).raw("bits") == 16]
    ignored = Ignored(kept, "exact", extra.path)
    named = settings.raw("block_name_to_quantize")
    listed = settings.list_or_none("block_name_to_quantize") or () if not isinstance(named, str) else named.split(",")
    blocks = [name for name in listed if isinstance(name, str)]
    prefixes = {canonical(block.strip()) + "." for block in blocks}

    def choose(path: str) -> Form:
        if ignored(path) or (prefixes and prefixes.isdisjoint(parents(canonical(path)))):
            return PLAIN
        return form

    return Quantized(choose, choose, ignored.teller, lists=(ignored,))


def _by_checkpoint(settings: HfConfig, resolved: ResolvedArgs) -> Method:
    """moe_wna16 runs checkpoints of GPTQ or AWQ."""
    return (_awq if settings.str_or_none("quant_method") == "awq" else _gptq)(settings, resolved)


_METHODS: Final[Mapping[str, Callable[[HfConfig, ResolvedArgs], Method]]] = {
    "fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "modelopt_mxfp8": _modelopt,
    "modelopt_mixed": _modelopt_mixed,
    "mxfp4": _mxfp4,
    "gpt_oss_mxfp4": _mxfp4,
    "deepseek_v4_fp8": _deepseek_v4,
    "gptq": _gptq,
    "gptq_marlin": _gptq,
    "auto_gptq": _gptq,
    "awq": _awq,
    "awq_marlin": _awq,
    "auto_awq": _awq,
    "moe_wna16": _by_checkpoint,
    "bitsandbytes": _bitsandbytes,
    "fbgemm_fp8": _fbgemm,
    "inc": _auto_round,
    "auto-round": _auto_round,
    "auto_round": _auto_round,
    "fp8_per_tensor": lambda settings, resolved: _online(Tensor8(static=False)),
    "fp8_per_channel": lambda settings, resolved: _online(Channel8()),
    "fp8_per_block": lambda settings, resolved: _online(Block8(block_n=128, block_k=128, refine=True, made=True)),
    "int8_per_channel_weight_only": lambda settings, resolved: _online(Channel8()),
    "experts_int8": lambda settings, resolved: _online(Channel8(), experts_only=True),
    "mxfp8": lambda settings, resolved: _online(Micro(bits=8)),
}


def method_for(config: HfConfig, resolved: ResolvedArgs) -> Method:
    """The method of this model. Raises Unsupported for one without rules."""
    name = resolved.quantization
    if name is None:
        return Method()
    build = _METHODS.get(name)
    if build is None:
        close = difflib.get_close_matches(name, _METHODS, n=3, cutoff=0.6)
        hint = f"; the nearest known are {', '.join(close)}" if close else ""
        raise Unsupported(Check.UNSUPPORTED_QUANTIZATION, f"no rules for the quantization method {name[:80]}{hint}")
    settings = quantization_config(config)
    if name == "fp8" and config.model_type.startswith("deepseek_v4"):
        build = _deepseek_v4
    if build is _deepseek_v4 and "expert_dtype" in config:
        settings = HfConfig({**settings.as_mapping(), "expert_dtype": config.str_or_none("expert_dtype")}, settings.path)
    method = build(settings, resolved)
    if isinstance(method, Quantized):
        layers = layers_named(config)
        check_work(method.lists, MOST_LAYERS if layers is None else layers, settings.path)
    return method
