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


def test_waiting_is_time_by_the_clock_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {"wall": 100.0, "cpu": 7.0}
    order: list[str] = []

    def pass_time(name: str, **seconds: float) -> None:
        order.append(name)
        for clock, spent in seconds.items():
            clocks[clock] += spent

    monkeypatch.setattr(time, "perf_counter", lambda: clocks["wall"])
    ways = {"work": lambda: pass_time("work", wall=2, cpu=4), "wait": lambda: pass_time("wait", wall=3, cpu=0.5)}
    found = times_in_turns(ways, 3, lambda: pass_time("synchronised", wall=1), lambda: clocks["cpu"])
    assert [name for name in order if name != "synchronised"] == ["work", "wait", "wait", "work", "work", "wait"]
    assert order[:3] == ["synchronised", "work", "synchronised"] and order.count("synchronised") == 2 * 6
    assert found == {"work": Times((3.0,) * 3, (4.0,) * 3), "wait": Times((4.0,) * 3, (0.5,) * 3)}


def test_by_default_sleep_takes_none_of_the_processor_s_time() -> None:
    found = times_in_turns({"sleep": lambda: time.sleep(0.2)}, 3)["sleep"]
    assert min(found.wall) >= 0.2 and min(found.cpu) < min(found.wall)
