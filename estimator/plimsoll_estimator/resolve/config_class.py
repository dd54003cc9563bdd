"""Whether a release reads a checkpoint's config by itself: by a class of vLLM's or of the Transformers that it was published with.

Called by `resolve`. data/config_types.json is extracted from published wheels by tools/extract_config_types.py, down to the patch.
Knows names of model types, refuses to know what a config says.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Final, TypeAlias

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig

_DENSE_UNREAD: Final = EngineVersion(0, 19, 1)
_DENSE_READ: Final = EngineVersion(0, 20)
_SPARSE: Final = "deepseek_sparse_attention"
_SPARSE_READ: Final = EngineVersion(0, 23)
_Span: TypeAlias = tuple[EngineVersion, EngineVersion | None]


def check_config_class(config: HfConfig, trusts_code: bool | None, version: EngineVersion) -> None:
    """Raises EngineRefusal where nothing but code beside the checkpoint reads such a config and `--trust-remote-code` is not said.

    `trusts_code` None means that nobody told: then nothing is refused. Source: transformers_utils/config.py (get_config, HFConfigParser),
    which hands what vLLM has no class for to Transformers' AutoConfig. A config without a model type is not looked at.
    """
    kind = config.model_type
    if trusts_code is not False or not kind:
        return
    if reads(kind, version):
        _check_pattern(config, version)
        _check_layer_types(config, version)
        return
    since = next((since for since, before in _spans().get(kind, ()) if since > version), None)
    later = f"; vLLM {since} and later read it by themselves" if since is not None else ""
    raise EngineRefusal(
        Check.CONFIG_CLASS_UNKNOWN,
        f"vLLM {version} and its Transformers have no configuration class for model type {kind}: where the checkpoint brings one,"
        f" --trust-remote-code lets vLLM run that code{later}",
    )


def _check_pattern(config: HfConfig, version: EngineVersion) -> None:
    """Nemotron-H's layers without a mixer or experts: Transformers 5.5 knows no "-" in the pattern (configuration_nemotron_h.py)."""
    pattern = config.raw("hybrid_override_pattern") if config.model_type == "nemotron_h" else None
    if isinstance(pattern, str) and "-" in pattern and _DENSE_UNREAD <= version < _DENSE_READ:
        raise EngineRefusal(
            Check.CONFIG_CLASS_UNKNOWN,
            f"the Transformers of vLLM {version} reads no layers of a dense MLP (-) in hybrid_override_pattern: where the checkpoint brings"
            f" code of its own, --trust-remote-code lets vLLM run that; vLLM {_DENSE_READ} and later read it by themselves",
        )


def _check_layer_types(config: HfConfig, version: EngineVersion) -> None:
    """Layers of a kind that Transformers lists later than the class (configuration_utils.py: ALLOWED_LAYER_TYPES, 5.12)."""
    kinds = config.raw("layer_types")
    if isinstance(kinds, list) and _SPARSE in kinds and version < _SPARSE_READ:
        raise EngineRefusal(
            Check.CONFIG_CLASS_UNKNOWN,
            f"the Transformers of vLLM {version} lists no layer type {_SPARSE}; that of vLLM {_SPARSE_READ} does",
        )


def reads(kind: str, version: EngineVersion) -> bool:
    """Whether the release has a class for a model type. A release newer than the newest known has what that one has."""
    return any(version.within(since, before) for since, before in _spans().get(kind, ()))


@cache
def _spans() -> dict[str, tuple[_Span, ...]]:
    text = (resources.files("plimsoll_estimator") / "data" / "config_types.json").read_text("utf-8")
    parse = EngineVersion.parse
    rows = json.loads(text)["types"]
    return {name: tuple((parse(since), parse(before) if before else None) for since, before in spans) for name, spans in rows.items()}
