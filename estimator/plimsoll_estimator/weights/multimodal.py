"""Models of a tower and a language model: which tower goes with which decoder, and on which pipeline stages towers live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from plimsoll_estimator.weights import classic, dense, gemma, hybrids, mla, moe_families, vision
from plimsoll_estimator.weights.decoder import build_decoder
from plimsoll_estimator.weights.rank import Rank

Builder = Callable[[Rank], None]
TOWER_ON_FIRST_STAGE_ONLY = (0, 26)


def with_tower(tower: Builder, language: Builder, quantised: bool = True) -> Builder:
    """The tower on the first stage (before 0.26 on every stage), then the language model. A tower may be built unquantised."""

    def build(rank: Rank) -> None:
        if rank.first or rank.version < TOWER_ON_FIRST_STAGE_ONLY:
            if quantised:
                tower(rank)
            else:
                rank.unquantised(tower)
        language(rank)

    return build


def _qwen3_vl_language(rank: Rank) -> None:
    build_decoder(rank, replace(dense.QWEN3, mrope_factor=1 if rank.version >= (0, 26) else 4))


def _glm4v_language(rank: Rank) -> None:
    build_decoder(rank, dense.GLM4)


def _qwen3_5(sparse: bool) -> Builder:
    return lambda rank: hybrids.qwen_next(rank, split_names=True, sparse=sparse)


qwen2_vl = with_tower(vision.qwen2_tower, lambda rank: build_decoder(rank, dense.QWEN2))
qwen2_5_vl = with_tower(vision.qwen2_5_tower, lambda rank: build_decoder(rank, dense.QWEN2))
qwen3_vl = with_tower(vision.qwen3_tower, _qwen3_vl_language)
qwen3_vl_moe = with_tower(vision.qwen3_tower, moe_families.qwen3_moe)
qwen3_5 = with_tower(vision.qwen3_tower, _qwen3_5(sparse=False))
qwen3_5_moe = with_tower(vision.qwen3_tower, _qwen3_5(sparse=True))
glm4v = with_tower(vision.glm4v_tower, _glm4v_language)
glm4v_moe = with_tower(vision.glm4v_tower, moe_families.glm4_moe)
gemma3 = with_tower(vision.gemma3_tower, gemma.gemma3)
gemma4 = with_tower(vision.gemma4_tower, gemma.gemma4)
llama4 = with_tower(vision.llama4_tower, gemma.llama4, quantised=False)
kimi_k25 = with_tower(vision.moonvit_tower, mla.deepseek_v2, quantised=False)
minimax_m3 = with_tower(vision.minimax_tower, classic.minimax_m3)
