"""A seeded sample of the bad inputs of `sth benchmark hostile_inputs`, each given to a command in this process."""

from pathlib import Path

import pytest

from benchmarks.hostile_cases import MAKERS, Goods, make_case, make_goods
from benchmarks.hostile_inputs import FAULTS, HostileOutcome, answer_of, judged, print_summary

SEED, EACH = 7, 3


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> Goods:
    return make_goods(tmp_path_factory.mktemp("hostile") / "goods")


@pytest.mark.long
@pytest.mark.parametrize("kind", MAKERS)
def test_a_bad_input_is_refused_in_a_sentence_or_named(goods: Goods, tmp_path: Path, kind: str) -> None:
    """And changes nothing of the good ones: what was recorded of them equals what is recorded without it."""
    for i in range(EACH if kind != "earlier output" else 1):  # each of these is two commands or more
        number = list(MAKERS).index(kind) + i * len(MAKERS)
        case = make_case(goods, tmp_path / str(number), number, SEED)
        verdict, detail = judged(case, answer_of(case.words))
        assert verdict not in FAULTS, f"{number}: {case.name}: {verdict}: {detail}"


def test_the_table_counts_what_became_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [HostileOutcome("video", "", verdict, "", 1.5, 2**20) for verdict in ("refused", "done", "done", "hang")]
    print_summary(outcomes)
    assert capsys.readouterr().out.splitlines()[2] == "| video | 4 | 1 | 2 | 0 | 1 | 0 | 0 | 0 | 0 | 0 | 1.5 | 1 |"
