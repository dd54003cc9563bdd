"""The cache layers that speculative decoding adds: prediction modules of the model itself, or a draft model's layers.

Called by `model_layers`. Drafts join the last pipeline stage and are grouped like any other layer.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.layers.keeps import model_needs
from plimsoll_estimator.layers.needs import ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.resolved import ResolvedArgs

WITHOUT_CACHE: Final = frozenset({"ngram", "ngram_gpu", "suffix", "medusa", "mlp_speculator"})


def draft_layers(needs: ModelNeeds, resolved: ResolvedArgs, rules: PlannerRules) -> tuple[tuple[Need, ...], ...]:
    """Layers the drafts add; none without speculative tokens. Raises Unsupported for a method without a rule."""
    if resolved.num_speculative_tokens == 0:
        return ()
    given = resolved.given
    method, draft = given.drafts_by, given.speculative_model_config
    if method in WITHOUT_CACHE:
        return ()
    if given.drafts_by_modules:
        if not needs.predictions:
            raise Unsupported(Check.SPECULATIVE_METHOD, f"{method}: the model has no prediction modules with a KV-cache rule")
        return needs.predictions
    if given.drafts_by_model and draft is not None:
        drafted = model_needs(shape_of(draft), resolved, rules)
        if drafted.state is not None:
            raise Unsupported(Check.SPECULATIVE_METHOD, "no KV-cache rule for a draft model with recurrent state")
        return drafted.layers
    raise Unsupported(Check.SPECULATIVE_METHOD, f"no KV-cache rule for speculative_method {method!r} without speculative_model_config")
