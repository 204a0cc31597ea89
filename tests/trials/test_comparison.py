"""Two records are compared in every part; each test changes one thing and expects the comparison to name it."""

import copy
import dataclasses
import math

import numpy as np
import pytest

from pipeline.trials.comparison import compare
from pipeline.trials.differences import code_differences, differences, environment_differences
from pipeline.trials.record import TrialRecord


@pytest.fixture
def record() -> TrialRecord:
    rng = np.random.default_rng(0)
    return TrialRecord(
        config={"seed": 0, "regularization": {"lambd": 0.5}},
        data={"digest": "ab"},
        outcome="pruned",
        stop_epoch=9,
        curves={"train_cost": rng.random(10), "dev_cost": rng.random(10)},
        parameters={"W1": rng.random((3, 4), dtype=np.float32), "b1": np.zeros((3, 1), np.float32)},
        summary={"best_dev_cost": 0.25},
        gradient_checks={"init": {"verdict": "good", "relative_error": 1e-9}},
        fit_curves=[{"dev_cost": rng.random(4)}],
        environment={
            "blas": [{"name": "openblas", "kernel": "SkylakeX", "threads": 1}],
            "cpu_features": ["AVX2", "AVX512F", "FMA3", "SSE42"],
            "packages": {"numpy": "2.4.6", "rich": "1.0"},
            "code": {"commit": "c0ffee"},
        },
    )


@pytest.fixture
def repeated(record: TrialRecord) -> TrialRecord:
    return copy.deepcopy(record)


def test_the_same_bits_are_identical_also_where_there_is_not_a_number(
    record: TrialRecord, repeated: TrialRecord
) -> None:
    record.curves["train_cost"][3] = repeated.curves["train_cost"][3] = np.nan
    comparison = compare(record, repeated)
    assert comparison.verdict == "identical"
    assert "same bits" in comparison.sentence
    assert comparison.explanations == {}


def test_one_changed_bit_of_a_parameter_is_found_and_named(record: TrialRecord, repeated: TrialRecord) -> None:
    bits = repeated.parameters["W1"].view(np.uint32)
    bits[2, 1] ^= 1
    comparison = compare(record, repeated)
    assert comparison.verdict == "within_tolerance"
    assert comparison.largest_at == "W1[2, 1]"
    assert 0 < comparison.largest < 1e-6
    assert compare(record, repeated, rtol=1e-9).verdict == "differs"


def test_the_sign_of_zero_is_not_identical_but_no_difference_in_size(
    record: TrialRecord, repeated: TrialRecord
) -> None:
    repeated.parameters["b1"][1] = -0.0
    comparison = compare(record, repeated)
    assert (comparison.verdict, comparison.largest) == ("within_tolerance", 0.0)


def test_the_first_epoch_and_metric_that_part_ways_are_named(record: TrialRecord, repeated: TrialRecord) -> None:
    repeated.curves["train_cost"][7:] *= 2
    repeated.curves["dev_cost"][5] *= 1.001
    comparison = compare(record, repeated)
    assert comparison.verdict == "differs"
    assert comparison.first == "dev_cost at epoch 5"
    assert comparison.largest == pytest.approx(0.5)
    assert comparison.largest_at.startswith("train_cost at epoch")
    assert "dev_cost at epoch 5" in comparison.sentence


def test_a_curve_of_another_length_differs(record: TrialRecord, repeated: TrialRecord) -> None:
    repeated.curves["dev_cost"] = repeated.curves["dev_cost"][:8]
    assert "dev_cost, which has 10 epochs then and 8 now" in compare(record, repeated).sentence


