"""The language model behind a generic wrapper: what `text_config` names, whatever the tower is.

Called by the lines that take any language model (LLaVA, InternVL, Idefics, ...). Knows no tower and no quantisation.
Source: vllm/model_executor/models/utils.py (init_vllm_registered_model).
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.layers.decoder import build_decoder
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.cohere import COHERE
from plimsoll_estimator.models.gemma import GEMMA, GEMMA2
from plimsoll_estimator.models.gpt_oss import gpt_oss
from plimsoll_estimator.models.granite import GRANITE
from plimsoll_estimator.models.llama import INTERNLM2, LLAMA
from plimsoll_estimator.models.phi import PHI3
from plimsoll_estimator.models.qwen import QWEN2, QWEN3, qwen3_moe
from plimsoll_estimator.towers.compose import Builder


def text_language(rank: Rank) -> None:
    """The language model that a generic wrapper names by its text configuration."""
    text = rank.text
    kind = text.model_type
    names = text.list_or_none("architectures")
    known = {"mistral": LLAMA, "ministral3": LLAMA, "llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3}
    known |= {"granite": GRANITE, "gemma": GEMMA, "gemma2": GEMMA2, "": LLAMA}
    known |= {"phi3": PHI3, "internlm2": INTERNLM2, "cohere2": COHERE, "cohere": COHERE}
    sparse: dict[str, Builder] = {"qwen3_moe": qwen3_moe, "gpt_oss": gpt_oss}
    if kind in sparse:
        sparse[kind](rank)
        return
    style = known.get(kind)
    if style is None:
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the language model {str(names or kind)[:80]} behind this tower")
    build_decoder(rank, style)
