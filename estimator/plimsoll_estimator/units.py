"""Integer arithmetic on bytes, and how figures are written. Needs round up, capacities round down; used everywhere, knows nothing."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30
DTYPE_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
"""Of one element of weights and activations, by PyTorch's names."""


def ceil_div(a: int, b: int) -> int:
    """Ceiling of a / b for b > 0."""
    return -(-a // b)


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return ceil_div(value, multiple) * multiple


def dotted(capability: int) -> str:
    """A compute capability as NVIDIA writes it: 89 is 8.9."""
    return f"{capability // 10}.{capability % 10}"


def format_gib(n_bytes: int) -> str:
    """Bytes as GiB with two decimals, the form vLLM logs."""
    return f"{n_bytes / GIB:.2f} GiB"
