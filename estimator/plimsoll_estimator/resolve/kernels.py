"""Whether a release of vLLM carries kernels for a GPU: a table of release x compute capability, from the published binaries.

Called by `resolve` before it settles which engine runs, and by whoever prints what a release can do. data/kernels.json is extracted by
tools/extract_kernels.py. A start without kernels ends in "no kernel image is available for execution on the device".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Literal

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.hardware import beside_arm
from plimsoll_estimator.resolved import Gpu
from plimsoll_estimator.units import dotted


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What one release is built for, as compute capabilities (89 is 8.9). PyTorch's is that of x86_64."""

    release: EngineVersion
    torch: str
    """The PyTorch that it requires, such as 2.7.1."""
    own: Mapping[str, tuple[int, ...]]
    """By the host's machine; a machine that nothing was published for is missing."""
    torch_of_image: tuple[int, ...]
    torch_of_pip: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Whether there are kernels, and why not."""

    has: Literal["yes", "no", "not known"]
    why: str = ""


@lru_cache(maxsize=256)
def kernels_for(capability: int, machine: str, version: EngineVersion, *, of_image: bool | None = None) -> Kernels:
    """The entry of the table. `machine` is x86_64 or aarch64; a release between two rows follows the older, a newer one the newest.

    `of_image`: whether PyTorch is that of vLLM's own image; None where that is not known.
    """
    carried = built_as(version)
    shown = dotted(capability)
    if machine not in carried.own:
        return Kernels(has="not known", why=f"vLLM {version} was published for no {machine} host")
    if not _runs(capability, carried.own[machine]):
        return Kernels(has="no", why=f"vLLM {version} has no kernels for compute capability {shown}")
    if machine != "x86_64":
        return Kernels(has="yes")
    in_image, by_pip = _runs(capability, carried.torch_of_image), _runs(capability, carried.torch_of_pip)
    if of_image:
        why = f"the PyTorch of vLLM {version}'s image has no kernels for compute capability {shown}"
        return Kernels(has="yes") if in_image else Kernels(has="no", why=why)
    if in_image == by_pip:
        return Kernels(has="yes") if in_image else Kernels(has="no", why=f"the PyTorch of vLLM {version} has no kernels for {shown}")
    one, other = ("official image", "one that pip installs") if in_image else ("one that pip installs", "official image")
    return Kernels(has="not known", why=f"the PyTorch of vLLM {version} has kernels for {shown} in the {one}, and none in the {other}")


@lru_cache(maxsize=256)
def machine_of(product: str) -> str:
    """The host's machine of a GPU product: aarch64 where the GPU sits beside an Arm processor."""
    return "aarch64" if beside_arm(product) else "x86_64"


def check_kernels(gpu: Gpu, version: EngineVersion, *, of_image: bool | None = None, certain: bool = False) -> None:
    """Raises EngineRefusal (NoKernels) where there are none, Unsupported (KernelsNotKnown) where that is not known.

    `of_image`: as for `kernels_for`. `certain`: only where there are none. No argument cures that, so it is said before whatever
    arguments would.
    """
    machine = machine_of(gpu.product)
    found = kernels_for(gpu.capability, machine, version, of_image=of_image)
    if found.has == "yes" or (certain and found.has != "no"):
        return
    having = [release for release in releases() if kernels_for(gpu.capability, machine, release, of_image=of_image).has == "yes"]
    message = f"{found.why}; {_said(having)}"
    if found.has == "no":
        raise EngineRefusal(Check.NO_KERNELS, message)
    raise Unsupported(Check.KERNELS_NOT_KNOWN, message)


def releases() -> tuple[EngineVersion, ...]:
    """The releases of the table, oldest first."""
    return tuple(_table())


def _runs(capability: int, built_for: Iterable[int]) -> bool:
    """Binary code runs on its own major and on minors from its own up (CUDA's binary compatibility)."""
    return any(built // 10 == capability // 10 and built <= capability for built in built_for)


def _said(having: list[EngineVersion]) -> str:
    """Which releases have kernels for the GPU, as spans of the table."""
    if not having:
        return "no release since 0.8.0 has kernels for it"
    spans: list[list[EngineVersion]] = []
    for before, release in zip((None, *releases()), releases(), strict=False):
        if release not in having:
            continue
        if before in having:
            spans[-1].append(release)
        else:
            spans.append([release])
    newest = releases()[-1]
    named = [f"{span[0]} and later" if span[-1] == newest else f"{span[0]} to {span[-1]}" for span in spans]
    return f"{' and '.join(named)} have kernels for it"


@lru_cache(maxsize=64)
def built_as(version: EngineVersion) -> Carried:
    """What was read of the release itself, or of the newest read before it."""
    return _table()[max((release for release in _table() if release <= version), default=releases()[0])]


@cache
def _table() -> dict[EngineVersion, Carried]:
    document = json.loads((resources.files("plimsoll_estimator") / "data" / "kernels.json").read_text("utf-8"))
    torch = document["torch"]
    return {
        EngineVersion.parse(release): Carried(
            release=EngineVersion.parse(release),
            torch=row["torch"],
            own={machine: tuple(row[machine]) for machine in ("x86_64", "aarch64") if machine in row},
            torch_of_image=tuple(torch[row["torch"]]["image"]),
            torch_of_pip=tuple(torch[row["torch"]]["pip"]),
        )
        for release, row in document["releases"].items()
    }
