"""One decision under way: what was asked, and what is found out about it, each piece worked out when a step first asks for it.

Read by `steps`, which say in which order the pieces are asked for: that order is part of the answer, since effort is spent in it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from plimsoll_estimator import overridden
from plimsoll_operator.decision.checks.checks import Checked, first_finding
from plimsoll_operator.decision.effort import Effort
from plimsoll_operator.decision.fit.engine import Engine, engine_for
from plimsoll_operator.decision.refusal.layout import no_layout
from plimsoll_operator.decision.refusal.rejection import leader_worker_set_missing, rejection
from plimsoll_operator.decision.request.placement import Matched, match
from plimsoll_operator.decision.request.request import read_request
from plimsoll_operator.decision.search.candidate import Found, Missed
from plimsoll_operator.decision.search.moves import Mover
from plimsoll_operator.decision.search.products import Product, products_of
from plimsoll_operator.facts import Facts, ModelFacts
from plimsoll_operator.verdict import Change, Reject, Undecided


class Case:
    """Facts, the request read from them, and the search's findings. `for_offers` is the effort that offers may take; None: none wanted."""

    def __init__(self, facts: Facts, effort: Effort, *, with_offers: bool) -> None:
        """Raises InvalidInput where the spec contradicts itself."""
        self.facts = facts
        self.effort = effort
        self.for_offers = effort if with_offers else None
        asked = read_request(facts.deployment, facts.policy, leader_worker_set=facts.leader_worker_set, draft=facts.draft)
        # Whether vLLM needs the publisher's code is asked of the publisher's own file: a copy may name another model type.
        of_copy = isinstance(facts.model, ModelFacts) and not facts.model.as_published
        self.request = asked.with_args(trust_remote_code=None) if of_copy else asked

    @cached_property
    def matched(self) -> Matched:
        """Pools that placement allows."""
        return match(self.request.placement, self.facts.pools)

    @cached_property
    def finding(self) -> Reject | Undecided | None:
        """What the first check has to say that has something to say."""
        return first_finding(Checked(facts=self.facts, request=self.request, matched=self.matched))

    @property
    def model(self) -> ModelFacts:
        """The model's shape: where nobody knows it, a check has said so."""
        assert isinstance(self.facts.model, ModelFacts), "an unknown model is a finding"
        return self.facts.model

    @cached_property
    def engine(self) -> Engine:
        """The estimator on this model and release. Raises Unsupported and InvalidInput where it cannot be laid out."""
        args = self.request.args
        model = replace(self.model, config=overridden(self.model.config, args.hf_overrides))  # what bounds layouts is the overridden one's
        return engine_for(model, self.request.version, self.facts.corrections, self.effort, args.speculative_model_config)

    @cached_property
    def known_products(self) -> tuple[tuple[Product, ...], tuple[str, ...]]:
        """GPU products of the allowed pools, and a sentence for each that no rule can be found for."""
        return products_of(self.matched.pools)

    @cached_property
    def mover(self) -> Mover:
        """The search on those products, beside the applied plan."""
        return self.on(self.known_products[0])

    def on(self, products: tuple[Product, ...]) -> Mover:
        """The search on other products, beside the applied plan."""
        return Mover(self.engine, products, self.facts.applied_plan)

    def afresh(self, products: tuple[Product, ...]) -> Mover:
        """The search on these products as if no plan were applied."""
        return Mover(self.engine, products, None)

    @cached_property
    def result(self) -> Found | tuple[Missed, ...]:
        """What the search finds at the values asked for, or every miss."""
        return self.mover.search(self.request)

    @cached_property
    def misses(self) -> tuple[Missed, ...]:
        """Every miss; none where something fits."""
        return () if isinstance(self.result, Found) else self.result

    @cached_property
    def as_asked(self) -> Reject:
        """Why nothing fits at the values asked for."""
        return rejection(self.request, self.misses) if self.misses else no_layout(self.facts, self.request, self.matched)

    @cached_property
    def moved(self) -> tuple[Found, tuple[Change, ...]] | None:
        """What fits once values move that the user lets move, and what moved."""
        return self.mover.resize(self.request, self.as_asked.message) if self.request.resize else None

    @cached_property
    def reject(self) -> Reject:
        """Why it is refused: where it would fit over several nodes and only the API for that is missing, that is why."""
        nodes = self.request.placement.max_nodes_per_replica
        if self.facts.leader_worker_set or nodes == 1:
            return self.as_asked
        found = self.mover.search(replace(self.request, max_nodes=nodes))
        return leader_worker_set_missing(self.request, found) if isinstance(found, Found) else self.as_asked
