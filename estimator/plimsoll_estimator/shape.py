"""What a model is, read once from its config: dimensions, and layers as values. Weights, cache and overheads ask the same value.

Made by `models` (`models.register.read`), handed down to everything below it, kept with the config it was read from. Knows no bytes, no
releases, no parallel sizes, and never sees a config.

    Shape ── size: Dimensions
      ├── layers: Layer ── mixers: Attention | Latent | ... | Mamba1 | Mamba2 | DeltaNet | KimiDelta | Lightning | ShortConv
      │                └── ffn: Mlp | Experts | None
      ├── vision: Vision | None      what overheads ask of a tower
      └── drafts                     the model's own prediction modules
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from plimsoll_estimator.kept import ANSWER_BYTES
from plimsoll_estimator.mixers import (
    ATTENTIONS,
    STATES,
    CrossAttention,
    Experts,
    Kind,
    Latent,
    Mamba1,
    Mamba2,
    Mixer,
    Mlp,
)
from plimsoll_estimator.objects import by_object, numbered

_REFERENCE_BYTES: Final = 8
_LAYER_BYTES: Final = 320
"""A layer with its mixers and its feed-forward block; measured, rounded up."""
_PRICED_BYTES: Final = 256
"""What one kind of mixer needs of a cache."""


class Dimensions(NamedTuple):
    """A language model's size as its class reads it: whole, before any parallelism. Widths are elements.

    `heads`, `kv_heads` and `head_dim` are 0 for a model without attention. `tied`: whether input and output embedding are one, as the
    file says, or its class where the file is silent.
    """

    model_type: str
    layer_count: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    positions: int
    tied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer: what mixes tokens, and what follows. A layer may mix twice, or not at all.

    `keeps_cache` false: its attention reads the cache of an earlier layer (Gemma 3n and 4) and keeps none of its own.
    """

    mixers: tuple[Mixer, ...]
    ffn: Mlp | Experts | None
    keeps_cache: bool = True

    @property
    def attends(self) -> bool:
        """Whether any of its mixers is attention."""
        return any(isinstance(mixer, ATTENTIONS) for mixer in self.mixers)

    def mixer(self, kind: type[Kind]) -> Kind:
        """Its mixer of that kind, which a layer that is asked for it has."""
        return next(mixer for mixer in self.mixers if isinstance(mixer, kind))

    def mixes(self, kind: type[Mixer]) -> bool:
        """Whether one of its mixers is of that kind."""
        return any(isinstance(mixer, kind) for mixer in self.mixers)

    @property
    def routed(self) -> bool:
        """Whether its feed-forward block is made of experts."""
        return isinstance(self.ffn, Experts)

    @property
    def experts(self) -> Experts:
        """Its experts, where the class has them in every layer."""
        assert isinstance(self.ffn, Experts), "asked a dense layer for its experts"
        return self.ffn


class TowerSize(NamedTuple):
    """The blocks of a vision or audio tower as its class reads them: whole, before any parallelism."""

    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int

    @property
    def head_dim(self) -> int:
        """Width of one head where the class takes the hidden size apart."""
        return self.hidden_size // self.heads


class LargestItem(NamedTuple):
    """The largest image that a class's processor admits: `tokens` for the language model, made of `patches` of the tower.

    `frame_tokens`, `frame_patches`: of one frame where videos are admitted that fill whatever length the model is served with, or as many
    frames of it as `most_frames` says.
    """

    tokens: int
    patches: int
    frame_tokens: int = 0
    frame_patches: int = 0
    most_frames: int | None = None


class TowerBlocks(NamedTuple):
    """A vision tower's transformer: a patch is `patch_elements` numbers; `gated` MLPs have a gate.

    `attention`: how many hidden sizes a patch takes at the peak of attention, whole on each rank and divided over them. `masked`: releases
    may attend under a mask of all patches by all. `sees_video`: it is no language model alone while videos are admitted. `fuses_norm`:
    releases may add the residual in the norm before the MLP. `guessed`: the class's largest item is not known, and is taken to be Qwen's.
    """

    size: TowerSize
    gated: bool
    patch_elements: int
    largest: LargestItem
    attention: tuple[int, int]
    masked: bool = False
    sees_video: bool = False
    fuses_norm: bool = False
    guessed: bool = False


class Vision(NamedTuple):
    """What overheads ask of a vision tower: whether patches are merged before the language model, and feature levels beside the last.

    `blocks`: what one patch costs, where the class's largest image is known.
    """

    merges_patches: bool
    deepstack_levels: int
    blocks: TowerBlocks | None = None


Found = TypeVar("Found")


