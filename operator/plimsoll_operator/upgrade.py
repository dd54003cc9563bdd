"""The same request under other releases of vLLM: what is decided under each, and what of it differs from the release it has.

Called by `plimsoll plan --engine-version` and `--compare-engine`. A comparison is a value: one `decide` for each release over the same
facts, then differences of what came out. Knows no pools and no memory, prints nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Final

from plimsoll_estimator import NEWEST_KNOWN, OLDEST_KNOWN, EngineVersion, InvalidInput, ResolvedArgs, flags_between, known_releases
from plimsoll_operator.api import MOST_EXTRAPOLATED_MINORS, EngineSpec, image_of_release
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.defaults import engine_defaults
from plimsoll_operator.decision.refusal.override import PIN_FIRST, is_lifted
from plimsoll_operator.facts import Facts
from plimsoll_operator.render import serve_arguments
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

_NO_DEFAULTS: Final = frozenset(
    {"version", "extrapolated", "gpu", "given", "architecture", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size",
     "enable_expert_parallel", "nnodes", "shares_experts"}
)  # fmt: skip
"""Of what an engine resolves: the question itself, and sizes of the layout, which the search chooses."""

_ENGINE: Final = "spec.engine."

Scalar = str | int | float | bool | None


class Outcome(StrEnum):
    """What becomes of the request, told from the release it has."""

    STILL_FITS = "StillFits"
    FITS_NOW = "FitsNow"
    NO_LONGER_FITS = "NoLongerFits"
    DOES_NOT_FIT = "DoesNotFit"
    NOT_KNOWN = "NotKnown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A field of the manifest that must say something else for the release: from, to. `old` is None where it is not there."""

    field: str
    old: str | None
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something of one name with another value: a figure of the plan, an argument of the pods, a default. None: not there."""

    name: str
    old: Scalar
    new: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict under one release, and the `vllm serve` arguments of the plan's pods; empty without a plan.

    `edits` is what the manifest must change to be that request, `note` what of it nobody can write from here.
    `stored_as_a_warning` says what becomes of a rejection that policy or bypass have made a warning.
    """

    version: EngineVersion
    verdict: Verdict
    arguments: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    note: str = ""
    stored_as_a_warning: str = ""

    @property
    def plan(self) -> Plan | None:
        """The plan, where there is one."""
        return self.verdict.plan if isinstance(self.verdict, Admit | Resize) else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of a plan."""
        return self.verdict.warnings if isinstance(self.verdict, Admit | Resize) else ()

    @property
    def patch_json(self) -> str:
        """The edits as a JSON merge patch on the InferenceDeployment; an empty object where there are none."""
        engine = {edit.field.removeprefix(_ENGINE): edit.new for edit in self.edits}
        return json.dumps({"spec": {"engine": engine}} if engine else {}, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One other release against the present one.

    `figures` are fields of the plan that differ, of its predicted memory as `predicted.<component>`; empty unless both have a plan.
    `arguments` are those of the pods, `defaults` what vLLM makes of arguments that the spec leaves open, on `defaults_on` (product and
    parallel sizes of the plan that both are asked about; empty without a plan). `flags_new` and `flags_gone` are of `vllm serve` itself.
    """

    judged: Judged
    outcome: Outcome
    figures: tuple[Change, ...] = ()
    arguments: tuple[Change, ...] = ()
    defaults: tuple[Change, ...] = ()
    defaults_on: str = ""
    flags_new: tuple[str, ...] = ()
    flags_gone: tuple[str, ...] = ()
    warnings_new: tuple[str, ...] = ()
    warnings_gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One request: under the release it has (or is judged as), and what differs under each of the others."""

    present: Judged
    others: tuple[Difference, ...]

    @property
    def judged(self) -> tuple[Judged, ...]:
        """The request under every release, the present one first."""
        return (self.present, *(other.judged for other in self.others))


def release_named(text: str, field: str) -> EngineVersion:
    """A release as an option names it. Raises InvalidInput naming `field`: no release number, none that was published, too old, too new.

    Releases behind the newest known one are taken as the manifest's are: how far may be extrapolated is the FitPolicy's to say.
    """
    try:
        version = EngineVersion.parse(text)
    except InvalidInput as error:
        raise InvalidInput(field, text, error.limit) from error
    if version < OLDEST_KNOWN:
        raise InvalidInput(field, text, f"is older than {OLDEST_KNOWN}, the oldest release with known rules")
    if version.major != NEWEST_KNOWN.major or version.minor > NEWEST_KNOWN.minor + MOST_EXTRAPOLATED_MINORS:
        most = f"by more than the {MOST_EXTRAPOLATED_MINORS} minors that any FitPolicy extrapolates"
        limit = f"is newer than {NEWEST_KNOWN}, the newest release with known rules, {most}"
        raise InvalidInput(field, text, limit)
    published = [str(release) for release in known_releases() if release.minor_key == version.minor_key]
    if version.minor_key < NEWEST_KNOWN.minor_key and str(version) not in published:
        raise InvalidInput(field, text, f"is no release of vLLM: of {version.major}.{version.minor} there are {', '.join(published)}")
    return version


def judge(facts: Facts, version: EngineVersion | None = None) -> Judged:
    """The verdict on the request as it is, or as if its engine were that release."""
    return _judged(facts, version)[1]


def compare(facts: Facts, versions: Sequence[EngineVersion], present: EngineVersion | None = None) -> Comparison:
    """The request under the release it has (or `present`) against each of `versions`; one that is the present one is left out."""
    now, base = _judged(facts, present)
    others = [_judged(facts, version) for version in dict.fromkeys(versions) if version != base.version]
    return Comparison(present=base, others=tuple(_difference(now, base, then, other) for then, other in others))


def _judged(facts: Facts, version: EngineVersion | None) -> tuple[Facts, Judged]:
    """The verdict with the facts that it is about: of the same request, its manifest changed to the release and nothing else."""
    deployment = facts.deployment
    engine = deployment.spec.engine
    edits: tuple[Edit, ...] = ()
    note = ""
    if version is not None and version != engine.engine_version:
        edits, note = _edits(engine, version)
        engine = engine.model_copy(update={edit.field.removeprefix(_ENGINE): edit.new for edit in edits})
        deployment = deployment.model_copy(update={"spec": deployment.spec.model_copy(update={"engine": engine})})
        facts = replace(facts, deployment=deployment)
    verdict = decide(facts)
    arguments = tuple(serve_arguments(deployment, verdict.plan)) if isinstance(verdict, Admit | Resize) else ()
    lifted = isinstance(verdict, Reject) and is_lifted(verdict, facts)
    return facts, Judged(
        version=engine.engine_version,
        verdict=verdict,
        arguments=arguments,
        edits=edits,
        note=note,
        stored_as_a_warning=f"stored all the same, as a warning. {PIN_FIRST}" if lifted else "",
    )


def _edits(engine: EngineSpec, version: EngineVersion) -> tuple[tuple[Edit, ...], str]:
    """What image and version must say, and what cannot be said from here."""
    release = str(version)
    edits = []
    if engine.version is not None:
        edits.append(Edit(field="spec.engine.version", old=engine.version, new=release))
    image = image_of_release(engine.image, release)
    if image is None:
        return tuple(edits), f"spec.engine.image must name an image of vLLM {release}: the tag of {engine.image} does not tell its release"
    edits.append(Edit(field="spec.engine.image", old=engine.image, new=image))
    note = "" if "@" not in engine.image else f"pin the digest of {image} where the manifest pinned one: it is not known here"
    return tuple(edits), note


def _difference(now: Facts, base: Judged, then: Facts, other: Judged) -> Difference:
    plan = base.plan or other.plan
    new, gone = flags_between(base.version, other.version) if base.version >= OLDEST_KNOWN else ((), ())
    return Difference(
        judged=other,
        outcome=_outcome(base.verdict, other.verdict),
        figures=_figures(base.plan, other.plan),
        arguments=_arguments(base, other),
        defaults=() if plan is None else _defaults(engine_defaults(now, plan), engine_defaults(then, plan)),
        defaults_on="" if plan is None else _where(plan),
        flags_new=new,
        flags_gone=gone,
        warnings_new=tuple(line for line in other.warnings if line not in base.warnings),
        warnings_gone=tuple(line for line in base.warnings if line not in other.warnings),
    )


def _outcome(base: Verdict, other: Verdict) -> Outcome:
    if isinstance(other, Undecided):
        return Outcome.NOT_KNOWN
    fitted, fits = isinstance(base, Admit | Resize), not isinstance(other, Reject)
    if fits:
        return Outcome.STILL_FITS if fitted else Outcome.FITS_NOW
    return Outcome.NO_LONGER_FITS if fitted else Outcome.DOES_NOT_FIT


def _where(plan: Plan) -> str:
    sizes = (("tensor", plan.tensor_parallel_size), ("pipeline", plan.pipeline_parallel_size), ("data", plan.data_parallel_size))
    return f"{plan.product} at " + ", ".join(f"{name} parallel size {size}" for name, size in sizes if size > 1 or name == "tensor")


def _flat(plan: Plan) -> dict[str, Scalar]:
    """The plan's fields, its predicted memory by component, lists as text."""
    found: dict[str, Scalar] = {}
    for name, value in asdict(plan).items():
        if isinstance(value, dict):
            found |= {f"{name}.{part}": size for part, size in value.items()}
        else:
            found[name] = value if isinstance(value, str | int | float | bool | None) else json.dumps(value, separators=(",", ":"))
    return found


