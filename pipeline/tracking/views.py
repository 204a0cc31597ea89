"""Named views of the run list in MLflow's UI: columns, charts and runs.

MLflow keeps a view in an experiment's tag `mlflow.sharedViewState.<key>`; its page takes `?viewStateShareKey=<key>`.
The tag holds {name, createdAt, state}; the state is JSON, or "deflate;" and its compressed JSON in base 64
(MLflow 3.17, mlflow/server/js: useSharedExperimentViewState, savedViews).
"""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from pipeline.tracking.found import Found

TAG = "mlflow.sharedViewState."
ALL = "sweeps"
"""Key of the view of all sweeps; a study's own view has its name as key."""

METRICS = ("best_dev_cost", "best_dev_error", "best_dev_cost_se", "best_train_error", "best_epoch")
PARAMS = ("regularization.lambd", "regularization.keep_prob", "model.init.scale")
TAGS = ("summary", "outcome", "diagnosis_verdict", "gradcheck_init", "gradcheck_trained")
CURVES = ("dev_cost", "dev_cost_sd", "train_cost", "dev_error", "train_error")
MOST_SEARCHED = 8
"""Most searched values with a column."""
MOST_VIEWS = 20
"""Most studies with their own view, the latest ones."""

_LEAF = re.compile(r"search\.space\.(.+?)\.(?:low|choices)(?:\.|$)")
_LAYER = re.compile(r"\.\d+$")


def views_of(sweeps: Sequence["Found"]) -> dict[str, str]:
    """Return the tags' values by key: a view of everything, and of each of the latest sweeps, given newest first."""
    latest = sweeps[:MOST_VIEWS]
    together = list(dict.fromkeys([*PARAMS, *(path for sweep in latest for path in searched(sweep.params))]))
    views = {ALL: view("All runs, the newest first", together, created_at_ms=0)}
    for sweep in latest:
        name, created_at_ms = f"{sweep.study}, the best first", round(1000 * sweep.started_at)
        views[sweep.study] = view(name, searched(sweep.params), created_at_ms=created_at_ms, parent=sweep.run_id)
    return views


def searched(params: Mapping[str, str]) -> list[str]:
    """Return the searched paths by the params of a sweep's run; all layers of a value are one param."""
    found = (_LEAF.match(name) for name in params)
    return list(dict.fromkeys(_LAYER.sub("", match[1]) for match in found if match))


def view(name: str, params: Sequence[str], *, created_at_ms: int, parent: str | None = None) -> str:
    """Return the tag's value for a view called `name`.

    Parameters
    ----------
    params : dotted paths of searched values, which become columns and the axes of the parallel coordinates.
    parent : show only the runs of this sweep, best first; None shows everything, newest first.
    """
    shown = params[:MOST_SEARCHED]
    columns = [*_columns("metrics", METRICS[:2]), *_columns("params", shown)]
    columns += [*_columns("tags", TAGS), *_columns("metrics", METRICS[2:]), *_columns("attributes", ("Duration",))]
    state = {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {column: _width(column) for column in columns},
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": True,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunSections": [
            _section("search", "Searched values", columns=1),
            _section("curves", "Curves", columns=2),
        ],
        "compareRunCharts": [_parallel(shown), *map(_line, CURVES)],
        "isAccordionReordered": True,
        "searchFilter": f"tags.mlflow.parentRunId = '{parent}'" if parent else "",
        "orderByKey": "metrics.`best_dev_cost`" if parent else "attributes.start_time",
        "orderByAsc": parent is not None,
        "lifecycleFilter": "Active",
    }
    return json.dumps({"name": name, "createdAt": created_at_ms, "updatedAt": created_at_ms, "state": packed(state)})


def packed(state: Any) -> str:
    """Return JSON compressed as by the UI, since an experiment's tag holds at most 5,000 characters."""
    text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    return "deflate;" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def link(experiment_id: str, key: str) -> str:
    """Return the path of the page that shows a view."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={quote(key)}"


def _columns(kind: str, names: Sequence[str]) -> list[str]:
    return [f"{kind}.`{name}`" for name in names]


def _width(column: str) -> int:
    """Return a width in pixels for the column's heading."""
    name = column.split("`")[1]
    return max(110, 30 + 7 * len(name))


def _section(uuid: str, name: str, *, columns: int) -> dict[str, Any]:
    section = {"uuid": uuid, "name": name, "columns": columns, "cardHeight": 400}
    return section | {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}


def _parallel(params: Sequence[str]) -> dict[str, Any]:
    """Return a chart with parallel coordinates of the searched values and the dev cost."""
    return _chart("PARALLEL", "parallel", "search") | {
        "selectedParams": list(params),
        "selectedMetrics": ["best_dev_cost"],
        "showAllRuns": False,
    }


def _line(metric: str) -> dict[str, Any]:
    """Return a chart with one curve per visible run over the epochs."""
    return _chart("LINE", metric, "curves") | {
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "displayPoints": False,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "log" if metric.endswith("cost") else "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _chart(kind: str, uuid: str, section: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"pipeline-{uuid}",
        "metricSectionId": section,
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
    }