class _Once(Generic[Found]):
    """A property worked out when it is first asked for, and remembered: functools.cached_property without its lock (3.11)."""

    def __init__(self, work: Callable[[Any], Found]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, shape: object, owner: type) -> Found:
        found = vars(shape)[self._name] = self._work(shape)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """A whole model before any parallelism.

    `attends_both_ways`: it keeps no cache, by its class (`encoder_only`) or by its config's word.
    `named_experts`: as vLLM counts them by the config's own keys (get_num_experts), which some classes spell otherwise.
    `image_prefix`: image tokens attend to one another (vLLM is_mm_prefix_lm).
    `chunk_size`: tokens a chunk of its state kernels. `predictions`: the layers of the checkpoint's own modules of multi-token prediction,
    one each; `drafter`: vLLM's class of them, where a release has one.
    """

    architecture: str
    size: Dimensions
    layers: tuple[Layer, ...]
    multimodal: bool = False
    vision: Vision | None = None
    attends_both_ways: bool = False
    encoder_only: bool = False
    named_experts: int = 0
    image_prefix: bool = False
    chunk_size: int = 2048
    predictions: tuple[Layer, ...] = ()
    drafter: str = ""

    @_Once
    def kept(self) -> dict[Hashable, Any]:
        """What was worked out from it, by question (`kept.kept_with_config`)."""
        return {}

    @_Once
    def _numbered(self) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
        return numbered(self.layers)

    def kept_bytes(self) -> int:
        """What it weighs with the answers kept with it, on the large side: its layers, and of each answer a reference a kind."""
        answer = ANSWER_BYTES + _REFERENCE_BYTES * len(self.kinds) + _PRICED_BYTES * len(self.mixers)
        return _LAYER_BYTES * len(self.kinds) + 3 * _REFERENCE_BYTES * len(self.layers) + answer * (1 + len(self.kept))

    @property
    def kinds(self) -> tuple[Layer, ...]:
        """Every layer object once, in order of appearance: a few, since builders make equal layers one object."""
        return self._numbered[0]

    @property
    def order(self) -> tuple[int, ...]:
        """Of each layer the number of its object among `kinds`."""
        return self._numbered[1]

    @_Once
    def mixers(self) -> tuple[Mixer, ...]:
        """Every distinct mixer, in order of appearance."""
        found = by_object([mixer for layer in self.kinds for mixer in layer.mixers]).values()
        return tuple(found if len(found) == 1 else dict.fromkeys(found))

    @_Once
    def _mixed(self) -> frozenset[type[Mixer]]:
        return frozenset(map(type, self.mixers))

    def mixes(self, *kinds: type[Mixer]) -> bool:
        """Whether any layer has a mixer of one of these kinds."""
        return not self._mixed.isdisjoint(kinds)

    @_Once
    def experts(self) -> Experts | None:
        """The widest experts of any layer, None for a dense model."""
        found = [layer.ffn for layer in self.kinds if isinstance(layer.ffn, Experts)]
        return max(found, key=lambda one: (one.count, one.width)) if found else None

    @_Once
    def has_state(self) -> bool:
        """Whether any layer keeps a recurrent state."""
        return self.mixes(*STATES)

    @_Once
    def keeps_every_state(self) -> bool:
        """Whether its class can keep a state at every block (vLLM SupportsMambaPrefixCaching): Mamba's do, other mixers' do not."""
        return self.mixes(Mamba1, Mamba2)

    @_Once
    def attends(self) -> bool:
        """Whether any layer has attention."""
        return any(layer.attends for layer in self.kinds)

    @_Once
    def latent(self) -> bool:
        """Whether attention keeps one compressed vector a token (vLLM is_deepseek_mla)."""
        return self.mixes(Latent)

    @property
    def cross_attends(self) -> bool:
        """Whether it is a decoder behind an encoder."""
        return self.mixes(CrossAttention)

    @property
    def prediction_modules(self) -> int:
        """How many modules of multi-token prediction its checkpoint has."""
        return len(self.predictions)

    @property
    def hybrid(self) -> bool:
        """Attention and recurrent state together."""
        return self.has_state and self.attends

    @property
    def attention_free(self) -> bool:
        """A class of states alone (vLLM IsAttentionFree)."""
        return self.has_state and not self.size.heads


def alike(layer: Layer, count: int) -> tuple[Layer, ...]:
    """`count` equal layers."""
    return (layer,) * count


def alternating(flags: Iterable[bool], true: Layer, false: Layer) -> tuple[Layer, ...]:
    """One of two layers for each flag."""
    return tuple(true if flag else false for flag in flags)


def stage_layers(layers: int, stages: int) -> tuple[range, ...]:
    """Layer ranges of the pipeline stages: vllm/distributed/utils.py:get_pp_indices (all versions)."""
    counts = [layers // stages] * stages
    for i in range(2, layers % stages + 2):
        counts[-i] += 1
    edges = [0]
    for count in counts:
        edges.append(edges[-1] + count)
    return tuple(range(edges[i], edges[i + 1]) for i in range(stages))
