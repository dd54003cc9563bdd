"""The cache layers that speculative decoding adds: prediction modules of the model itself, or a draft model's layers.

Called by `model_layers`. Drafts join the last pipeline stage and are grouped like any other layer.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.text_shape import within
from plimsoll_estimator.models.register import model_needs
from plimsoll_estimator.reader import MAX_LAYERS, language
from plimsoll_estimator.resolved import ResolvedArgs

WITHOUT_CACHE: Final = frozenset({"ngram", "ngram_gpu", "suffix", "medusa", "mlp_speculator"})
WITH_MODEL: Final = frozenset({"eagle", "eagle3", "draft_model"})
_MODULE_KEYS: Final = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")


def draft_layers(config: HfConfig, needs: ModelNeeds, resolved: ResolvedArgs, rules: PlannerRules) -> tuple[tuple[Need, ...], ...]:
    """Layers the drafts add; none without speculative tokens. Raises Unsupported for a method without a rule."""
    if resolved.num_speculative_tokens == 0:
        return ()
    method, draft = resolved.given.speculative_method, resolved.given.speculative_model_config
    if method is None:
        method = "draft_model" if draft is not None else "mtp"
    if method in WITHOUT_CACHE:
        return ()
    if method == "mtp" or method.endswith("_mtp"):
        modules = language(config).int_or_none(*_MODULE_KEYS)
        if not modules:
            raise Unsupported(Check.SPECULATIVE_METHOD, f"{method}: the config names no prediction modules (num_nextn_predict_layers)")
        return (needs.prediction_module or _last_attention(needs),) * within(
            language(config), "num_nextn_predict_layers", modules, MAX_LAYERS
        )
    if method in WITH_MODEL and draft is not None:
        drafted = model_needs(draft, resolved, rules)
        if drafted.state is not None:
            raise Unsupported(Check.SPECULATIVE_METHOD, "no KV-cache rule for a draft model with recurrent state")
        return drafted.layers
    raise Unsupported(Check.SPECULATIVE_METHOD, f"no KV-cache rule for speculative_method {method!r} without speculative_model_config")


def _last_attention(needs: ModelNeeds) -> tuple[Need, ...]:
    """A prediction module attends as the model's last full-attention layer does."""
    for layer in reversed(needs.layers):
        kept = tuple(need for need in layer if isinstance(need, AttentionNeed) and need.kind in ("full", "mla"))
        if kept:
            return kept
    raise Unsupported(Check.SPECULATIVE_METHOD, "no KV-cache rule for prediction modules of a model without full attention")