def test_a_value_that_is_a_number_in_only_one_differs(record: TrialRecord, repeated: TrialRecord) -> None:
    repeated.curves["dev_cost"][4] = np.nan
    comparison = compare(record, repeated)
    assert (comparison.verdict, comparison.largest) == ("differs", np.inf)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda r: r.curves.pop("dev_cost"), "dev_cost, which only one of the two has"),
        (lambda r: r.parameters.pop("b1"), "b1, which is float32 (3, 1) then and missing now"),
        (lambda r: r.parameters.update(W1=r.parameters["W1"].astype(float)), "W1, which is float32"),
        (lambda r: r.summary.update(best_dev_cost=0.5), "best_dev_cost"),
        (lambda r: r.gradient_checks["init"].update(relative_error=1e-3), "gradcheck_init_relative_error"),
        (lambda r: r.fit_curves[0]["dev_cost"].__setitem__(2, 9.0), "dev_cost of fold 1 at epoch 2"),
        (lambda r: setattr(r, "outcome", "completed"), "the outcome, pruned then and completed now"),
    ],
)
def test_every_part_of_a_record_is_compared(record: TrialRecord, repeated: TrialRecord, change, where) -> None:
    change(repeated)
    comparison = compare(record, repeated)
    assert comparison.verdict == "differs"
    assert where in comparison.first


@pytest.fixture
def judged(record: TrialRecord) -> TrialRecord:
    """A record of this version's code, with all that it says of its numbers."""
    record.environment["code"] = {"digest": "0" * 16}
    record.reason = "it ran to its end"
    record.diagnosis = {
        "verdict": "high bias",
        "avoidable_bias": 0.1,
        "variance": math.nan,
        "remedies": ["train longer"],
    }
    record.gradient_checks["init"] |= {"norms": {"W1": (1.0, 1.0)}, "notes": ["all is well"]}
    record.fits = [{"repeat": 0, "fold": None, "outcome": "pruned", "reason": "a", "epochs": 9, "summary": {"x": 1.0}}]
    return record


@pytest.mark.parametrize("code", ["0" * 16, "1" * 16])
@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda r: r.diagnosis.update(verdict="neither"), "diagnosis.verdict: neither then, high bias now"),
        (lambda r: r.diagnosis.update(avoidable_bias=0.0), "diagnosis.avoidable_bias: 0.0 then, 0.1 now"),
        (lambda r: r.gradient_checks["init"].update(verdict="wrong"), "wrong then, good now"),
        (lambda r: r.fits[0]["summary"].update(x=0.5), "fits.0.summary.x: 0.5 then, 1.0 now"),
        (lambda r: r.fits[0].update(outcome="completed"), "fits.0.outcome: completed then, pruned now"),
        (lambda r: setattr(r, "stop_epoch", 8), "stop_epoch: 8 then, 9 now"),
    ],
)
def test_what_a_record_says_of_its_numbers_is_compared_too(judged: TrialRecord, change, where: str, code: str) -> None:
    """Whoever edits a record can edit its digests as well, so its words count only if they follow from the trial."""
    claimed = copy.deepcopy(judged)
    assert compare(claimed, judged).verdict == "identical"
    change(claimed)
    claimed.environment["code"]["digest"] = code
    comparison = compare(claimed, judged)
    assert comparison.verdict == "differs"
    assert "the numbers have the same bits, but the record says otherwise of them" in comparison.sentence
    assert where in comparison.sentence


def test_a_verdict_that_was_written_in_is_found_within_tolerance_too(judged: TrialRecord) -> None:
    claimed = copy.deepcopy(judged)
    claimed.parameters["W1"].view(np.uint32)[2, 1] ^= 1
    assert compare(claimed, judged).verdict == "within_tolerance"
    claimed.diagnosis["verdict"] = "neither"
    comparison = compare(claimed, judged)
    assert comparison.verdict == "differs"
    assert "are within tolerance, but the record says otherwise of them: diagnosis: neither then" in comparison.sentence


@pytest.mark.parametrize(
    "change",
    [
        lambda r: setattr(r, "reason", "it was lucky"),
        lambda r: r.diagnosis.update(remedies=[]),
        lambda r: r.gradient_checks["init"].update(notes=["look at b1"]),
        lambda r: r.data.update(examples={"train": 10**6}),
    ],
)
def test_words_are_compared_if_the_same_code_wrote_them(judged: TrialRecord, change) -> None:
    claimed = copy.deepcopy(judged)
    change(claimed)
    assert compare(claimed, judged).verdict == "differs"
    claimed.environment["code"]["digest"] = "1" * 16
    assert compare(claimed, judged).verdict == "identical"
    assert "code" in compare(claimed, judged).explanations


