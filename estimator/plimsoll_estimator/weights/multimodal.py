"""Models of a tower and a language model: which tower goes with which decoder, and on which pipeline stages towers live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights import classic, dense, gemma, hybrids, intern, kimi, mla, moe_families, towers, vision
from plimsoll_estimator.weights.decoder import build_decoder
from plimsoll_estimator.weights.rank import Rank

Builder = Callable[[Rank], None]
TOWER_ON_FIRST_STAGE_ONLY = (0, 30)


def with_tower(tower: Builder, language: Builder, quantised: bool = True) -> Builder:
    """The tower on the first stage (before 0.30 on every stage), then the language model. A tower may be built unquantised."""

    def build(rank: Rank) -> None:
        if rank.first or rank.version < TOWER_ON_FIRST_STAGE_ONLY:
            if quantised:
                tower(rank)
            else:
                rank.unquantised(tower)
        language(rank)

    return build


def _qwen3_vl_language(rank: Rank) -> None:
    build_decoder(rank, replace(dense.QWEN3, mrope_factor=1 if rank.version >= (0, 32) else 4))


def _glm4v_language(rank: Rank) -> None:
    build_decoder(rank, dense.GLM4)


def _qwen3_5(sparse: bool) -> Builder:
    return lambda rank: hybrids.qwen_next(rank, split_names=True, sparse=sparse)


def _text_language(rank: Rank) -> None:
    """The language model that a generic wrapper names by its text configuration."""
    text = rank.text
    kind = text.model_type
    names = text.list_or_none("architectures")
    known = {"mistral": dense.LLAMA, "ministral3": dense.LLAMA, "llama": dense.LLAMA, "qwen2": dense.QWEN2, "qwen3": dense.QWEN3}
    known |= {"granite": dense.GRANITE, "gemma": dense.GEMMA, "gemma2": dense.GEMMA2, "": dense.LLAMA}
    known |= {"phi3": dense.PHI3, "internlm2": dense.INTERNLM2}
    sparse: dict[str, Builder] = {"qwen3_moe": moe_families.qwen3_moe, "gpt_oss": moe_families.gpt_oss}
    if kind in sparse:
        sparse[kind](rank)
        return
    style = known.get(kind)
    if style is None:
        raise Unsupported("UnsupportedArchitecture", f"no rules for the language model {str(names or kind)[:80]} behind this tower")
    if kind in ("", "llama", "mistral"):
        text = HfConfig(
            {**_LLAMA_DEFAULTS, **({"max_position_embeddings": 4096 * 32} if kind == "mistral" else {}), **text.as_mapping()}, text.path
        )
        rank.text = text
    build_decoder(rank, style)


# What Transformers' LlamaConfig fills in; LLaVA's text configurations name only what differs.
_LLAMA_DEFAULTS = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}

llava = with_tower(towers.llava_tower, _text_language)
llava_next = with_tower(towers.llava_next_tower, _text_language)
idefics3 = with_tower(towers.idefics3_tower, _text_language)
internvl = with_tower(intern.internvit_tower, _text_language)
internvl_hf = with_tower(intern.internvit_hf_tower, _text_language)
mistral3 = with_tower(towers.mistral3_tower, _text_language)
kimi_vl = with_tower(towers.kimi_vl_tower, mla.deepseek_v2, quantised=False)
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
kimi_k3 = with_tower(kimi.kimi_k3_tower, kimi.kimi_k3_language, quantised=False)
