"""Which releases of vLLM register which model architectures: a model that a release does not know is not served by it.

The one table that `resolve` asks before anything is worked out; data/architectures.json is extracted from the published wheels
by tools/extract_architectures.py, down to the patch. Knows names and releases, refuses to know shapes.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Final, TypeAlias

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import Unsupported

Span: TypeAlias = tuple[EngineVersion, EngineVersion | None]
"""The first release that has the class, and the first that has it no more."""
# Registered no more, and yet built by the Transformers backend, as the engine's own code does (rows of the tests' data).
_STILL_BUILT: Final = frozenset({"MllamaForConditionalGeneration", "Dots1ForCausalLM", "PersimmonForCausalLM"})


def check_registered(architecture: str, version: EngineVersion) -> None:
    """Raises Unsupported(Check.ARCHITECTURE_NOT_IN_RELEASE) where the release has no class of this name and another release has.

    Names that no release registers are left to the architectures' own table: vLLM makes some of them from other classes.
    A release newer than the newest known is taken to know what that one knows.
    Source: vllm/model_executor/models/registry.py of 0.8.0 to 0.33.0; there "Model architectures ... are not supported for now"
    and "was supported in vLLM until". What the Transformers backend might build of a removed class has no rules here.
    """
    known = _others(architecture, version)
    if known:
        raise Unsupported(Check.ARCHITECTURE_NOT_IN_RELEASE, f"vLLM {version} does not know {architecture}; releases {known} do")


def releases_with(architecture: str) -> str:
    """The releases that serve a class, in words: "from 0.8 until before 0.25"; nothing where the newest that is known does."""
    return _others(architecture, NEWEST_KNOWN)


def _others(architecture: str, version: EngineVersion) -> str:
    spans = _table().get(architecture)
    if spans is None or any(version.within(since, before) for since, before in spans):
        return ""
    if architecture in _STILL_BUILT and version >= spans[0][0]:
        return ""
    return " and ".join(_said(since, before) for since, before in spans)


def registered_in(architecture: str, version: EngineVersion) -> bool:
    """Whether the release itself has a class of this name."""
    return any(version.within(since, before) for since, before in _table().get(architecture, ()))


def registered(architecture: str) -> bool:
    """Whether some release has a class of its own under this name; others are built by the Transformers backend or from another class."""
    return architecture in _table()


def _said(since: EngineVersion, before: EngineVersion | None) -> str:
    return f"from {_short(since)}" if before is None else f"from {_short(since)} until before {_short(before)}"


def _short(release: EngineVersion) -> str:
    """0.24 for 0.24.0: the first release of a minor."""
    return str(release).removesuffix(".0")


@cache
def _table() -> dict[str, tuple[Span, ...]]:
    text = (resources.files("plimsoll_estimator") / "data" / "architectures.json").read_text("utf-8")
    rows = json.loads(text)["architectures"]
    parse = EngineVersion.parse
    return {name: tuple((parse(since), parse(before) if before else None) for since, before in spans) for name, spans in rows.items()}
