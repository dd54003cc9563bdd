"""`plimsoll` as somebody with a kubeconfig runs it, and what its doctor finds: for the end-to-end tests of the command."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.installation import ROOT, Installation


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the command printed, one finding a line, and its exit status."""

    status: int
    lacks: tuple[str, ...]
    texts: tuple[str, ...]


def command(kubeconfig: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"KUBECONFIG": str(kubeconfig)}
    program = str(Path(sys.executable).with_name("plimsoll"))
    return subprocess.run([program, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)


def doctor(installation: Installation, *words: str, kubeconfig: Path | None = None) -> Told:
    done = command(kubeconfig or installation.cluster.kubeconfig, "doctor", "-o", "json", *words)
    assert done.returncode in (0, 1), done.stderr
    findings = json.loads(done.stdout)
    lacks = tuple(row["text"] for row in findings if row["level"] == "lack")
    return Told(status=done.returncode, lacks=lacks, texts=tuple(row["text"] for row in findings))