def _figures(old: Plan | None, new: Plan | None) -> tuple[Change, ...]:
    if old is None or new is None:
        return ()
    before, after = _flat(old), _flat(new)
    return tuple(
        Change(name=name, old=before[name], new=after[name]) for name in before if name != "engine_version" and before[name] != after[name]
    )


def _arguments(base: Judged, other: Judged) -> tuple[Change, ...]:
    """Arguments of the pods that only one of both has, or has so; one without a value is true. What the user wrote is in both."""
    if base.plan is None or other.plan is None:
        return ()
    gone = list((Counter(base.arguments) - Counter(other.arguments)).elements())
    come = list((Counter(other.arguments) - Counter(base.arguments)).elements())
    before, after = ({name: value or True for name, _, value in (token.partition("=") for token in tokens)} for tokens in (gone, come))
    return tuple(Change(name=name, old=before.get(name), new=after.get(name)) for name in dict.fromkeys([*before, *after]))


def _defaults(old: ResolvedArgs | None, new: ResolvedArgs | None) -> tuple[Change, ...]:
    """What the two releases make of what the spec leaves open. Where one has no answer, nothing can be compared."""
    if old is None or new is None:
        return ()
    changes = []
    for name in (field.name for field in fields(ResolvedArgs) if field.name not in _NO_DEFAULTS):
        before, after = getattr(old, name), getattr(new, name)
        if getattr(old.given, name, None) is None and before != after:
            changes.append(Change(name=name, old=before, new=after))
    return tuple(changes)
