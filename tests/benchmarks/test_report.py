"""Verdicts, paired ratios, and the variant of the posting function that hashes nothing."""

import pytest

from benchmarks.report import Finding, table
from benchmarks.rounds import Contender, closed_loop, paired
from benchmarks.variants import HASH, without_hash


@pytest.mark.parametrize(
    ("measured", "at_most", "verdict"),
    [
        (0.64, False, "MISSED"),
        (0.65, False, "floor"),
        (0.85, False, "stretch"),
        (1251, True, "MISSED"),
        (1250, True, "floor"),
        (1000, True, "stretch"),
        (None, False, "not run"),
    ],
)
def test_a_figure_is_judged_by_its_goal(measured, at_most, verdict):
    floor, stretch = (1250, 1000) if at_most else (0.65, 0.85)
    finding = Finding(goal="1", what="x", measured=measured, floor=floor, stretch=stretch, at_most=at_most)
    assert finding.verdict == verdict
    assert table([finding]).count("\n") == 2


def test_a_fact_without_a_goal_has_no_verdict():
    assert Finding(goal="–", what="x", measured=3).verdict == ""


def test_a_ratio_is_the_median_of_the_rounds_not_the_ratio_of_medians():
    ratio = paired([10, 20, 90], [10, 10, 100])
    assert (ratio.median, ratio.low, ratio.high) == (1.0, 0.9, 2.0)


async def test_a_closed_loop_counts_every_answer_and_waits_for_the_last():
    made, answered = [], []

    async def post(item):
        answered.append(item)

    def make():
        made.append(len(made))
        return made[-1]

    sample = await closed_loop(Contender(make=make, post=post, per_call=3), callers=4, seconds=0.01)
    assert sorted(answered) == made
    assert sample.items == 3 * len(made) > 0
    assert len(sample.latencies) == len(made)


def test_the_marked_hashing_is_replaced_by_a_constant(tmp_path):
    text = (
        "CREATE FUNCTION f() AS $function$\n    a := 1;\n"
        "    -- bench: hash begins\n    SELECT sha256('x') INTO leaves;\n    -- bench: hash ends\n    b := 2;\n"
    )
    (tmp_path / "post_entries_v1.sql").write_text(text)
    constant = f"    leaves := '\\x{'00' * 32}'::bytea;\n"
    replaced = f"CREATE OR REPLACE FUNCTION f() AS $function$\n    a := 1;\n{constant}    b := 2;\n"
    assert without_hash(tmp_path) == ("post_entries_v1.sql", replaced)
    (tmp_path / "post_entries_v1.sql").write_text(text.replace("bench:", ""))
    assert without_hash(tmp_path) is None


def test_the_shipped_function_marks_its_hashing():
    found = without_hash()
    assert found is not None
    assert not HASH.search(found[1])
    assert "sha256(string_agg" not in found[1]
