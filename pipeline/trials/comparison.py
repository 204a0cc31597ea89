"""Compares two records of what should be the same trial: each metric at each epoch, and each parameter.

"identical" means the same bits. Otherwise the comparison says where the two diverge first, and what else differs.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Any, Literal

import numpy as np

from pipeline.trials.differences import DIGESTS, differences, explain
from pipeline.trials.record import TrialRecord

Verdict = Literal["identical", "within_tolerance", "differs"]
RTOL = 1e-6
_SHOWN = 8
NEW = ("balanced_error", "best_balanced_error", "dev_precision", "dev_recall", "dev_roc_auc", "dev_average_precision")
"""Beginnings of the names of curves and of summary values that format 2 added."""


@dataclass(frozen=True)
class Comparison:
    """How a repeated trial compares with the recorded one.

    Attributes
    ----------
    verdict : "identical" (same bits), "within_tolerance", or "differs".
    largest : the largest relative difference; infinite where only one of two values is a number or exists.
    largest_at : its place, "dev_cost at epoch 12" or "W2[3, 17]".
    first : the first difference by epoch; empty if there is none.
    explanations : what else differs, by section: outcome, config, data, code, environment.
    rtol : the tolerance.
    compared : what agrees if the verdict is "identical".
    told : statements about the numbers in which the record differs from the repeated trial, if the numbers agree.
    """

    verdict: Verdict
    largest: float = 0.0
    largest_at: str = ""
    first: str = ""
    explanations: dict[str, list[str]] = field(default_factory=dict)
    rtol: float = RTOL
    compared: str = "every metric at every epoch and every parameter has the same bits"
    told: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict for a person, in one sentence."""
        if self.verdict == "identical":
            return f"identical: {self.compared}"
        if self.verdict == "within_tolerance":
            return (
                f"within tolerance: the largest relative difference is {self.largest:.1e} ({self.largest_at}), "
                f"at most {self.rtol:g} is allowed; they part ways first at {self.first}"
            )
        if self.told:
            more = f" and {len(self.told) - 1} more" if len(self.told) > 1 else ""
            numbers = "are within tolerance" if self.largest_at else "have the same bits"
            return f"differs: the numbers {numbers}, but the record says otherwise of them: {self.told[0]}{more}"
        return (
            f"differs: first at {self.first}; the largest relative difference is {self.largest:.1e} ({self.largest_at})"
        )

    def table(self) -> str:
        """Return the sentence, followed by what else differs, section by section."""
        lines = [self.sentence]
        for section, items in self.explanations.items():
            lines += [f"  {section}:", *(f"    {item}" for item in items[:_SHOWN])]
            lines += [f"    and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Gap:
    """One place where two records differ; `step` orders the places in time."""

    step: int
    where: str
    size: float


def compare(recorded: TrialRecord, repeated: TrialRecord, rtol: float = RTOL) -> Comparison:
    """Compare `repeated` with `recorded`.

    Differences of curve values are relative to the larger value, |a - b| / max(|a|, |b|); differences of parameters
    are relative to the largest of their tensor, since a weight near zero has no scale of its own.
    """
    if recorded.format == 1:
        repeated = as_format_1(repeated)
    gaps = list(_gaps(recorded, repeated))
    explanations = explain(recorded, repeated)
    if not gaps:
        if told := tuple(_told_otherwise(recorded, repeated)):
            return Comparison("differs", first=told[0], explanations=explanations, rtol=rtol, told=told)
        same = Comparison("identical", explanations=explanations, rtol=rtol)
        failed = recorded.outcome == "failed"
        return replace(same, compared="it fails again, for the same reason") if failed else same
    first, largest = min(gaps, key=lambda gap: gap.step), max(gaps, key=lambda gap: gap.size)
    same_end = (recorded.outcome, recorded.stop_epoch) == (repeated.outcome, repeated.stop_epoch)
    verdict: Verdict = "within_tolerance" if largest.size <= rtol and same_end else "differs"
    told = tuple(_told_otherwise(recorded, repeated, rounded=True)) if verdict == "within_tolerance" else ()
    verdict = "differs" if told else verdict
    return Comparison(verdict, largest.size, largest.where, first.where, explanations, rtol, told=told)


def as_format_1(record: TrialRecord) -> TrialRecord:
    """Return the record without the measures that format 1 lacks."""

    def known(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if not name.startswith(NEW)}

    curves, fit_curves = known(record.curves), [known(curves) for curves in record.fit_curves]
    return replace(record, curves=curves, fit_curves=fit_curves, summary=known(record.summary))


def _gaps(a: TrialRecord, b: TrialRecord) -> Iterator[_Gap]:
    yield from _curve_gaps(a.curves, b.curves, "")
    names = a.fit_names if len(a.fit_names) >= len(b.fit_names) else b.fit_names
    for name, of_a, of_b in zip_longest(names, a.fit_curves, b.fit_curves):
        yield from _curve_gaps(of_a or {}, of_b or {}, f" of {name}")
    end = 1 + max([len(values) for record in (a, b) for values in record.curves.values()], default=0)
    for name in {**a.parameters, **b.parameters}:
        yield from _array_gaps(name, a.parameters.get(name), b.parameters.get(name), end)
    yield from _number_gaps(_numbers(a), _numbers(b), end)
    if a.outcome != b.outcome:
        yield _Gap(end, f"the outcome, {a.outcome} then and {b.outcome} now", np.inf)
    elif a.outcome == "failed" and a.reason != b.reason:
        yield _Gap(end, "the reason of the failure", np.inf)


def _curve_gaps(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], suffix: str) -> Iterator[_Gap]:
    """Yield a gap for each curve at its first differing epoch, and one at its largest difference."""
    for name in {**a, **b}:
        if name not in a or name not in b:
            yield _Gap(0, f"{name}{suffix}, which only one of the two has", np.inf)
            continue
        length = min(len(a[name]), len(b[name]))
        steps = _differing(a[name][:length], b[name][:length])
        if len(steps):
            sizes = _relative(a[name][steps], b[name][steps])
            worst = int(np.argmax(sizes))
            yield _Gap(int(steps[0]), f"{name}{suffix} at epoch {steps[0]}", float(sizes[0]))
            yield _Gap(int(steps[worst]), f"{name}{suffix} at epoch {steps[worst]}", float(sizes[worst]))
        if len(a[name]) != len(b[name]):
            yield _Gap(length, f"{name}{suffix}, which has {len(a[name])} epochs then and {len(b[name])} now", np.inf)


