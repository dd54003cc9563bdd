"""How a quantisation method stores a linear layer and fused experts: the interface, and the unquantised form.

`layers.rank` calls it with shapes of one rank; `quantized` implements it. Knows no tensor parallelism.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

from plimsoll_estimator.units import round_up

_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)(?=\.|$)")


class Linear(NamedTuple):
    """A linear layer on one rank: `k` inputs, `parts` outputs, the full sizes, and the dtype's bytes.

    `lenient`: the class lets parts be no multiple of a quantisation block.
    """

    parent: str
    names: tuple[str, ...]
    k: int
    parts: tuple[int, ...]
    k_full: int
    n_full: int
    item: int
    lenient: bool = False

    @property
    def n(self) -> int:
        """Outputs of this rank."""
        return sum(self.parts)

    @property
    def path(self) -> str:
        """The module name of the first part, as a checkpoint names it."""
        return f"{self.parent}.{self.names[0]}" if self.parent else self.names[0]


class Experts(NamedTuple):
    """Fused experts on one rank: `local` of `total`, with `intermediate` as divided by tensor parallelism.

    `plain_step` is the multiple that the kernel of unquantised experts wants of `intermediate`.
    """

    parent: str
    local: int
    total: int
    hidden: int
    intermediate: int
    gated: bool
    bias: bool
    item: int
    plain_step: int = 1

    @property
    def up(self) -> int:
        """Rows of w13: gate and up, or up alone."""
        return self.intermediate * (2 if self.gated else 1)

    @property
    def halves(self) -> int:
        """Logical matrices in w13."""
        return 2 if self.gated else 1

    @property
    def bias_bytes(self) -> int:
        """Biases of w13 and w2, in the model's dtype."""
        return self.local * (self.up + self.hidden) * self.item if self.bias else 0

    @property
    def elements(self) -> int:
        """Weights in w13 and w2."""
        return self.local * self.hidden * (self.up + self.intermediate)


def plain_experts(shape: Experts) -> int:
    """Bytes of unquantised fused experts, padded where the kernel wants it."""
    padded = shape._replace(intermediate=round_up(shape.intermediate, shape.plain_step))
    return padded.elements * padded.item + padded.bias_bytes


class Method:
    """No quantisation; also the base of the others. `added` is what loading adds to the module sized last, `main` the bytes
    of its large tensors."""

    __slots__ = ("added", "main")

    def __init__(self) -> None:
        self.added = 0
        self.main: tuple[int, ...] = ()

    def linear(self, shape: Linear) -> int:
        """Bytes of weight and scales (no bias)."""
        self.added = 0
        size = shape.k * shape.n * shape.item
        self.main = (size,)
        return size

    def head(self, shape: Linear) -> int:
        """Bytes of an lm_head: unquantised unless the method says otherwise."""
        return shape.k * shape.n * shape.item

    def experts(self, shape: Experts) -> int:
        """Bytes of fused experts with scales and biases."""
        self.added = 0
        self.main = (shape.local * shape.hidden * shape.up * shape.item, shape.local * shape.hidden * shape.intermediate * shape.item)
        return plain_experts(shape)

    def kv_scale_bytes(self, path: str, item: int, latent: bool = False) -> int:
        """Parameters that hold KV-cache scales of one attention layer."""
        return 0

    def signatures(self, layers: Sequence[int]) -> list[Hashable] | None:
        """What distinguishes each layer's quantisation from another's, None where all are quantised alike."""
        return None


def canonical(path: str) -> str:
    """A module name without the wrappers that checkpoints and vLLM put in front in different orders."""
    parts = path.split(".")
    start = 0
    while start < len(parts) - 1 and parts[start] in ("model", "language_model", "transformer", "backbone"):
        start += 1
    return ".".join(parts[start:])


def layer_number(path: str) -> int | None:
    """The layer a module name speaks of, or None."""
    match = _LAYER.search(path)
    return int(match[1]) if match else None
