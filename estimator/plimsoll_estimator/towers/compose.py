"""A tower and a language model put together: on which pipeline stages towers live, and what wrappers add of their own.

Called by the model lines that see or hear. Knows neither tower nor language model: both are handed in.
"""

from __future__ import annotations

from collections.abc import Callable

from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.towers.releases import tower_rules

Builder = Callable[[Rank], None]


_SEEN = ("image", "video")


def with_tower(tower: Builder, language: Builder, quantised: bool = True, modalities: tuple[str, ...] = _SEEN) -> Builder:
    """The tower on the first stage (in older releases on every stage), then the language model. A tower may be built unquantised.

    Newer releases leave it out where every one of its `modalities` is limited to no item.
    """

    def build(rank: Rank) -> None:
        rules = tower_rules(rank.version)
        unused = rules.drops_unused and rank.resolved.admits_none(*modalities)
        if not unused and (rank.first or not rules.first_stage_only):
            _build_tower(rank, tower, quantised)
        language(rank)

    return build


def _build_tower(rank: Rank, tower: Builder, quantised: bool) -> None:
    """Divided as the language model is, or whole on each rank (--mm-encoder-tp-mode data: config/multimodal.py)."""
    ranks = rank.tp
    if rank.resolved.given.mm_encoder_tp_mode == "data":
        rank.tp = 1
    if quantised:
        tower(rank)
    else:
        rank.unquantised(tower)
    rank.tp = ranks


def behind(tower: Builder, quantised: bool = True) -> Callable[[Builder], Builder]:
    """What puts this tower before any language model."""
    return lambda language: with_tower(tower, language, quantised)


def image_newline(language: Builder) -> Builder:
    """The vector that marks image rows belongs to the model itself, so every stage has it."""

    def build(rank: Rank) -> None:
        rank.tensor(rank.shape.size.hidden_size)
        language(rank)

    return build
