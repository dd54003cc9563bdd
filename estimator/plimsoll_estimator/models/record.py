"""What is known of one line of model classes: its names, how its config is read, its layers, its weights.

Each model file makes its records; `models.register` collects them. A record is the whole of a class: nothing else in the estimator
knows its name. Refuses to know releases (data/architectures.json says which release registers which class) and other models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.stacks import Layers, Predictions, predicted
from plimsoll_estimator.reader import NO_OVERRIDES
from plimsoll_estimator.towers.compose import Builder

Asks: TypeAlias = Callable[[HfConfig], bool]


def no_overrides(text: HfConfig) -> Mapping[str, int]:
    """The class reads the usual keys as everybody does."""
    return NO_OVERRIDES


def never(config: HfConfig) -> bool:
    """The class is a decoder, or never has what is asked for, whatever the config says."""
    return False


def unless_causal(text: HfConfig) -> bool:
    """A decoder that becomes an encoder where its config says `is_causal: false`."""
    return not text.bool("is_causal", default=True)


def always(config: HfConfig) -> bool:
    """The class only encodes, or always has what is asked for, whatever the config says."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Classes that vLLM builds alike.

    `classes`: names in `architectures`. `model_types`: of the language model's config, as Transformers or vLLM register them. `weights`
    adds up one rank's modules. `layers` reads them from the language config (`reader.language`). `predictions`: one layer for each of its
    own modules of multi-token prediction. `drafter`: vLLM's class of those modules, by its name in the registry, where any release has one.
    `overrides`: dimensions by usual key that the class reads otherwise. `attends` false: a model
    of states alone.
    `encodes`: whether it attends in both directions and keeps no cache. `multimodal`: it takes images, video or sound
    besides text, whatever the config says (its config class fills a tower in). `image_prefix`, of the whole config: image tokens attend
    to one another. `listed`: Transformers' table of causal models has its types, by which vLLM finds the class behind a wrapper; else the
    text config must name it.
    """

    classes: tuple[str, ...]
    model_types: tuple[str, ...]
    weights: Builder
    layers: Layers
    predictions: Predictions = predicted
    drafter: str = ""
    overrides: Callable[[HfConfig], Mapping[str, int]] = no_overrides
    attends: bool = True
    encodes: Asks = never
    multimodal: bool = False
    image_prefix: Asks = never
    listed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """Classes that put something before whatever language model their text config names. `compose` puts it before that one's weights."""

    classes: tuple[str, ...]
    compose: Callable[[Builder], Builder]
    image_prefix: Asks = never

    def around(self, language: Model) -> Model:
        """The class with this language model inside. vLLM finds no modules behind it: it looks at the whole config's type."""
        return replace(
            language,
            classes=self.classes,
            drafter="",
            weights=self.compose(language.weights if language.listed else _where_named(language.weights)),
            multimodal=True,
            image_prefix=self.image_prefix,
        )


def _where_named(build: Builder) -> Builder:
    """The language of a text config that names its class (config/vllm.py: with_hf_config; models/registry.py, 0.25.1 to 0.33.0)."""

    def named(rank: Rank) -> None:
        if not rank.text.list_or_none("architectures"):
            kind = rank.shape.size.model_type
            if rank.version.before(0, 25, 1):  # a build of March 2026 (0.18) did start one; how earlier releases look it up was not read
                raise Unsupported(
                    Check.UNSUPPORTED_ARCHITECTURE, f"whether vLLM {rank.version} finds a class for text type {kind[:80]} is not known"
                )
            raise EngineRefusal(
                Check.LANGUAGE_MODEL_UNNAMED,
                f"no model architectures are specified: text_config names none, and Transformers lists no causal model of type {kind[:80]}",
            )
        build(rank)

    return named


def seeing(
    language: Model,
    compose: Callable[[Builder], Builder],
    *,
    classes: tuple[str, ...],
    model_types: tuple[str, ...] = (),
    image_prefix: Asks = never,
    drafter: str = "",
) -> Model:
    """`language`, which the class names itself, behind a tower of its own. `model_types`: further names of its text config."""
    wrapped = Wrapper(classes=classes, compose=compose, image_prefix=image_prefix).around(replace(language, listed=True))
    return replace(wrapped, model_types=(*language.model_types, *model_types), drafter=drafter)
