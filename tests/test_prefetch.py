"""Results that threads compute in advance: in order, not too many, and no more once nobody asks."""

import threading
import time

import pytest

from sth_core.prefetch import prefetch


def test_results_come_in_order_whichever_is_ready_first() -> None:
    def slow_first(i: int) -> int:
        time.sleep(0.02 * (i % 3 == 0))
        return i * i

    assert list(prefetch(slow_first, range(10), workers=4, ahead=3)) == [i * i for i in range(10)]
    assert list(prefetch(slow_first, [], workers=1, ahead=1)) == []


@pytest.mark.parametrize("ahead", [0, 2, 5])
def test_no_more_than_asked_for_are_begun_in_advance(ahead: int) -> None:
    begun: list[int] = []
    results = prefetch(lambda i: begun.append(i) or i, iter(range(100)), workers=2, ahead=ahead)
    for i in range(10):
        assert next(results) == i and len(begun) <= i + 1 + ahead
    results.close()
    assert len(begun) <= 10 + ahead


def test_closing_cancels_what_has_not_begun() -> None:
    first, go_on = threading.Event(), threading.Event()
    begun: list[int] = []

    def wait(i: int) -> int:
        begun.append(i)
        if i == 1:
            first.set()
            go_on.wait(120)
        return i

    results = prefetch(wait, range(50), workers=1, ahead=20)
    assert next(results) == 0 and first.wait(120)
    threading.Timer(1, go_on.set).start()
    results.close()  # waits for the one that is under way
    assert begun == [0, 1]


def test_an_exception_comes_in_the_place_of_its_result() -> None:
    results = prefetch(lambda i: 1 // (2 - i), range(5), workers=2, ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
