"""Makes the small store that is kept of each release: `python tests/stores/make_store.py <code folder> <version>`.

It runs that release's own commands, under the arithmetic that every x86-64 processor with AVX2 can repeat, and packs
the store without the paths of the machine. `unpack` puts it where a test wants it.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACEHOLDER = "/where/this/store/lies"
"""Stands for the folder of `mlruns` in a packed store."""

PORTABLE = {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
"""The variables under which NumPy 2.4 gives the same bits on every x86-64 processor with AVX2."""

CIRCLES = "data=circles data.examples=150 model.hidden_units=[4] training.num_epochs=12 training.batch_size=32"
QUICK = f"{CIRCLES} gradcheck.examples=3 workers.count=1 tracking.pictures=false tracking.code_diff=false"
RATES = "~search.space.model +search.space.training.learning_rate={choices:[0.01,0.1,0.5,1.0e+30]}"
TRAIN = "gradcheck.examples=3 tracking.code_diff=false training.num_epochs=4 model.hidden_units=[5]"
COMMANDS = (
    # completed, early-stopped, pruned and diverged trials with every optimiser and decay
    f"sweep {QUICK} study.name=mixed study.trials=12 training.patience=2 pruner.startup_trials=2"
    f" sampler.startup_trials=3 {RATES}"
    " +search.space.training.optimizer={choices:[gradient_descent,momentum,rmsprop,adam]}"
    " +search.space.training.decay={choices:[none,inverse,exponential,cosine]} training.decay_rate=0.05"
    " +search.space.regularization.lambd_l1={low:0.01,high:1.0,log:true}"
    " study.enqueue=[{training.learning_rate:1.0e+30}]",
    # cross-validated trials, some pruned after a fold
    f"sweep {QUICK} study.name=folds study.trials=5 data.folds=3 pruner.startup_trials=1 pruner.first_rung=1"
    " sampler=random training.monitor=dev_error study.objective=dev_error",
    # float64, several layers, a confirmation, and an opening of the test set
    f"sweep {QUICK} study.name=opened study.trials=3 training.dtype=float64 model.hidden_units=[4,3] pruner=none"
    " sampler=qmc model.activation=[tanh,leaky_relu] regularization.keep_prob_input=0.9 data.split_seed=4",
    "confirm study=opened top=2 seeds=2 workers.count=1 tracking.code_diff=false",
    "final study=opened",
    # single runs: images with augmentation, an own table with categories and holes, no hidden layer, one full batch
    f"train {TRAIN} data.examples=200 augmentation=digits data.standardize=pixels regularization.keep_prob=0.8 seed=3",
    f"train {TRAIN} data=file data.path=people.csv data.target=answer data.missing=median regularization.lambd=0.5",
    f"train {TRAIN} data=breast_cancer model=logistic training.batch_size=full training=gradient_descent"
    " model.hidden_units=[]",
)


def people() -> str:
    """A small table with numbers, words and holes, and classes that words name."""
    towns = ("Ulm", "Bonn", "Kiel")
    rows = ["age,town,income,answer"]
    for n in range(120):
        age = 20 + n * 37 % 50
        answer = "yes" if age > 44 else "no"
        rows.append(f"{'' if n % 11 == 5 else age},{towns[n * n % 3]},{n * 53 % 97 / 7:.3f},{answer}")
    return "\n".join(rows) + "\n"


def make(code: Path, version: str) -> Path:
    """Run the commands with the code of a release; returns the packed store."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "made"
        place.mkdir()
        (place / "people.csv").write_text(people())
        environment = os.environ | PORTABLE | {"PYTHONPATH": str(code)}
        for command in COMMANDS:
            arguments = [sys.executable, "-m", "pipeline", *command.split(), f"tracking.store={place}/mlruns"]
            subprocess.run(arguments, cwd=place, env=environment, check=True)
        store = place / "mlruns"
        _rewrite(store, str(code), "/where/the/code/lay")
        _rewrite(store, str(store), PLACEHOLDER)
        for path in store.rglob("MLmodel"):
            path.write_text(path.read_text().replace(tempfile.gettempdir(), "/temporary"))
        return pack(place, version)


def pack(place: Path, version: str) -> Path:
    """Compress a store without pictures and without what a command makes again."""
    store = place / "mlruns"
    for again in ("arrays", "heldout", "prepared", "hydra"):
        shutil.rmtree(store / again, ignore_errors=True)
    for picture in store.rglob("*.png"):
        picture.unlink()
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
    target = HERE / f"{version}.tar.xz"
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for path in sorted(place.rglob("*")):
            if path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock")):
                archive.add(path, path.relative_to(place), filter=_nameless)
    return target


def unpack(version: str, place: Path) -> Path:
    """The store of a release under `place`, whose database and files say where it is now; returns its `mlruns`."""
    with tarfile.open(HERE / f"{version}.tar.xz") as archive:
        archive.extractall(place, filter="data")
    _rewrite(place / "mlruns", PLACEHOLDER, str(place / "mlruns"))
    return place / "mlruns"


def _rewrite(store: Path, old: str, new: str) -> None:
    """Replace a path by another in every text of the database and of the files."""
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
                if "CHAR" in kind or "TEXT" in kind:
                    connection.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE "{column}" LIKE ?',
                        (old, new, f"%{old}%"),
                    )
    for path in store.rglob("*"):
        if path.is_file() and path.suffix not in (".db", ".npz") and old.encode() in path.read_bytes():
            path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))


def _nameless(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    print(make(Path(sys.argv[1]).resolve(), sys.argv[2]))
