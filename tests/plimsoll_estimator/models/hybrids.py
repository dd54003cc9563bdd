"""What the tests of hybrid lines ask: a config read, and the mixers of its layers told in short."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from plimsoll_estimator import catalogue
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import Attention, DeltaNet, KimiDelta, Latent, Lightning, Mamba1, Mamba2, ShortConv
from plimsoll_estimator.models.register import architecture_of, read
from plimsoll_estimator.shape import Layer, Shape

_LETTERS = {Attention: "A", Mamba1: "M", Mamba2: "M", DeltaNet: "D", Lightning: "L", ShortConv: "C", KimiDelta: "K", Latent: "V"}


def shape_of(architecture: str, **config: Any) -> Shape:
    """A config read as the class `architecture`."""
    return read(HfConfig({"architectures": [architecture], **config}), architecture)


def shipped(name: str) -> Shape:
    """A model of the catalogue, as shipped."""
    config = catalogue.lookup(name)
    assert config is not None
    return read(config, architecture_of(config))


def mixed(shape: Shape) -> str:
    """What every layer mixes with, runs as `3D 1A`.

    Attention, Mamba, DeltaNet, Lightning, Convolution, Kimi's delta, a latent Vector, `-` nothing.
    """
    return " ".join(f"{len(list(run))}{letters}" for letters, run in groupby(map(_of, shape.layers)))


def _of(layer: Layer) -> str:
    return "".join(_LETTERS[type(mixer)] for mixer in layer.mixers) or "-"
