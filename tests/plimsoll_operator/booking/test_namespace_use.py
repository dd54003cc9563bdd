"""What a namespace's deployments are promised together is what each of them is promised, whatever has come and gone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.booking.reservation import Reservation
from plimsoll_operator.decision.checks.caps import use_of_plan
from plimsoll_operator.facts import NamespaceUse

KEYS = [(namespace, name) for namespace in ("n", "m") for name in ("a", "b")]
RESERVED = st.one_of(
    st.none(),
    st.builds(
        lambda gpus, replicas: Reservation(plan=replace(PLAN, tensor_parallel_size=gpus, gpus_per_replica=gpus), replicas=replicas),
        st.integers(1, 8),
        st.integers(0, 3),
    ),
)


@given(st.lists(st.tuples(st.sampled_from(KEYS), RESERVED), max_size=12))
def test_beside_a_deployment_is_what_the_others_are_promised(steps: list[tuple[tuple[str, str], Reservation | None]]) -> None:
    ledger = Ledger()
    for key, reservation in steps:
        ledger.reserve(key, reservation)
        for asked in KEYS:
            promised = {other: ledger.reserved(other) for other in KEYS if other[0] == asked[0] and other != asked}
            uses = [use_of_plan(found.plan, found.replicas) for found in promised.values() if found is not None]
            assert ledger.use_beside(asked) == NamespaceUse.of(uses)
    for key in KEYS:
        ledger.reserve(key, None)
    assert not ledger._used, "namespaces without a promise leave nothing"
