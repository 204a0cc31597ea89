"""Describes in a few lines the data that a command trains on, from the recorded description."""

from typing import Any

from pipeline.data.remarks import of_the_dev_part


def summary(description: dict[str, Any]) -> str:
    """Return a line of sizes and classes, then one for each remark."""
    d = description
    classes = ", ".join(d["classes"][:10]) + (f", … ({len(d['classes'])})" if len(d["classes"]) > 10 else "")
    examples = ", ".join(f"{part} {count:,}" for part, count in d["examples"].items())
    folds = f" ({d['folds']} folds)" if d["folds"] else ""
    columns = len(d["columns"])
    as_features = "" if columns == d["features"] else f" as {d['features']:,} features"
    lines = [
        f"{d['name']}: {d['rows']:,} rows, {columns:,} columns{as_features}; {d['task']}: {classes}; {examples}{folds}"
    ]
    lines += of_the_dev_part(d)
    lines += _counts("missing values, filled from the training part", d["missing"])
    lines += _counts("dev examples with a category that the training part lacks", d["unseen_in_dev"])
    return "\n".join(lines + d["notes"])


def _counts(what: str, counts: dict[str, int]) -> list[str]:
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:8])
    more = f" and {len(counts) - 8} more columns" if len(counts) > 8 else ""
    return [f"{what}: {shown}{more}"] if counts else []
