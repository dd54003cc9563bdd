"""EAGLE heads: a layer or more of Llama's build that drafts from the target's hidden states.

`models.register` names it. Knows no quantisation, and no target: its embedding is shared and counted there.
Sources: vllm/model_executor/models/{llama_eagle,llama_eagle3}.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import build_decoder
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.llama import LLAMA
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense
from plimsoll_estimator.reader import TIES
from plimsoll_estimator.units import ceil_div

_STATES_OF_EAGLE, _STATES_OF_EAGLE3 = 2, 3


def _drafted_vocabulary(text: HfConfig) -> Mapping[str, int]:
    """The head's own vocabulary, which may be a part of the target's. No embedding of its own, whatever the file says."""
    return {"vocab_size": text.int("draft_vocab_size", "vocab_size"), TIES: 1}


def _eagle(rank: Rank, states: int) -> None:
    """Llama's layers and one head; `states` hidden states of the target are projected to one."""
    build_decoder(rank, LLAMA)
    hidden = rank.shape.size.hidden_size
    rank.created_bytes += states * hidden * hidden * rank.item


def eagle(rank: Rank) -> None:
    """EagleLlamaForCausalLM: the last hidden state and the embedding, side by side."""
    _eagle(rank, _STATES_OF_EAGLE)


def eagle3(rank: Rank) -> None:
    """Eagle3LlamaForCausalLM: three of the target's hidden states; the first attention reads twice the width."""
    _eagle(rank, _STATES_OF_EAGLE3)
    size = rank.shape.size
    projected = ceil_div((size.heads + 2 * size.kv_heads) * size.head_dim, rank.tp)
    rank.created_bytes += size.hidden_size * projected * rank.item


MODELS = (
    Model(
        classes=("EagleLlamaForCausalLM", "EagleMistralForCausalLM"),
        model_types=(),
        weights=eagle,
        layers=dense(),
        overrides=_drafted_vocabulary,
    ),
    Model(
        classes=(
            "LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM", "PeagleLlamaForCausalLM", "PEagleDraftModel", "Eagle3MiniMaxM2ForCausalLM",
            "Eagle3Qwen2_5vlForCausalLM", "Eagle3Qwen3vlForCausalLM", "Eagle3Qwen3ForCausalLM", "PeagleQwen3ForCausalLM",
        ),
        model_types=(),
        weights=eagle3,
        layers=dense(),
        overrides=_drafted_vocabulary,
    ),
)  # fmt: skip
