"""What the tests of a model line ask: a config read, and its layers told in short."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import Attention
from plimsoll_estimator.models.register import architecture_of, read
from plimsoll_estimator.shape import Layer, Shape


def shape_of(config: Mapping[str, Any]) -> Shape:
    """A config read as the class that it names."""
    parsed = HfConfig(config)
    return read(parsed, architecture_of(parsed))


def shipped(name: str) -> Shape:
    """A model of the catalogue, as shipped."""
    config = config_of(name)
    return read(config, architecture_of(config))


def seen(shape: Shape) -> str:
    """How every layer attends: `s` within a window, `c` within chunks, `f` everything, `-` not at all; runs as `5s1f`."""
    return "".join(f"{len(list(run))}{letter}" for letter, run in groupby(map(_letter, shape.layers)))


def _letter(layer: Layer) -> str:
    return next((mixer.seen[0] for mixer in layer.mixers if isinstance(mixer, Attention)), "-")


def routed(shape: Shape) -> list[int]:
    """The layers that are made of experts."""
    return [i for i, layer in enumerate(shape.layers) if layer.routed]
