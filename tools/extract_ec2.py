"""Reads EC2's instance types with GPUs off Karpenter's reference page and writes the table that ships.

    python -m tools.extract_ec2 PAGE.md --source URL --date YYYY-MM-DD [OUT]

The page is website/content/en/docs/reference/instance-types.md of aws/karpenter-provider-aws, which that project generates from EC2's own
answers; URL names the commit it was taken at, the date is the commit's. A GPU's name that is new needs a row in clouds.json, or its nodes
are doubted: tests/plimsoll_operator/capacity/test_clouds.py says which.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path

TABLE = Path(__file__).parents[1] / "operator" / "plimsoll_operator" / "capacity" / "data" / "ec2.json"
ABOUT = (
    "EC2 instance types with GPUs as Karpenter labels them: manufacturer, instance-gpu-name, instance-gpu-memory in MiB, "
    "instance-gpu-count (0: a part of a card), architecture. Written by tools/extract_ec2.py."
)
_TYPE = re.compile(r"### `([a-z0-9.-]+)`")
_LABEL = re.compile(r"\s*\|(?:karpenter\.k8s\.aws/instance-)?([a-z0-9./-]+)\|([^|]*)\|")
Row = tuple[str, str, int, int, str]


def types_of(page: str) -> dict[str, Row]:
    """(manufacturer, name, MiB, count, architecture) of every type that the page gives a GPU."""
    found: dict[str, dict[str, str]] = {}
    labels: dict[str, str] = {}
    for line in page.splitlines():
        heading, label = _TYPE.match(line), _LABEL.match(line)
        if heading is not None:
            labels = found.setdefault(heading[1], {})
        elif label is not None:
            labels.setdefault(label[1], label[2])
    return {kind: _row(labels) for kind, labels in sorted(found.items()) if "gpu-name" in labels}


def _row(labels: Mapping[str, str]) -> Row:
    numbers = int(labels.get("gpu-memory", "0")), int(labels.get("gpu-count", "0"))
    return labels.get("gpu-manufacturer", ""), labels["gpu-name"], *numbers, labels.get("kubernetes.io/arch", "")


def document(types: Mapping[str, Row], source: str, date: str) -> str:
    """The table as text, a type a line."""
    rows = ",\n".join(f"  {json.dumps(kind)}: {json.dumps(row)}" for kind, row in types.items())
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in (("about", ABOUT), ("source", source), ("date", date)))
    return f'{{\n{head} "types": {{\n{rows}\n }}\n}}\n'


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("--date", required=True)
    parser.add_argument("out", type=Path, nargs="?", default=TABLE)
    options = parser.parse_args()
    options.out.write_text(document(types_of(options.page.read_text(encoding="utf-8")), options.source, options.date), encoding="utf-8")


if __name__ == "__main__":
    main()
