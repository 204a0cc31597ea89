"""Trains every recorded trial of a store again in this process: `python -m tests.stores.repeat <mlruns>`.

A process of its own, because the kernel of the linear algebra is chosen when NumPy is loaded. Prints, as JSON, what
the comparison says of each run.
"""

import json
import os
import sys
from pathlib import Path

from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.prepare import prepare
from pipeline.tracking.reading import read_folder, read_meta
from pipeline.trials.comparison import compare
from pipeline.trials.trial import work_whole


def repeat(folder: Path, store: Path) -> list[str]:
    """Kind, outcome, verdict and the comparison's table of one recorded run."""
    recorded = read_folder(folder)
    config = parse(TrialConfig, recorded.config)
    stop = recorded.stop_epoch if recorded.outcome == "pruned" else None
    repeated = work_whole(prepare(config.data, store).path, config, stop, record_format=recorded.format)
    comparison = compare(recorded, repeated)
    return [str(read_meta(folder)["kind"]), recorded.outcome, comparison.verdict, comparison.table()]


if __name__ == "__main__":
    store = Path(sys.argv[1]).resolve()
    os.chdir(store.parent)
    folders = [path.parent for path in sorted(store.glob("artifacts/*/artifacts/record.json"))]
    print(json.dumps({folder.parent.name: repeat(folder, store) for folder in folders}))