def test_a_failure_is_the_same_only_for_the_same_reason() -> None:
    first, same, other = (TrialRecord(config={}, outcome="failed", reason=reason) for reason in ("a", "a", "b"))
    assert compare(first, same).verdict == "identical"
    assert compare(first, other).first == "the reason of the failure"


def test_durations_and_dates_are_not_compared(record: TrialRecord, repeated: TrialRecord) -> None:
    later = dataclasses.replace(repeated, started_at=9.0, duration_s=9.0)
    assert compare(record, later).verdict == "identical"


def test_what_may_explain_a_difference_is_told_by_section(record: TrialRecord, repeated: TrialRecord) -> None:
    repeated.config["regularization"]["lambd"] = 0.7
    repeated.data["digest"] = "cd"
    repeated.environment["blas"][0]["kernel"] = "Haswell"
    repeated.environment["cpu_features"] = ["AVX2", "FMA3", "SSE42", "X86_V2"]
    repeated.environment["packages"]["rich"] = "2.0"
    repeated.environment["code"] = {"commit": "decaf", "diff": "+x"}
    assert compare(record, repeated).explanations == {
        "config": ["regularization.lambd: 0.5 then, 0.7 now"],
        "data": ["digest: ab then, cd now"],
        "code": [
            "commit: c0ffee then, decaf now",
            "uncommitted changes: 0 characters of diff then, 2 characters of diff now",
        ],
        "environment": [
            "blas.0.kernel: SkylakeX then, Haswell now",
            "cpu_features: AVX512F only then, X86_V2 only now",
            "packages.rich: 1.0 then, 2.0 now",
        ],
    }


def test_the_table_puts_the_verdict_first_and_shortens_long_lists(record: TrialRecord, repeated: TrialRecord) -> None:
    repeated.environment["packages"] = {f"package-{n}": "1" for n in range(30)}
    lines = compare(record, repeated).table().splitlines()
    assert lines[0].startswith("identical")
    assert lines[1].strip() == "environment:"
    assert lines[-1].strip().startswith("and ")


def test_differences_are_found_at_every_depth() -> None:
    then = {"a": {"b": [1, 2]}, "c": None}
    assert differences(then, {"a": {"b": [1, 3]}, "d": "x"}) == ["a.b: [1, 2] then, [1, 3] now", "d: null then, x now"]


def test_lists_of_more_than_three_names_are_told_by_what_came_and_went() -> None:
    assert differences(["a", "b", "c"], ["a", "b", "d"], "x") == ['x: ["a", "b", "c"] then, ["a", "b", "d"] now']
    assert differences(["a", "b", "c", "e"], ["a", "b", "d", "e"], "x") == ["x: c only then, d only now"]
    assert differences(["a", "b", "c", "e"], None, "x") == ['x: ["a", "b", "c", "e"] then, null now']


def test_a_failure_that_is_repeated_is_said_to_be_one() -> None:
    failed = TrialRecord(config={}, outcome="failed", reason="ValueError: no")
    assert compare(failed, failed).sentence == "identical: it fails again, for the same reason"


def test_variables_are_no_difference_where_kernel_and_level_are_the_same() -> None:
    way = {"arithmetic": {"kernel": "Haswell", "level": "avx2"}}
    recorded = {"variables": {}, "cpu_features": ["AVX2"], **way}
    present = {"variables": {"OPENBLAS_CORETYPE": "Haswell"}, "cpu_features": ["X86_V3"], **way}
    assert environment_differences(recorded, present) == []


def test_the_same_code_is_the_same_whatever_commit_and_other_code_is_known_without_git() -> None:
    same = {"digest": "00aa", "commit": "c0ffee", "diff": "+x"}
    assert code_differences(same, {"digest": "00aa", "commit": None}) == []
    assert code_differences(same, {"digest": "11bb", "commit": "c0ffee", "diff": "+x"}) == [
        "digest: 00aa then, 11bb now"
    ]
