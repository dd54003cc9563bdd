"""A quantisation method that stores each module in a form chosen by its name. `methods` makes it of a checkpoint's settings."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from plimsoll_estimator.quantization.forms import Form
from plimsoll_estimator.quantization.method import Experts, Linear, Method
from plimsoll_estimator.quantization.names import Ignored

Chooser = Callable[[str], Form]
Signature = Callable[[int], Hashable]


def no_scales(item: int, latent: bool) -> int:
    """No parameters that hold KV-cache scales."""
    return 0


class Quantized(Method):
    """A method that stores modules in forms chosen by name.

    `signature` tells layers apart that are not quantised alike, None where all are.
    `kv_bytes(item, latent)` are the parameters that hold KV-cache scales of a layer; `packs_head` lets lm_head be quantised; `lists` are
    what names are looked up in.
    """

    __slots__ = ("_choose", "_choose_experts", "_kv_bytes", "_packs_head", "_signature", "lists")

    def __init__(
        self,
        choose: Chooser,
        choose_experts: Chooser,
        signature: Signature | None,
        kv_bytes: Callable[[int, bool], int] | None = None,
        packs_head: bool = False,
        lists: tuple[Ignored, ...] = (),
    ) -> None:
        super().__init__()
        self.lists = lists
        self._choose = choose
        self._choose_experts = choose_experts
        self._signature = signature
        self._kv_bytes = kv_bytes or no_scales
        self._packs_head = packs_head

    def linear(self, shape: Linear) -> int:
        """Bytes of a linear in the form of its first part (vLLM demands the same of all parts)."""
        form = self._choose(shape.path)
        self.added = form.linear_added(shape)
        self.main = (form.weight_bits(shape.item) * shape.k * shape.n // 8,)
        return form.linear(shape)

    def head(self, shape: Linear) -> int:
        """Bytes of an lm_head."""
        return self._choose(shape.path).linear(shape) if self._packs_head else super().head(shape)

    def experts(self, shape: Experts) -> int:
        """Bytes of fused experts."""
        form = self._choose_experts(shape.parent)
        self.added = form.experts_added(shape)
        each = form.weight_bits(shape.item) * shape.local * shape.hidden
        self.main = (each * shape.up // 8, each * shape.intermediate // 8)
        return form.experts(shape)

    def kv_scale_bytes(self, path: str, item: int, latent: bool = False) -> int:
        """Parameters that hold KV-cache scales."""
        return self._kv_bytes(item, latent)

    def signatures(self, layers: Sequence[int]) -> list[Hashable] | None:
        """What distinguishes each layer's quantisation, None where nothing does."""
        return None if self._signature is None else [self._signature(layer) for layer in layers]
