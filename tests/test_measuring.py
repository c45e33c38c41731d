"""What benchmarks say of times: nothing follows from a quotient whose spread is larger than its distance from 1."""

import time

import pytest

from benchmarks.measuring import Quotient, Times, clock_of, times_in_turns


@pytest.mark.parametrize(
    ("of_rounds", "written"),
    [
        ((2.0, 2.0, 2.0), "2.00 (2.00 to 2.00)"),
        ((1.1, 1.2, 1.3, 1.2, 1.2), "1.20 (1.20 to 1.20)"),
        ((0.9, 1.0, 1.3, 1.2, 1.1), "1.10 (1.00 to 1.20) ?"),
        ((0.5, 0.6, 0.7), "0.60 (0.55 to 0.65)"),
        ((0.8, 0.95, 1.0), "0.95 (0.88 to 0.97) ?"),
        ((3.0,), "3.00 (3.00 to 3.00) ?"),
    ],
)
def test_a_quotient_is_written_with_its_spread_and_whether_anything_follows(of_rounds, written: str) -> None:
    quotient = Quotient(of_rounds)
    assert f"{quotient:.2f}" == written and quotient.decided == (not written.endswith("?"))


def test_a_way_over_itself_is_one_without_a_spread() -> None:
    assert f"{Times((1.0, 2.0), (3.0, 4.0)).over(Times((1.0, 2.0), (3.0, 4.0)), 'cpu'):.3f}" == "1"


def test_times_are_compared_round_by_round_on_a_cpu_by_the_processor_s() -> None:
    one, other = Times((2.0, 4.0, 9.0), (1.0, 2.0, 3.0)), Times((1.0, 2.0, 3.0), (4.0, 4.0, 4.0))
    assert one.over(other, "wall").of_rounds == (2, 2, 3) and one.over(other, "cpu").of_rounds == (0.25, 0.5, 0.75)
    assert (one.median("wall"), one.median("cpu")) == (4, 2)
    assert [clock_of(device) for device in ("cpu", "cuda", "mps")] == ["cpu", "wall", "wall"]


def test_waiting_is_time_by_the_clock_alone() -> None:
    order: list[str] = []

    def work() -> None:
        order.append("work")
        began = time.process_time()
        while time.process_time() - began < 0.05:
            pass

    def wait() -> None:
        order.append("wait")
        time.sleep(0.05)

    found = times_in_turns({"work": work, "wait": wait}, 3, lambda: order.append("synchronised"))
    assert [name for name in order if name != "synchronised"] == ["work", "wait", "wait", "work", "work", "wait"]
    assert order.count("synchronised") == 2 * 6
    assert min(found["work"].cpu) >= 0.05 and min(found["wait"].wall) >= 0.05 and max(found["wait"].cpu) < 0.03
    assert found["work"].over(found["wait"], "cpu").decided
