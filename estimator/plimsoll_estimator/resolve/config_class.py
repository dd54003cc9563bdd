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
_PARAMS_FIRST: Final = EngineVersion(0, 12)
_LOOKS_UP_ITS_TEXT: Final = frozenset(
    {
        "aya_vision", "got_ocr2", "granite_speech", "idefics3", "internvl", "llava", "llava_next", "llava_next_video", "llava_onevision",
        "mistral3", "paligemma", "qwen2_audio", "smolvlm", "video_llava", "vipllava", "voxtral",
    }
)  # fmt: skip
"""Classes of Transformers that look the nested text config's class up by its type: CONFIG_MAPPING[text_config["model_type"]]."""
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
        part = unread_part(config, version)
        if part is not None and not prefers_params(config, version):
            raise EngineRefusal(
                Check.CONFIG_CLASS_UNKNOWN, f"the Transformers of vLLM {version} has no class for text of model type {part}"
            )
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


def unread_part(config: HfConfig, version: EngineVersion) -> str | None:
    """The model type of the nested text config where the release's Transformers has no class for it yet, and looks for one."""
    part = config.text.model_type if config.model_type in _LOOKS_UP_ITS_TEXT and config.text is not config else ""
    return part if part in _spans() and not reads(part, version) else None


def prefers_params(config: HfConfig, version: EngineVersion) -> bool:
    """Whether the publisher's params.json, which Mistral's repositories have, is read before config.json (transformers_utils/config.py)."""
    return config.model_type == "mistral3" and version >= _PARAMS_FIRST


def reads(kind: str, version: EngineVersion) -> bool:
    """Whether the release has a class for a model type. A release newer than the newest known has what that one has."""
    return any(version.within(since, before) for since, before in _spans().get(kind, ()))


@cache
def _spans() -> dict[str, tuple[_Span, ...]]:
    text = (resources.files("plimsoll_estimator") / "data" / "config_types.json").read_text("utf-8")
    parse = EngineVersion.parse
    rows = json.loads(text)["types"]
    return {name: tuple((parse(since), parse(before) if before else None) for since, before in spans) for name, spans in rows.items()}
