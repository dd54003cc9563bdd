"""Tables of `plimsoll fit` as tests ask for them, and the screens that golden files show; run as a module it writes those files anew.

`make shown` runs it after figures have changed for a reason.
"""

from pathlib import Path
from typing import Any

from tests.plimsoll_operator.nodes import H100, L4, T4

from plimsoll_estimator import EngineVersion
from plimsoll_operator.cli.fit.request import FitRequest
from plimsoll_operator.cli.fit.rows import Table, table_of
from plimsoll_operator.cli.fit.text import lines_of
from plimsoll_operator.cli.screen import Screen
from plimsoll_operator.cli.world import World
from plimsoll_operator.ports import Manifest

FOLDER = Path(__file__).resolve().parents[2] / "data" / "screens"
SCREENS = {
    "fit-60": Screen(width=60),
    "fit-100": Screen(width=100, blocks=True),
    "fit-200": Screen(width=200, blocks=True, colour=True),
    "fit-pipe": Screen(),
}
MODEL = "meta-llama/Llama-3.3-70B-Instruct"


def world_of(*nodes: Manifest) -> World:
    world = World()
    world.nodes += [{"kind": "Node", "apiVersion": "v1", **node} for node in nodes or (H100, L4, T4)]
    world.derive_pools()
    return world


def table(model: str = MODEL, *nodes: Manifest, version: str = "0.19.0", products: tuple[str, ...] = (), **wish: Any) -> Table:
    return table_of(FitRequest(model=model, version=EngineVersion.parse(version), **wish), world_of(*nodes), products, "files")


def shown(screen: Screen) -> str:
    lines = lines_of(table(lengths=(8192, 131072)), screen, "plimsoll fit llama-3.3-70b --context 8K,128K")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, screen in SCREENS.items():
        (FOLDER / f"{name}.txt").write_text(shown(screen), "utf-8")
