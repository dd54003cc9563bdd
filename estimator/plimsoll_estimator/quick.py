"""The rule of thumb: bytes per parameter, a textbook cache, a fragmentation factor. For a first guess, never for a decision.

Called by `plimsoll estimate --params`. It knows no model's shape and no engine's rules, errs on the large side, and every
answer says which assumptions it made; the admission decision never reads it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalShape:
    """A dense model's attention shape, typical of its size."""

    up_to_parameters: int
    layers: int
    kv_heads: int
    head_dim: int


TYPICAL_SHAPES: Final = (  # dense models; below 30 B with one KV head per query head, the costlier of the two habits
    TypicalShape(up_to_parameters=1_000_000_000, layers=24, kv_heads=16, head_dim=64),
    TypicalShape(up_to_parameters=3_000_000_000, layers=24, kv_heads=16, head_dim=128),
    TypicalShape(up_to_parameters=9_000_000_000, layers=32, kv_heads=32, head_dim=128),
    TypicalShape(up_to_parameters=20_000_000_000, layers=40, kv_heads=40, head_dim=128),
    TypicalShape(up_to_parameters=40_000_000_000, layers=64, kv_heads=8, head_dim=128),
    TypicalShape(up_to_parameters=120_000_000_000, layers=80, kv_heads=8, head_dim=128),
    TypicalShape(up_to_parameters=1 << 60, layers=126, kv_heads=8, head_dim=128),
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
    shape = next(s for s in TYPICAL_SHAPES if parameters <= s.up_to_parameters)
    chosen_layers, chosen_heads = layers or shape.layers, kv_heads or shape.kv_heads
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
            f"{chosen_layers} layers x {chosen_heads} KV heads x {shape.head_dim}, {kv_element_bytes} bytes each: dense, of this size",
            f"{sequences} x {context} tokens in the cache",
            f"x {float(FRAGMENTATION):g} for fragmentation, activations and buffers",
        ),
    )


def gpus_needed(total_bytes: int, gpu_bytes: int) -> int:
    """How many GPUs hold `total_bytes` at nine tenths of each, rounded up to a power of two as tensor parallelism goes."""
    least = ceil_div(total_bytes * 10, gpu_bytes * 9)
    return 1 << (least - 1).bit_length()