def _array_gaps(name: str, a: np.ndarray | None, b: np.ndarray | None, step: int) -> Iterator[_Gap]:
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        shapes = [f"{array.dtype} {array.shape}" if array is not None else "missing" for array in (a, b)]
        yield _Gap(step, f"{name}, which is {shapes[0]} then and {shapes[1]} now", np.inf)
        return
    places = _differing(a.ravel(), b.ravel())
    if len(places):
        scale = max(float(np.max(np.abs(a), initial=0.0)), float(np.max(np.abs(b), initial=0.0)))
        sizes = _relative(a.ravel()[places], b.ravel()[places], scale)
        worst = int(np.argmax(sizes))
        index = ", ".join(str(i) for i in np.unravel_index(places[worst], a.shape))
        yield _Gap(step, f"{name}[{index}]", float(sizes[worst]))


def _number_gaps(a: Mapping[str, Any], b: Mapping[str, Any], step: int) -> Iterator[_Gap]:
    """Yield gaps of summary values; errors of gradient checks, which are relative already, are compared absolutely."""
    for name in {**a, **b}:
        then, now = (np.array([np.nan if numbers.get(name) is None else numbers[name]], float) for numbers in (a, b))
        if len(_differing(then, now)):
            scale = 1.0 if name.startswith("gradcheck_") else None
            yield _Gap(step, name, float(_relative(then, now, scale)[0]))


def _numbers(record: TrialRecord) -> dict[str, Any]:
    """Return the summary values and gradient-check errors, the metrics without epochs."""
    errors = {f"gradcheck_{name}_relative_error": r.get("relative_error") for name, r in record.gradient_checks.items()}
    return {**record.summary, **errors}


def _differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the indices at which two arrays of one dimension differ in bits."""
    if a.dtype != b.dtype:
        return np.arange(len(a))
    rows = (np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1) for array in (a, b))
    return np.flatnonzero((next(rows) != next(rows)).any(axis=1))


def _relative(a: np.ndarray, b: np.ndarray, scale: float | None = None) -> np.ndarray:
    """Return relative differences by element; 0 for equal values with different bits, such as 0 and -0."""
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(a), np.abs(b)) if scale is None else scale
        difference = np.abs(np.subtract(a, b, dtype=float)) / size
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(equal, 0.0, np.where(np.isfinite(difference), difference, np.inf))


def _told_otherwise(recorded: TrialRecord, repeated: TrialRecord, *, rounded: bool = False) -> list[str]:
    """Return statements of a record about its numbers that do not follow from them, which shows that it was edited.

    The words may change with the code, so those of another version are compared in their verdicts alone. Records of
    format 1 were diagnosed by another rule.
    """
    if recorded.format == 1 or recorded.outcome == "failed":
        return []
    digests = [record.environment.get("code", {}).get("digest") for record in (recorded, repeated)]
    same_code = digests[0] is not None and digests[0] == digests[1]
    told = _judgements if rounded else _told if same_code else _verdicts
    return differences(*(json.loads(json.dumps(told(each)), parse_constant=str) for each in (recorded, repeated)))


def _told(record: TrialRecord) -> dict[str, Any]:
    data = {key: value for key, value in record.data.items() if key not in DIGESTS}
    words = {"reason": record.reason, "diagnosis": record.diagnosis, "gradcheck": record.gradient_checks}
    return {"stop_epoch": record.stop_epoch, "fits": record.fits, "data": data, **words}


def _judgements(record: TrialRecord) -> dict[str, Any]:
    """Return what does not change with the last digits of a number."""
    checks = {moment: report.get("verdict") for moment, report in record.gradient_checks.items()}
    outcomes = [fit.get("outcome") for fit in record.fits]
    return {"diagnosis": record.diagnosis.get("verdict"), "gradcheck": checks, "fits": outcomes}


def _verdicts(record: TrialRecord) -> dict[str, Any]:
    fits = [{key: fit.get(key) for key in ("repeat", "fold", "outcome", "epochs", "summary")} for fit in record.fits]
    checks = {moment: report.get("verdict") for moment, report in record.gradient_checks.items()}
    diagnosis = {key: record.diagnosis.get(key) for key in ("verdict", "avoidable_bias", "variance")}
    return {"stop_epoch": record.stop_epoch, "fits": fits, "diagnosis": diagnosis, "gradcheck": checks}
