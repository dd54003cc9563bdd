"""Configs read from text, once for all who bring the same text, and what identifies a shape.

Called by `models`; what is remembered has a budget, and counts what the estimator keeps with a config too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import HfConfig, InvalidInput, WeightTotals, answers_bytes, kept_with_config
from plimsoll_operator.facts import ModelFacts, ModelUnknown
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.remembered import Remembered, kept_bytes

_USUAL_ANSWERS_BYTES: Final = 128 << 10
_LISTS_OF_MODULES: Final = ("quantization_config", "compression_config")


@kept_with_config
def config_bytes(config: HfConfig) -> int:
    """What the values of a config keep alive."""
    return kept_bytes(config.as_mapping())


@dataclass(frozen=True, slots=True)
class _Shape:
    """A config read from text, once for all who bring the same text, and the bytes of its values."""

    config: HfConfig
    values_bytes: int

    @classmethod
    def read(cls, text: str) -> _Shape:
        config = HfConfig.from_json(text)
        quantised = [kept_bytes(config.raw(key)) for key in _LISTS_OF_MODULES]
        return cls(config, config_bytes(config) + sum(quantised))  # what their lists of modules become weighs as much again

    @property
    def kept_bytes(self) -> int:
        """With what the estimator keeps with it: room for a usual decision from the start, more when there is more."""
        return self.values_bytes + max(_USUAL_ANSWERS_BYTES, answers_bytes(self.config))


_SHAPES: Final[Remembered[bytes, _Shape]] = Remembered("shapes", 48 << 20, lambda shape: shape.kept_bytes)


def from_config(name: str, revision: str | None, text: str, weights: WeightTotals | None, source: str) -> ModelFacts | ModelUnknown:
    """The shape that a text tells; Invalid where it tells none."""
    key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    try:
        shape = _SHAPES.ask(key, lambda: _Shape.read(text))
    except InvalidInput as error:
        return ModelUnknown(kind=NoShape.INVALID, problem=f"{source}: {error}")
    _SHAPES.keep(key, shape)  # what is kept with it has grown since it was asked for last
    config = shape.config
    return ModelFacts(name=name, revision=revision, config=config, weights=weights, source=source, digest=digest_of(config, weights))


@kept_with_config
def digest_of(config: HfConfig, weights: WeightTotals | None) -> str:
    """Identifies the shape, whoever spelled it: sorted keys, no spaces."""
    totals = None if weights is None else [weights.total_bytes, weights.bytes_by_dtype]
    text = json.dumps([dict(config.as_mapping()), totals], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
