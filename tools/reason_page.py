"""Writes docs/reasons.md: every reason of a verdict, a condition, an event, a pool or a check of vLLM's, as `plimsoll explain` says it.

    python -m tools.reason_page [OUT]

The table that the command prints is read, so page and command cannot differ; what people see when a reason applies is in
docs/troubleshooting.md, by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from plimsoll_estimator import Check
from plimsoll_operator.capacity.problems import Problem
from plimsoll_operator.cli.explain import EXPLAINED
from plimsoll_operator.reasons import CONDITION_REASONS, Reason

ROOT: Final = Path(__file__).parents[1]
DEFAULT_OUT: Final = ROOT / "docs" / "reasons.md"
OPENING: Final = """# Reasons

Every word that stands as a reason, what it means, and what to do. Written by `python -m tools.reason_page`;
`plimsoll explain REASON` prints the same. Who begins with what they see, not with a word, reads [troubleshooting](troubleshooting.md).
House words are in the [glossary](words.md).
"""
CHAPTERS: Final = (
    (
        "Verdicts",
        "In the answer to `kubectl apply`, in `plimsoll plan`, in the condition `Feasible` and in the metric of reviews.",
        Reason,
    ),
    (
        "Conditions and events",
        "In `status.conditions` of InferenceDeployments, profiles, GPUPools, FitPolicies and EngineCalibrations, and in events.",
        CONDITION_REASONS,
    ),
    (
        "Problems of nodes",
        "In `status.problems` and the condition `Trusted` of a GPUPool; [capacity](capacity.md#what-is-doubted) has what leads to each.",
        Problem,
    ),
    (
        "Checks of vLLM",
        "What vLLM itself would stop at: in the message of `EngineRefuses`, and in `plimsoll estimate`.",
        Check,
    ),
)


def cell(text: str) -> str:
    """A sentence in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(names: Iterable[str]) -> str:
    """Reasons, by name, as the command explains them."""
    rows = [f"| `{name}` | {cell(EXPLAINED[name][0])} | {cell(EXPLAINED[name][1])} |" for name in sorted(names)]
    return "\n".join(["| reason | means | do |", "|---|---|---|", *rows])


def page() -> str:
    """The whole page."""
    parts = [OPENING.strip()]
    for title, where, members in CHAPTERS:
        parts += [f"## {title}", where, table(str(member) for member in members)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the page."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    out.write_text(page(), "utf-8")
    print(out)


if __name__ == "__main__":
    main()
