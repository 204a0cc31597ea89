"""Describes in a sentence how the present data differ from those of a recorded run."""

from typing import Any

from pipeline.config.text import shortened

COMPARED = ("rows", "features", "classes", "examples", "folds", "split_seed", "missing", "source_digest")


def what_changed(recorded: dict[str, Any], current: dict[str, Any]) -> str | None:
    """Compare two descriptions (`PreparedData.description`); None when the arrays are the same to the last bit."""
    if recorded.get("digest") == current["digest"]:
        return None
    changes = [_columns(recorded.get("columns", []), current["columns"])]
    changes += [
        f"{name.replace('_', ' ')} {_short(recorded.get(name))} → {_short(current[name])}"
        for name in COMPARED
        if recorded.get(name) != current[name]
    ]
    changes.append(f"digest {recorded.get('digest')} → {current['digest']}")
    return "; ".join(change for change in changes if change)


def _columns(before: list[str], now: list[str]) -> str:
    gone, new = [name for name in before if name not in set(now)], [name for name in now if name not in set(before)]
    parts = [f"without {_short(gone)}"] if gone else []
    parts += [f"with {_short(new)}"] if new else []
    if not parts and before != now:
        parts = ["in another order"]
    return f"columns {len(before)} → {len(now)}, {' and '.join(parts)}" if parts else ""


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return shortened(text, 80)
