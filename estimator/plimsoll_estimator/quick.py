"""The rule of thumb: bytes per parameter, a textbook cache, a fragmentation factor. For a first guess, never for a decision.

Called by `plimsoll estimate --params`. It knows of a model no more than its size, takes the attention of a dense model of that size from
the catalogue, knows no engine's rules, errs on the large side, and every answer says which assumptions it made; the admission decision
never reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from plimsoll_estimator import catalogue
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.units import ceil_div

FRAGMENTATION: Final = Fraction(6, 5)
"""Allocator fragmentation, activations and buffers as a share of weights and cache: the textbooks' 20 %."""

BYTES_PER_PARAMETER: Final = {  # storage format -> bytes, scales included where the format has them
    "fp32": Fraction(4), "float32": Fraction(4), "float": Fraction(4),
    "bf16": Fraction(2), "bfloat16": Fraction(2), "fp16": Fraction(2), "float16": Fraction(2), "half": Fraction(2), "auto": Fraction(2),
    "fp8": Fraction(1), "int8": Fraction(1), "mxfp8": Fraction(1),
    "int4": Fraction(1, 2), "awq": Fraction(55, 100), "gptq": Fraction(55, 100), "awq_marlin": Fraction(55, 100),
    "gptq_marlin": Fraction(55, 100), "nvfp4": Fraction(9, 16), "modelopt_fp4": Fraction(9, 16), "mxfp4": Fraction(17, 32),
}  # fmt: skip


TYPICAL: Final = (  # parameters up to -> the dense model of the catalogue whose attention is typical of the size
    (1_100_000_000, "Qwen/Qwen3-0.6B"),
    (2_900_000_000, "Qwen/Qwen3-1.7B"),
    (6_500_000_000, "Qwen/Qwen3-4B"),
    (11_000_000_000, "meta-llama/Llama-3.1-8B"),
    (24_000_000_000, "Qwen/Qwen3-14B"),
    (50_000_000_000, "Qwen/Qwen3-32B"),
    (150_000_000_000, "meta-llama/Llama-3.1-70B"),
    (1 << 60, "meta-llama/Llama-3.1-405B"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalShape:
    """What of a dense model's attention the cache follows from, and the model that has it."""

    model: str
    layers: int
    kv_heads: int
    head_dim: int


def typical_shape(parameters: int) -> TypicalShape:
    """The attention typical of so many parameters, read from the catalogue's own config of the model."""
    model = next(name for most, name in TYPICAL if parameters <= most)
    config = catalogue.lookup(model)
    assert config is not None, "the catalogue that is shipped has it"
    heads = config.int("num_attention_heads")
    return TypicalShape(
        model=model,
        layers=config.int("num_hidden_layers"),
        kv_heads=config.int("num_key_value_heads"),
        head_dim=config.int("head_dim", default=config.int("hidden_size") // heads),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickEstimate:
    """Bytes over all GPUs together. `assumptions` are sentences; the figures are worth what they are worth."""

    parameters: int
    weights_bytes: int
    kv_cache_bytes: int
    overhead_bytes: int
    total_bytes: int
    assumptions: tuple[str, ...]


def parse_parameters(text: str) -> int:
    """`70B`, `0.5b`, `350M`, `1.5T`, a bare number of billions, or a catalogue model's name. Raises InvalidInput."""
    entry = catalogue.entry(text) if "/" in text else None
    if entry is not None and (entry.parameters or entry.stored_parameters):
        return entry.parameters or entry.stored_parameters or 0
    match = re.fullmatch(r"(\d{1,7})(?:\.(\d{1,6}))?\s*([mMbBtT]?)", text.strip())
    if match is None:
        raise InvalidInput("--params", text, "must be a size such as 70B (a bare number is billions) or a model of the catalogue")
    digits, fraction, unit = match[1], match[2] or "", match[3].lower() or "b"
    value = Fraction(int(digits + fraction), int("1" + "0" * len(fraction))) * {"m": 10**6, "b": 10**9, "t": 10**12}[unit]
    if not 0 < value <= 10**16:
        raise InvalidInput("--params", text, "must be more than 0 and at most 10000T")
    return -(-value.numerator // value.denominator)


def weights_bytes(parameters: int, storage: str) -> int:
    """Parameters x bytes of the storage format, rounded up. Raises InvalidInput on a format without a rule of thumb."""
    each = BYTES_PER_PARAMETER.get(storage.lower())
    if each is None:
        raise InvalidInput("--quantization", storage, f"has no rule of thumb; known are {', '.join(BYTES_PER_PARAMETER)}")
    return ceil_div(parameters * each.numerator, each.denominator)


def kv_cache_bytes(layers: int, kv_heads: int, head_dim: int, element_bytes: int, tokens: int) -> int:
    """2 (keys and values) x layers x KV heads x head size x bytes x tokens."""
    return 2 * layers * kv_heads * head_dim * element_bytes * tokens


def quick_estimate(
    params: str,
    *,
    storage: str = "bf16",
    context: int = 8192,
    sequences: int = 1,
    kv_element_bytes: int = 2,
    kv_heads: int | None = None,
    layers: int | None = None,
) -> QuickEstimate:
    """The rule of thumb for `params` stored as `storage` with `sequences` full contexts in the cache.

    `kv_heads` and `layers` replace the shape typical of the size. Raises InvalidInput naming the option.
    """
    for name, value, most in (("--context", context, 1 << 30), ("--max-num-seqs", sequences, 1 << 20)):
        if not 1 <= value <= most:
            raise InvalidInput(name, value, f"must be from 1 to {most}")
    for name, given in (("--kv-heads", kv_heads), ("--layers", layers)):
        if given is not None and not 1 <= given <= 100_000:
            raise InvalidInput(name, given, "must be from 1 to 100000")
    parameters = parse_parameters(params)
    shape = typical_shape(parameters)
    chosen_layers, chosen_heads = layers or shape.layers, kv_heads or shape.kv_heads
    habit = f"dense, as {shape.model} of this size; without grouped queries it is several times as much (--kv-heads)"
    habit = f"as said, heads as {shape.model} has them" if layers or kv_heads else habit
    weights = weights_bytes(parameters, storage)
    cache = kv_cache_bytes(chosen_layers, chosen_heads, shape.head_dim, kv_element_bytes, context * sequences)
    total = ceil_div((weights + cache) * FRAGMENTATION.numerator, FRAGMENTATION.denominator)
    return QuickEstimate(
        parameters=parameters,
        weights_bytes=weights,
        kv_cache_bytes=cache,
        overhead_bytes=total - weights - cache,
        total_bytes=total,
        assumptions=(
            f"{float(BYTES_PER_PARAMETER[storage.lower()]):g} bytes a parameter ({storage})",
            f"{chosen_layers} layers x {chosen_heads} KV heads x {shape.head_dim}, {kv_element_bytes} bytes each: {habit}",
            f"{sequences} x {context} tokens in the cache",
            f"x {float(FRAGMENTATION):g} for fragmentation, activations and buffers",
        ),
    )


def gpus_needed(total_bytes: int, gpu_bytes: int) -> int:
    """How many GPUs hold `total_bytes` at nine tenths of each, rounded up to a power of two as tensor parallelism goes."""
    least = ceil_div(total_bytes * 10, gpu_bytes * 9)
    return 1 << (least - 1).bit_length()
