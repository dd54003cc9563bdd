"""Values of the search: a layout on products before it is judged, and what judging it gave.

Made by `candidates` and `evaluate`, read by whoever makes a plan or a refusal of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_operator.decision.fit.fit import Fit
from plimsoll_operator.decision.fit.host import PodNeeds
from plimsoll_operator.decision.fit.life import Life
from plimsoll_operator.decision.fit.miss import Miss
from plimsoll_operator.decision.search.layouts import Kind, Layout
from plimsoll_operator.decision.search.products import Product
from plimsoll_operator.facts import PoolFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One layout on one product, or on several at once, and what is known of it before any arithmetic."""

    products: tuple[Product, ...]
    kind: Kind
    layout: Layout
    available: bool
    cost: int

    @property
    def name(self) -> str:
        """Products by name, for the last tie-break and for people."""
        return ",".join(product.gpu.product for product in self.products)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A candidate that fits: the tightest product's fit, and the pools its pods may land on.

    `may_surge`: GPUs for one replica more than wanted are free there now, so that an update need not stop one first.
    `needs` is what one pod asks of its node, `life` how long it may take to start and to end.
    """

    candidate: Candidate
    product: Product
    fit: Fit
    pools: tuple[PoolFacts, ...]
    losses: tuple[str, ...] = ()
    replicas_needed: int = 0
    may_surge: bool = False
    needs: PodNeeds
    life: Life


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A candidate that does not fit, and why. `others` are what other pools of it lack, where that is something else."""

    candidate: Candidate
    miss: Miss
    others: tuple[Miss, ...] = ()
