"""What `plimsoll observe` shows of logs without a prediction, kept in tests/data/screens; run as a module to write it anew."""

from __future__ import annotations

import contextlib
import io
from typing import Final

from tests.folders import DATA

from plimsoll_operator.cli import main

LOGS: Final = DATA / "engine_logs"
SCREENS: Final = {  # by the log, and what is asked beside it
    "observe-refused": ("laguna-kv-refusal-0.25.1.log",),
    "observe-alone": ("glm51-nvfp4-tp8-0.20.2.log",),
    "observe-no-kernel": ("nemotron-no-kernel-0.26.0.log", "--model", "x/y", "--gpu", "NVIDIA-GB10"),
}


def shown(name: str) -> str:
    out = io.StringIO()
    file, *more = SCREENS[name]
    with contextlib.chdir(LOGS), contextlib.redirect_stdout(out):
        main(["observe", file, *more])
    return out.getvalue()


if __name__ == "__main__":
    for screen in SCREENS:
        (DATA / "screens" / f"{screen}.txt").write_text(shown(screen), "utf-8")
