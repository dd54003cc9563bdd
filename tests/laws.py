"""How many examples a law is tried with, called by every test that draws them with Hypothesis.

`make unit` tries each law with a tenth (the profile `quick`), so that it ends while its reader still waits; everything else,
CI first of all, tries all of them.
"""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import HealthCheck, Phase, settings

FULL = "unhurried"
QUICK = "quick"
SHARE = 10
FEWEST = 5


def register_profiles() -> None:
    """What a law takes says how busy the machine is, not whether it holds: no deadlines, pytest-timeout ends what hangs."""
    settings.register_profile(FULL, parent=settings(), deadline=None)
    settings.register_profile(QUICK, parent=settings.get_profile(FULL), max_examples=settings.get_profile(FULL).max_examples // SHARE)
    settings.load_profile(FULL)


def law(
    examples: int,
    *,
    derandomize: bool = False,
    phases: Collection[Phase] = tuple(Phase),
    suppress_health_check: Collection[HealthCheck] = (),
) -> settings:
    """Settings of a law with its `examples`, or a tenth of them (at least 5) for `make unit`; `derandomize` draws the same each time."""
    if settings.get_current_profile_name() == QUICK:
        examples = max(examples // SHARE, min(examples, FEWEST))
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=derandomize,
        phases=phases,
        suppress_health_check=suppress_health_check,
    )
