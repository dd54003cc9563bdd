"""Writes docs/releases-and-gpus.md: which release of vLLM has kernels, quantisation methods and dtypes for which compute capability.

    python -m tools.support_page [OUT]

All of it is from the tables that the estimator asks, so page and verdict cannot differ. A release is shown where something changes.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

from tools.releases import EVERY_RELEASE

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.resolve.kernels import kernels_for
from plimsoll_estimator.resolve.methods import methods_of
from plimsoll_estimator.resolve.support import unstable_in_float16

DEFAULT_OUT = Path(__file__).parents[1] / "docs" / "releases-and-gpus.md"
CARDS = {
    61: "GTX 10", 70: "V100", 75: "T4, RTX 20", 80: "A100, A30", 86: "A10, RTX 30", 87: "Orin", 89: "L4, RTX 40", 90: "H100, H200",
    100: "B200", 103: "B300", 120: "RTX 50", 121: "GB10",
}  # fmt: skip
WORDS = {"yes": "yes", "no": "-", "not known": "?"}
RELEASES = [EngineVersion.parse(text) for text in EVERY_RELEASE]


def spans(rows: list[tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    """Releases with equal cells as one line, by its first and last."""
    found: list[tuple[str, tuple[str, ...]]] = []
    starts = [0, *(index + 1 for index, (one, other) in enumerate(pairwise(rows)) if one != other)]
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        first, last = RELEASES[start], RELEASES[end - 1]
        found.append((f"{first}" if first == last else f"{first} to {last}", rows[start]))
    return found


def table(head: list[str], rows: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]


def kernels(machine: str, capabilities: list[int]) -> list[str]:
    """The table of one machine."""
    rows = [tuple(WORDS[kernels_for(one, machine, release).has] for one in capabilities) for release in RELEASES]
    return table(["vLLM", *(f"{one // 10}.{one % 10} ({CARDS[one]})" for one in capabilities)], spans(rows))


def methods() -> list[str]:
    """Method to its least capability by release."""
    names = sorted({name for release in RELEASES for name in methods_of(release)})
    rows: list[tuple[str, tuple[str, ...]]] = []
    for name in names:
        cells: list[tuple[str, ...]] = []
        for release in RELEASES:
            row = methods_of(release).get(name)
            least = "-" if row is None else f"{row.min_capability // 10}.{row.min_capability % 10}"
            only = "" if row is None or len(row.dtypes) > 1 else f", {row.dtypes[0]} only"
            cells.append((least + only + (", deprecated" if row is not None and row.deprecated else ""),))
        said = "; ".join(f"{when}: {cell[0]}" for when, cell in spans(cells) if cell[0] != "-")
        rows.append((f"`{name}`", (said,)))
    return table(["method", "least compute capability"], rows)


def page() -> str:
    """The whole page."""
    unstable = spans([(", ".join(f"`{name}`" for name in unstable_in_float16(release)) or "-",) for release in RELEASES])
    lines = [
        "# Releases and GPUs",
        "",
        "What each release of vLLM has for a GPU before any model is looked at. `plimsoll gpus --engine-version X` prints it for each",
        "known card. Written by `python -m tools.support_page`; do not edit.",
        "",
        "## Kernels",
        "",
        "From the binaries of the published wheels and of the PyTorch that each requires: `yes`, `-` for none (`NoKernels`), `?` where it",
        "depends on where PyTorch is from, or where nothing was published for the host (`KernelsNotKnown`). From 0.9.0 to 0.10.1.1 the",
        "official image has PyTorch for CUDA 12.8 (no Volta), pip installs the one for CUDA 12.6 (no Blackwell).",
        "",
        *kernels("x86_64", [one for one in CARDS if one not in (87, 121)]),
        "",
        "On hosts with an Arm processor (GH200, GB200, GB300, GB10):",
        "",
        *kernels("aarch64", [90, 100, 103, 121]),
        "",
        "## Quantisation methods",
        "",
        "The least compute capability by release (`get_min_capability` of each method's class) and what else limits it. Deprecated methods",
        "need `--allow-deprecated-quantization`.",
        "",
        *methods(),
        "",
        "## Dtypes",
        "",
        "bfloat16 needs 8.0. Below it a bfloat16 checkpoint is refused up to 0.8.5 unless `--dtype half` is given, and runs in float16",
        "since. These model types do not run in float16, and so run in float32 below 8.0:",
        "",
        *table(["vLLM", "model types"], unstable),
        "",
        "## fp8 caches",
        "",
        "Up to 0.10.2 an fp8 cache is V1's on Hopper (since 0.8.2) and compute capability 10.0 (since 0.10.0); elsewhere the V0 engine",
        "runs, which has no rules here. From 0.11.0 to 0.23.0 the Triton backend, which is all there is below 8.0, starts with one and",
        "then fails every request; since 0.24.0 it refuses the cache below 8.9.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    out.write_text(page())
    print(out)


if __name__ == "__main__":
    main()
