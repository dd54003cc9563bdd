"""One rank's weights, added up module by module in the way vLLM's layer classes allocate them.

The model lines call `Rank` while they walk through a model; it divides by tensor-parallel size, asks the
quantisation for the stored form, and refuses what vLLM's constructors refuse. Knows no model line and no method's bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import prod
from typing import NamedTuple

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.releases import layer_rules
from plimsoll_estimator.quantization.method import Experts, Linear, Method
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Layer, Shape
from plimsoll_estimator.units import DTYPE_BYTES, ceil_div, round_up

FLOAT32, INT64, BOOL = 4, 8, 1
"""Bytes an element, for parameters and buffers of a dtype of their own."""
VOCABULARY_PADDING = 64
_BLOCKS_FROM = 10 << 20
_BLOCK = 2 << 20
_SPLIT_ABOVE = 1 << 20
_NEVER_SPLIT_FROM = 20 << 20


def divide(value: int, by: int) -> int:
    """value / by, or the refusal of vllm/distributed/utils.py:ensure_divisibility."""
    if value % by:
        raise EngineRefusal(Check.NOT_DIVISIBLE, f"{value} is not divisible by {by}")
    return value // by


class Built(NamedTuple):
    """What one layer adds to a rank. The `shared_` bytes are of buffers that it is the first to use (`Rank.once`), `shared` their keys."""

    created_bytes: int
    added_bytes: int
    shared_created_bytes: int
    shared_added_bytes: int
    shared: set[Hashable]


Kind = Callable[[int], Hashable]


class Rank:
    """The first tensor-parallel rank of one pipeline stage: the fullest, since remainders go to the first ranks.

    `created_bytes` counts parameters and buffers as built, `added_bytes` what loading adds (or, negative, drops). `kind(i)` tells layer `i`
    from others: equal layers of a shape are one object. `built`: layers that other stages have built.
    """

    __slots__ = (
        "added_bytes",
        "builds_modules",
        "built",
        "config",
        "created_bytes",
        "expert_parallel",
        "experts_tp",
        "first",
        "item",
        "kind",
        "last",
        "method",
        "resolved",
        "rules",
        "shape",
        "shared",
        "shared_added_bytes",
        "shared_created_bytes",
        "stage",
        "text",
        "tokens_divided",
        "tp",
        "version",
    )

    def __init__(
        self, config: HfConfig, resolved: ResolvedArgs, method: Method, stage: int, shape: Shape, built: dict[Hashable, Built]
    ) -> None:
        self.config = config
        self.shape = shape
        self.built = built
        self.kind: Kind = shape.order.__getitem__
        self.text = language(config)
        self.resolved = resolved
        self.version = resolved.version
        self.rules = layer_rules(resolved.version)
        self.method = method
        self.stage = stage
        self.first = stage == 0
        self.last = stage == resolved.pipeline_parallel_size - 1
        self.tp = resolved.tensor_parallel_size
        group = self.tp * resolved.data_parallel_size
        on = resolved.enable_expert_parallel
        self.expert_parallel = group if on else 1
        self.experts_tp = 1 if on else group
        self.tokens_divided = on and self.tp > 1 and resolved.data_parallel_size > 1 and self.rules.divides_tokens
        self.item = DTYPE_BYTES[resolved.dtype.removeprefix("torch.")]
        self.created_bytes = 0
        self.added_bytes = 0
        self.shared: set[Hashable] = set()
        self.shared_created_bytes = 0
        self.shared_added_bytes = 0
        self.builds_modules = False

    def modules(self) -> tuple[Layer, ...]:
        """The layers of the prediction modules that this rank loads beside the model. A builder that never asks has no rule for them."""
        self.builds_modules = True
        return self.shape.predictions if self.drafts_by_mtp else ()

    @property
    def drafts_by_mtp(self) -> bool:
        """Whether this rank also loads the model's own multi-token-prediction layers as the speculative draft."""
        return self.last and self.resolved.num_speculative_tokens > 0 and self.resolved.given.drafts_by_modules

    def _place(self, n_bytes: int) -> None:
        """What torch's caching allocator counts beyond a tensor's size, part of "Model loading took".

        From 10 MiB a tensor gets a block of whole 2 MiB; a rest of at most 1 MiB is not split off, and from 20 MiB none is
        since vLLM loads with max_split_size_mb=20 (c10/cuda/CUDACachingAllocator.cpp; model_loader).
        """
        if n_bytes >= _BLOCKS_FROM:
            rest = -n_bytes % _BLOCK
            if rest <= _SPLIT_ABOVE or (n_bytes >= _NEVER_SPLIT_FROM and self.rules.limits_splits):
                self.added_bytes += rest

    def tensor(self, elements: int, item: int | None = None) -> None:
        """A parameter or buffer of `elements`, in the model's dtype unless `item` bytes are given."""
        size = elements * (self.item if item is None else item)
        self.created_bytes += size
        self._place(size)

    def whole(self, k: int, n: int, bias: bool = False, item: int | None = None) -> None:
        """torch.nn.Linear from `k` to `n`: whole on every rank, never quantised."""
        self.tensor(k * n, item)
        if bias:
            self.tensor(n, item)

    def convolution(self, channels: int, filters: int, *kernel: int, bias: bool = False) -> None:
        """A convolution from `channels` to `filters`, with as many sizes of `kernel` as it has dimensions: whole, unquantised."""
        self.whole(channels * prod(kernel), filters, bias)

    def table(self, rows: int, width: int) -> None:
        """torch.nn.Embedding, such as learned positions: whole on every rank, unpadded."""
        self.tensor(rows * width)

    def once(self, key: Hashable, n_bytes: int) -> bool:
        """A buffer that modules of one process share, such as a rope table: counted the first time, which is True."""
        if key in self.shared:
            return False
        self.shared.add(key)
        added = self.added_bytes
        self.created_bytes += n_bytes
        self._place(n_bytes)
        self.shared_created_bytes += n_bytes
        self.shared_added_bytes += self.added_bytes - added
        return True

    def norm(self, size: int, bias: bool = False, count: int = 1) -> None:
        """RMSNorm (weight) or LayerNorm (weight and bias), replicated."""
        self.created_bytes += size * count * self.item * (2 if bias else 1)

    def _linear(
        self, parent: str, names: tuple[str, ...], k: int, parts: tuple[int, ...], k_full: int, n_full: int, lenient: bool = False
    ) -> None:
        if k < 1 or sum(parts) < 1:
            raise InvalidInput(self.config.path, parent, "would be a layer without inputs or outputs")
        self.created_bytes += self.method.linear(Linear(parent, names, k, parts, k_full, n_full, self.item, lenient))
        self.added_bytes += self.method.added
        for size in self.method.main:
            self._place(size)

    def column(self, parent: str, names: tuple[str, ...], k: int, parts: Iterable[int], bias: bool = False, tp: int | None = None) -> None:
        """ColumnParallelLinear or MergedColumnParallelLinear: every part of the output divided, biases too."""
        by = self.tp if tp is None else tp
        full = tuple(parts)
        mine = tuple([divide(n, by) for n in full])
        self._linear(parent, names, k, mine, k, sum(full))
        if bias:
            self.created_bytes += sum(mine) * self.item

    def row(self, parent: str, name: str, k: int, n: int, bias: bool = False, tp: int | None = None) -> None:
        """RowParallelLinear: the input divided, the bias whole."""
        by = self.tp if tp is None else tp
        self._linear(parent, (name,), divide(k, by), (n,), k, n)
        if bias:
            self.created_bytes += n * self.item

    def replicated(self, parent: str, names: tuple[str, ...], k: int, parts: Iterable[int], bias: bool = False) -> None:
        """ReplicatedLinear, quantised like the others."""
        full = tuple(parts)
        self._linear(parent, names, k, full, k, sum(full))
        if bias:
            self.created_bytes += sum(full) * self.item

    def kv_heads(self, kv_heads: int, tp: int | None = None) -> int:
        """KV heads of one rank; replicated when tensor parallelism exceeds them (QKVParallelLinear)."""
        by = self.tp if tp is None else tp
        if kv_heads < 1:
            raise InvalidInput(f"{self.text.path}.num_key_value_heads", kv_heads, "must be at least 1")
        if by >= kv_heads:
            if by % kv_heads:
                raise EngineRefusal(Check.NOT_DIVISIBLE, f"{by} is not divisible by {kv_heads}")
            return 1
        return divide(kv_heads, by)

    def qkv(
        self,
        parent: str,
        hidden: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        v_head_dim: int | None = None,
        bias: bool = False,
        names: tuple[str, ...] = ("q_proj", "k_proj", "v_proj"),
        tp: int | None = None,
        lenient: bool = False,
    ) -> None:
        """QKVParallelLinear: q, k and v in one weight."""
        by = self.tp if tp is None else tp
        mine = divide(heads, by)
        kv = self.kv_heads(kv_heads, by)
        v_dim = head_dim if v_head_dim is None else v_head_dim
        parts = (mine * head_dim, kv * head_dim, kv * v_dim)
        self._linear(parent, names, hidden, parts, hidden, sum(parts) * by, lenient)
        if bias:
            self.created_bytes += sum(parts) * self.item

    def attention_scales(self, parent: str, latent: bool = False) -> None:
        """The scalars vLLM's Attention keeps: its buffers, and parameters where the checkpoint may hold scales."""
        self.created_bytes += self.rules.attention_scale_bytes + self.method.kv_scale_bytes(f"{parent}.attn", self.item, latent)

    def embedding(self, vocabulary: int, hidden: int) -> None:
        """VocabParallelEmbedding, padded to 64 rows. vllm/model_executor/layers/vocab_parallel_embedding.py."""
        self.tensor(divide(round_up(vocabulary, VOCABULARY_PADDING), self.tp) * hidden)

    def lm_head(self, vocabulary: int, hidden: int, bias: bool = False, name: str = "lm_head") -> None:
        """ParallelLMHead, which a few checkpoints quantise."""
        rows = round_up(vocabulary, VOCABULARY_PADDING)
        mine = divide(rows, self.tp)
        size = self.method.head(Linear("", (name,), hidden, (mine,), hidden, rows, self.item))
        self.created_bytes += size
        self._place(size)
        if bias:
            self.created_bytes += mine * self.item

    def shared_experts_tp(self, unsplit_since: EngineVersion | None) -> int | None:
        """The tensor-parallel size that divides shared experts: 1 (held whole), or None for the rank's own."""
        return 1 if self.tokens_divided and unsplit_since is not None and self.version >= unsplit_since else None

    def local_experts(self, experts: int) -> int:
        """Routed experts the first rank holds under expert parallelism."""
        return ceil_div(experts, self.expert_parallel)

    def experts(
        self,
        parent: str,
        experts: int,
        hidden: int,
        intermediate: int,
        *,
        gated: bool = True,
        bias: bool = False,
        pad_intermediate: bool = False,
    ) -> None:
        """FusedMoE: w13 and w2 of the local experts. Expert parallelism adds an int32 map of all experts."""
        if pad_intermediate:
            intermediate = round_up(intermediate, self.experts_tp)
        mine = divide(intermediate, self.experts_tp)
        local = self.local_experts(experts)
        step = 128 if self.resolved.gpu.capability // 10 == 10 and self.rules.pads_experts else 1
        shape = Experts(parent, local, experts, hidden, mine, gated, bias, self.item, step)
        self.created_bytes += self.method.experts(shape)
        self.added_bytes += self.method.added
        for size in self.method.main:
            self._place(size)
        if self.expert_parallel > 1:
            self.created_bytes += experts * 4

    def unquantised(self, build: Callable[[Rank], None]) -> None:
        """Build a part of the model that its class builds without quantisation."""
        method, self.method = self.method, Method()
        build(self)
        self.method = method

    def layers(self, ids: Sequence[int], kind: Kind | None, build: Callable[[int], None]) -> None:
        """Build the first layer of each kind (and quantisation), and add it as often as there are others like it.

        Without `kind` all are alike but for their quantisation. What modules share (`once`) is counted with the first.
        """
        for _, i, others in self._alike(ids, kind):
            self._repeat(self._build(i, build), others)

    def stacked(self, ids: Sequence[int], kind: Kind | None, build: Callable[[int], None]) -> None:
        """`layers` of a decoder's one stack, where no kind is built again that a stage like this one has built.

        A stage is like another where both or neither is the first and the last, and their modules share the same buffers before.
        """
        for told, i, others in self._alike(ids, kind):
            key = (told, self.first, self.last, frozenset(self.shared))
            known = self.built.get(key)
            if known is None:
                known = self.built[key] = self._build(i, build)
            else:
                self._add(known)
            self._repeat(known, others)

    def _build(self, i: int, build: Callable[[int], None]) -> Built:
        created, added = self.created_bytes, self.added_bytes
        once_created, once_added, shared = self.shared_created_bytes, self.shared_added_bytes, frozenset(self.shared)
        build(i)
        return Built(
            created_bytes=self.created_bytes - created,
            added_bytes=self.added_bytes - added,
            shared_created_bytes=self.shared_created_bytes - once_created,
            shared_added_bytes=self.shared_added_bytes - once_added,
            shared=self.shared - shared,
        )

    def _add(self, built: Built) -> None:
        self.created_bytes += built.created_bytes
        self.added_bytes += built.added_bytes
        self.shared_created_bytes += built.shared_created_bytes
        self.shared_added_bytes += built.shared_added_bytes
        self.shared |= built.shared

    def _repeat(self, built: Built, others: int) -> None:
        self.created_bytes += others * (built.created_bytes - built.shared_created_bytes)
        self.added_bytes += others * (built.added_bytes - built.shared_added_bytes)

    def _alike(self, ids: Sequence[int], kind: Kind | None) -> list[tuple[Hashable, int, int]]:
        """(what tells it apart, first layer, how many others are like it) of each kind, in order of appearance."""
        signatures = self.method.signatures(ids)
        if kind is None and signatures is None:
            return [(None, ids[0], len(ids) - 1)] if ids else []
        told: list[Hashable] = list(signatures or ()) if kind is None else [*map(kind, ids)]
        if kind is not None and signatures is not None:
            told = list(zip(told, signatures, strict=True))
        if told and told.count(told[0]) == len(told):  # most models: one kind, told without a hash of each layer
            return [(told[0], ids[0], len(told) - 1)]
        first = dict(zip(reversed(told), reversed(ids), strict=True))
        return [(key, first[key], count - 1) for key, count in Counter(told).items()]
