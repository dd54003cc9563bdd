"""Writes docs/releases-and-gpus.md: which release of vLLM has kernels, quantisation methods and dtypes for which compute capability.

    python -m tools.support_page [OUT]

All of it is from the tables that the estimator asks, so page and verdict cannot differ. A release is shown where something changes.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

from tools.releases import EVERY_RELEASE

from plimsoll_estimator import gpu_from, known_gpus
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.resolve.kernels import kernels_for
from plimsoll_estimator.resolve.methods import methods_of
from plimsoll_estimator.resolve.support import methods_on, support_of, unstable_in_float16

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
    """Method and releases to the dtypes it takes on each compute capability."""
    names = sorted({name for release in RELEASES for name in methods_of(release)})
    rows: list[tuple[str, tuple[str, ...]]] = []
    for name in names:
        found = spans([_taken(name, release) for release in RELEASES])
        rows += [(f"`{name}`", (when, *cells)) for when, cells in found if any(cell != "-" for cell in cells)]
    return table(["method", "vLLM", *_BANDS], rows)


_BANDS = {"6.1 (GTX 10)": 61, "7.0 (V100)": 70, "7.5 (T4, RTX 20)": 75, "8.0 to 8.7 (A100, A10)": 80, "8.9 (L4, RTX 40)": 89,
          "9.0 (H100, H200)": 90, "10.0 and newer (B200, RTX 50)": 100}  # fmt: skip
"""Columns to the capability that stands for them; no release has a limit inside one, which `methods_on` is asked to show."""
_SHORT = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def _taken(name: str, release: EngineVersion) -> tuple[str, ...]:
    """One cell a band: the dtypes, `-` for none, `*` where the method is deprecated."""
    for ends in pairwise([*_BANDS.values(), 1000]):
        alike = {methods_on(one, release) for one in CARDS if ends[0] <= one < ends[1]}
        if len(alike) > 1:
            raise ValueError(f"the methods of {release} differ between {ends[0]} and {ends[1]}: the table needs a column more")
    cells = []
    for capability in _BANDS.values():
        found = next((method for method in methods_on(capability, release) if method.name == name), None)
        cells.append("-" if found is None else ", ".join(_SHORT[dtype] for dtype in found.dtypes) + " *" * found.deprecated)
    return tuple(cells)


def fp8_caches() -> list[str]:
    """Release to the fp8 caches it serves on each generation, of a card whose capability is known."""
    cards = {gpu.compute_capability: gpu for gpu in map(gpu_from, sorted(known_gpus()))}
    capabilities = [one for one in CARDS if divmod(one, 10) in cards]
    said = {"no": "-", "V0 engine": "V0"}
    found = [[support_of(cards[divmod(one, 10)], release).fp8_cache for one in capabilities] for release in RELEASES]
    rows = [tuple(said.get(cell, cell) for cell in row) for row in found]
    return table(["vLLM", *(f"{one // 10}.{one % 10} ({CARDS[one]})" for one in capabilities)], spans(rows))


FP8_CACHES_BELOW = (
    "Below 8.9 only FlashInfer reads one. Where it is not taken, Triton's kernels do not compile for it: up to 0.23.0 the start fails",
    "while graphs are captured, and with `--enforce-eager` every request fails (vllm#26431: a 3090 with 0.11.0); since 0.24.0 the",
    "backend refuses the cache. 0.11.0 takes Triton on all of Ampere; below 8.0, and on Hopper for other heads, FlexAttention, which",
    "refuses. Turing had FlashInfer's cache from 0.11.1 to 0.23.0 (vllm#47549). FlashInfer is not taken either",
    "",
    "- in float32, beside gpt-oss' attention sinks, or for attention to an encoder (Whisper);",
    "- since 0.13.0 for models whose image tokens attend to one another (Gemma 3 and 4, PaliGemma); since 0.27.0 it is where",
    "  `--limit-mm-per-prompt` leaves text alone;",
    "- where `--attention-backend` names another backend.",
    "",
    "Latent attention (DeepSeek, Kimi) is apart. On 8.0 to 8.9 and 12.0 it has Triton's backend, without an fp8 cache up to 0.17.1,",
    "and with one from 8.9 on since 0.18.0; FlashMLA (9.0) and CUTLASS (10.0) read one since 0.10.2.",
    "",
)
"""What stands below the table of fp8 caches."""


def page() -> str:
    """The whole page."""
    unstable = spans([(", ".join(f"`{name}`" for name in unstable_in_float16(release)) or "-",) for release in RELEASES])
    lines = [
        "# Releases and GPUs",
        "",
        "What each release of vLLM has for a GPU before any model is looked at. `plimsoll gpus --engine-version X` prints it for all known",
        "cards, and `--gpu NAME` for one. Written by `python -m tools.support_page`; do not edit.",
        "",
        "## Kernels",
        "",
        "From the binaries of the published wheels and of the PyTorch that each requires (`tools/extract_kernels.py`): `yes`, `-` for none",
        "(`NoKernels`), `?` where it depends on where PyTorch is from, or where nothing was published for the host (`KernelsNotKnown`).",
        "From 0.9.0 to 0.10.1.1 the official image has PyTorch for CUDA 12.8 (no Volta), pip the one for CUDA 12.6 (no Blackwell).",
        "",
        *kernels("x86_64", [one for one in CARDS if one not in (87, 121)]),
        "",
        "On hosts with an Arm processor (GH200, GB200, GB300, GB10):",
        "",
        *kernels("aarch64", [90, 100, 103, 121]),
        "",
        "## Quantisation methods",
        "",
        "The dtypes of activations in which a method runs, by release and compute capability: bf16 is bfloat16, fp16 float16, fp32",
        "float32; `-`: refused; `*`: deprecated, refused without `--allow-deprecated-quantization`. From 8.0 on, a bfloat16 checkpoint",
        "of a method that is fp16 alone needs `--dtype half`.",
        "",
        "From `get_min_capability` and `get_supported_act_dtypes` of each method's class, under `model_executor/layers/quantization` in",
        "the wheel of every release (`tools/extract_quantization.py`), and the dtypes of the GPU: bfloat16 needs 8.0.",
        "",
        *methods(),
        "",
        "## Dtypes",
        "",
        "bfloat16 needs 8.0. Below it a bfloat16 checkpoint is refused up to 0.8.5 unless `--dtype half` is given, and runs in float16",
        "since (`ModelConfig`: `_get_and_verify_dtype`). These model types do not run in float16, and so run in float32 below 8.0:",
        "",
        *table(["vLLM", "model types"], unstable),
        "",
        "## fp8 caches",
        "",
        "Whether `--kv-cache-dtype fp8` is served, by the attention backend that the release picks (platforms/cuda.py:",
        "`get_attn_backend_cls`, and the `supports_` methods of the backends): `yes`, `-` for no (`KvCacheDtypeUnsupported`), or for which",
        "head sizes. V0: the V0 engine runs, which has no rules here.",
        "",
        *fp8_caches(),
        "",
        *FP8_CACHES_BELOW,
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    out.write_text(page())
    print(out)


if __name__ == "__main__":
    main()
