"""Long lists of few objects: told apart by the object, whatever their values are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_estimator.objects import by_object, for_each, numbered, uniform


class Thing:
    """Equal to every other of its kind."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    def __hash__(self) -> int:
        return 0


THINGS = [Thing(), Thing(), Thing()]
things = st.lists(st.integers(0, 2), max_size=40).map(lambda picks: [THINGS[pick] for pick in picks])


@given(things)
def test_every_object_is_found_once_in_order_of_appearance(found: list[Thing]) -> None:
    once = list(by_object(found).values())
    assert [THINGS.index(one) for one in THINGS] == [0, 0, 0]  # as values they are one
    assert list(map(id, once)) == list(dict.fromkeys(map(id, found)))
    assert list(by_object(found)) == list(map(id, once))


@given(things)
def test_a_list_is_uniform_where_it_has_at_most_one_object(found: list[Thing]) -> None:
    assert uniform(found) is (len(set(map(id, found))) <= 1)


@given(things)
def test_each_gets_what_is_known_of_its_object(found: list[Thing]) -> None:
    known = {key: f"of {key}" for key in by_object(found)}
    assert for_each(found, known) == tuple(f"of {id(one)}" for one in found)


@given(things)
def test_a_number_leads_from_each_thing_to_its_object(found: list[Thing]) -> None:
    once, order = numbered(found)
    assert list(map(id, once)) == list(by_object(found))
    assert all(once[number] is one for number, one in zip(order, found, strict=True))
