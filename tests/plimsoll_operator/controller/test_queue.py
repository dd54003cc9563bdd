import pytest

from plimsoll_operator.controller.loops.work_queue import WorkQueue

A, B = ("ns", "a"), ("ns", "b")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_key_waits_at_most_once() -> None:
    queue = WorkQueue[tuple[str, str]](Clock())
    queue.add(A)
    queue.add(B)
    queue.add(A)
    assert [queue.take(0), queue.take(0), queue.take(0)] == [A, B, None]


def test_a_key_added_while_it_is_worked_on_comes_again_and_only_after_done() -> None:
    queue = WorkQueue[tuple[str, str]](Clock())
    queue.add(A)
    assert queue.take(0) == A
    queue.add(A)
    assert queue.take(0) is None
    queue.done(A)
    assert queue.take(0) == A


def test_retries_wait_twice_as_long_each_time_until_success() -> None:
    clock = Clock()
    queue = WorkQueue[tuple[str, str]](clock)
    delays = [queue.retry(A) for _ in range(3)]
    assert delays == [0.05, 0.1, 0.2]
    assert [queue.retry(B) for _ in range(30)][-1] == 60.0
    queue.succeeded(A)
    assert queue.retry(A) == 0.05


def test_a_delayed_key_is_handed_out_when_it_is_due_and_counts_as_depth_before() -> None:
    clock = Clock()
    queue = WorkQueue[tuple[str, str]](clock)
    queue.add_after(A, 5)
    assert queue.depth() == 1
    clock.now += 5
    assert queue.take(0) == A
    assert queue.depth() == 0


def test_what_only_time_brings_back_comes_after_what_has_changed() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("capped", 30, unchanged=True)
    queue.add_after("changed", 30, unchanged=True)
    queue.add_after("changed", 40)
    clock.now += 30
    assert [queue.take(0), queue.take(0)] == ["changed", "capped"]


def test_a_closed_queue_wakes_its_worker_with_nothing() -> None:
    queue = WorkQueue[tuple[str, str]](Clock())
    queue.add(A)
    queue.close()
    assert queue.take() is None


def test_a_retry_waits_as_long_as_the_other_side_asks_and_never_less_than_its_own_delay() -> None:
    queue = WorkQueue[tuple[str, str]](Clock())
    assert queue.retry(A, not_before=30.0) == 30.0
    assert queue.retry(A, not_before=0.01) == 0.1
    assert queue.retry(A, not_before=None) == 0.2


def test_groups_are_served_in_turn_and_each_in_its_own_order() -> None:
    queue: WorkQueue[tuple[str, int]] = WorkQueue(lambda: 0.0, group=lambda key: key[0])
    for number in range(1000):
        queue.add(("many", number))
    queue.add(("few", 1))
    queue.add(("few", 2))
    taken = [queue.take(0) for _ in range(5)]
    assert taken == [("many", 0), ("few", 1), ("many", 1), ("few", 2), ("many", 2)]
    assert queue.depth() == 997


def test_a_group_that_comes_back_does_not_overtake_those_that_wait() -> None:
    queue: WorkQueue[tuple[str, int]] = WorkQueue(lambda: 0.0, group=lambda key: key[0])
    queue.add(("a", 1))
    queue.add(("b", 1))
    assert queue.take(0) == ("a", 1)
    queue.add(("a", 2))
    assert [queue.take(0), queue.take(0)] == [("b", 1), ("a", 2)]


def test_what_has_changed_goes_before_what_is_looked_at_again_which_still_has_its_turn() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    for number in range(3):
        queue.add(f"old-{number}", unchanged=True)
    for number in range(5):
        queue.add(f"new-{number}")
    taken = [queue.take(0) for _ in range(8)]
    assert taken == ["new-0", "new-1", "new-2", "old-0", "new-3", "new-4", "old-1", "old-2"]
    assert queue.take(0) is None


def test_a_key_that_waits_to_be_looked_at_again_and_then_changes_waits_once_and_with_the_changed() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    for key in ("a", "b", "c"):
        queue.add(key, unchanged=True)
    queue.add("c")
    queue.add("c", unchanged=True)
    assert queue.depth() == 3
    assert [queue.take(0) for _ in range(4)] == ["c", "a", "b", None]


@pytest.mark.parametrize("change_first", [True, False])
def test_a_change_during_the_work_on_a_key_is_a_change_whatever_else_wakes_it(change_first: bool) -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("a", unchanged=not change_first)
    queue.add("a", unchanged=change_first)
    queue.add("other", unchanged=True)
    queue.done("a")
    assert [queue.take(0), queue.take(0)] == ["a", "other"]


def test_a_failed_change_comes_back_as_a_change_and_a_failed_look_as_a_look() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("changed")
    queue.add("again", unchanged=True)
    for _ in range(2):
        key = queue.take(0)
        assert key is not None
        queue.retry(key)
        queue.done(key)
    clock.now += 1
    queue.add("first", unchanged=True)
    assert [queue.take(0) for _ in range(3)] == ["changed", "first", "again"]


def test_what_does_not_last_comes_before_all_others_of_its_group_also_while_it_is_worked_on() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock(), group=lambda key: key[0])
    for key in ("a1", "a2", "a3", "b1"):
        queue.add(key)
    assert queue.take(0) == "a1"
    queue.add_first("a1")
    queue.add_first("a3")
    queue.done("a1")
    assert [queue.take(0) for _ in range(4)] == ["b1", "a1", "a3", "a2"]
