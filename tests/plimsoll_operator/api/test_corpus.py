"""Every object of the corpus gets its verdict from the types; the API server's is compared in tests/e2e."""

from __future__ import annotations

import pytest
from tests.data.api_corpus.load import Case, cases

from plimsoll_operator.api import KINDS, ApiError, parse_object

CASES = cases()


def test_the_corpus_covers_every_kind_both_ways() -> None:
    assert {(case.obj["kind"], case.accepted) for case in CASES} == {(kind, accepted) for kind in KINDS for accepted in (True, False)}
    assert len({case.why for case in CASES}) == len(CASES), "two cases tell the same story"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_corpus(case: Case) -> None:
    kind = KINDS[case.obj["kind"]]
    if case.accepted:
        assert parse_object(kind, case.obj).model_dump(by_alias=True)["kind"] == case.obj["kind"]
        return
    with pytest.raises(ApiError) as caught:
        parse_object(kind, case.obj)
    causes = caught.value.causes
    assert case.field in {cause.field for cause in causes}, [str(cause) for cause in causes]
    for cause in causes:
        assert "\n" not in cause.message
        assert len(str(cause)) < 400
