"""Two minutes of anything: the short form of `make fuzz`, always with the same objects unless SEED says otherwise.

Three tenants and an administrator on a control plane of their own. The long form also kills both programs in the middle.
"""

import os
from pathlib import Path

import pytest
from tests.fuzz.run import Plan, running

pytestmark = pytest.mark.e2e
SEED = int(os.environ.get("SEED", "20261129"))
MINUTES = 1.0


@pytest.mark.timeout(900)
def test_nothing_that_a_tenant_may_write_stops_the_programs_or_holds_up_another_tenant(workdir: Path) -> None:
    plan = Plan(seed=SEED, minutes=MINUTES, operations=round(MINUTES * 1000), kills=False)
    print(f"seed {SEED}")
    with running(plan, workdir / "fuzz") as run:
        run.go()
        summary = run.summary()
    print(summary)
    assert run.problems == [], summary
    assert run.journal.total() > plan.operations // 4, summary
    assert len(run.honest.waits) > 20, summary
