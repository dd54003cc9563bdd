"""Chooses how a checkpoint's quantisation is stored: reads `quantization_config`, hands out a Method."""

from __future__ import annotations

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.weights.method import Method


def method_for(config: HfConfig, resolved: ResolvedArgs) -> Method:
    """The method of this model. Raises Unsupported for one without rules."""
    if resolved.quantization is None:
        return Method()
    raise Unsupported("UnsupportedQuantization", f"no rules for the quantization method {resolved.quantization[:80]}")
