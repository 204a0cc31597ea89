"""Differences between two records or environments apart from their numbers, in sentences."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config.text import printable, shortened
from pipeline.trials import kernels
from pipeline.trials.record import TrialRecord


def explain(recorded: TrialRecord, repeated: TrialRecord) -> dict[str, list[str]]:
    """Return what differs apart from the numbers, by section; sections without differences are left out."""
    a, b = recorded.environment, repeated.environment
    ends = ({"outcome": r.outcome, "reason": r.reason, "stop_epoch": r.stop_epoch} for r in (recorded, repeated))
    sections = {
        "outcome": differences(next(ends), next(ends)),
        "config": differences(recorded.config, repeated.config),
        "data": differences(_identity(recorded.data), _identity(repeated.data)),
        "code": code_differences(a.get("code") or {}, b.get("code") or {}),
        "environment": environment_differences(a, b),
    }
    return {name: items for name, items in sections.items() if items}


DIGESTS = ("digest", "source_digest")
"""What of a record's data says that they are the same."""


def _identity(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in DIGESTS if key in data}


def environment_differences(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each difference of software and hardware, frequent causes of other bits first."""
    order = (
        "stream_scheme",
        "arithmetic",
        "blas",
        "cpu_features",
        "variables",
        "packages.numpy",
        "packages.scipy",
        "processor",
        "python",
    )
    ways = [kernels.recorded(environment) for environment in (recorded, present)]
    alike = _GIVEN_BY_ARITHMETIC if ways[0] is not None and ways[0] == ways[1] else ()
    found = differences(_comparable(recorded, alike), _comparable(present, alike))
    return sorted(found, key=lambda line: next((i for i, key in enumerate(order) if line.startswith(key)), len(order)))


_GIVEN_BY_ARITHMETIC = ("arithmetic", "cpu_features", "variables")
"""Entries that are redundant if kernel and level are known to be the same."""


def _comparable(environment: Mapping[str, Any], leave_out: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in environment.items() if key != "code" and key not in leave_out}


def code_differences(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Return how the project's code differs: commit and uncommitted changes, or without git its digest."""
    if recorded.get("digest") and recorded.get("digest") == present.get("digest"):
        return []
    lines = differences({"digest": recorded.get("digest")}, {"digest": present.get("digest")})
    lines += differences({"commit": recorded.get("commit")}, {"commit": present.get("commit")})
    if recorded.get("diff", "") != present.get("diff", ""):
        sizes = [f"{len(code.get('diff') or ''):,} characters of diff" for code in (recorded, present)]
        lines.append(f"uncommitted changes: {sizes[0]} then, {sizes[1]} now")
    return lines


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Return every leaf at which two nested plain values differ: "path: value then, value now"."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        paths = {key: f"{path}.{key}" if path else printable(str(key)) for key in [*then, *now]}
        return [line for key, below in paths.items() for line in differences(then.get(key), now.get(key), below)]
    if then == now:
        return []
    if _are_names(then) and _are_names(now):
        gone, new = sorted(set(then) - set(now)), sorted(set(now) - set(then))
        return [f"{path}: {', '.join(gone) or 'nothing'} only then, {', '.join(new) or 'nothing'} only now"]
    if _are_mappings(then) and _are_mappings(now) and len(then) == len(now):
        return [
            line for i, pair in enumerate(zip(then, now, strict=True)) for line in differences(*pair, f"{path}.{i}")
        ]
    return [f"{path}: {_brief(then)} then, {_brief(now)} now"]


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 3 and all(isinstance(item, str) for item in value)


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _brief(value: Any) -> str:
    text = printable(value) if isinstance(value, str) else json.dumps(value, default=str)
    return shortened(text, 100)
