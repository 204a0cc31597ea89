"""Keeps prepared data on disk: trial arrays in arrays/, test rows in heldout/, an index in prepared/.

Every directory appears complete or not at all, even if two processes write the same one.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError
from pipeline.config.writing import replacing
from pipeline.data.arrays import Fold, checksum, digest_arrays, read_folds

_REMEMBERED = {"digest": str, "source_digest": str, "description": dict, "recipe": dict}
"""The content of `prepared/<key>.json`."""


GROUPS = "groups.npy"


def directories(store: Path, digest: str) -> tuple[Path, Path]:
    """Return the folders of the trial arrays and the test rows of a digest."""
    return store / "arrays" / digest, store / "heldout" / digest


def find(store: Path, key: str) -> dict[str, Any] | None:
    """Return the note under the key, if its arrays are there and unchanged; remove changed ones."""
    found = _note(store / "prepared" / f"{key}.json")
    if found is None:
        return None
    trial, heldout = directories(store, found["digest"])
    if restore(trial):
        return found if heldout.is_dir() else None
    shutil.rmtree(trial, ignore_errors=True)
    return None


def find_digest(store: Path, digest: str) -> dict[str, Any] | None:
    """Return the note on the arrays with this digest, if they are there and unchanged."""
    for path in (store / "prepared").glob("*.json"):
        note = _note(path)
        if note is not None and note["digest"] == digest:
            return find(store, path.stem)
    return None


def _note(path: Path) -> dict[str, Any] | None:
    """Read a note that `remember` wrote; return None if it is missing or damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kinds = {name: type(found[name]) for name in _REMEMBERED}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if kinds == _REMEMBERED and len(found) == len(kinds) else None


def restore(trial: Path) -> bool:
    """Return whether a directory of trial arrays is complete and unchanged; recompute damaged statistics."""
    try:
        meta = json.loads((trial / "meta.json").read_text(encoding="utf-8"))
        if meta["digest"] != trial.name or meta["trial_digest"] != trial_digest(trial, meta):
            return False
        _restore_statistics(trial, meta)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return False
    return True


def _restore_statistics(trial: Path, meta: dict[str, Any]) -> None:
    """Recompute the statistics unless they have the recorded checksum, which releases before 0.3.0 lack.

    Raises
    ------
    DataError
        They cannot be written; the arrays themselves are intact and kept.
    """
    try:
        read_folds(trial / "folds.npz", meta.get("arrays_checksum"))
    except DataError:
        from pipeline.data.normalization import fold

        X = np.load(trial / "X.npy", mmap_mode="r", allow_pickle=False)
        settings = {name: meta[name] for name in ("standardize", "missing", "image_shape")}
        with np.load(trial / "folds.npz", allow_pickle=False) as parts:
            names = [name.removeprefix("train_") for name in parts.files if name.startswith("train_")]
            folds = {name: fold(X, parts[f"train_{name}"], parts[f"dev_{name}"], **settings) for name in names}
        try:
            write_folds(trial, folds)
            _write_json(trial / "meta.json", meta | {"arrays_checksum": checksum(flat(folds))})
        except OSError as error:
            raise DataError(f"The statistics of the data in {trial} cannot be written: {error.strerror}.") from None


def write_folds(trial: Path, folds: dict[str, Fold]) -> None:
    """Write folds.npz in one step."""
    with replacing(trial / "folds.npz") as file:
        np.savez(file, **flat(folds))


def remember(store: Path, key: str, found: dict[str, Any]) -> None:
    """Make `find` return this for the key, in this process and all later ones."""
    _write_json(store / "prepared" / f"{key}.json", found)


def save(directory: Path, **arrays: npt.NDArray[Any]) -> None:
    """One .npy file per array."""
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array, allow_pickle=False)


@dataclass(frozen=True)
class Draft:
    """Two directories being written; `finish` gives them their final name, otherwise they are removed."""

    store: Path
    trial: Path
    heldout: Path

    def finish(self, meta: dict[str, Any], folds: list[Fold], everything: Fold, unseen: dict[str, int]) -> str:
        """Write folds and meta data, move both directories to their place, and return the digest.

        `unseen` counts the test rows' categories that training rows lack; like the rows, it stays with the test part.
        """
        named = {**{str(k): fold for k, fold in enumerate(folds)}, "everything": everything}
        write_folds(self.trial, named)
        trial, heldout = trial_digest(self.trial, meta), heldout_digest(self.heldout)
        digest = hashlib.sha256(f"{trial} {heldout}".encode()).hexdigest()[:32]
        sums = {"trial_digest": trial, "heldout_digest": heldout, "digest": digest}
        _write_json(self.trial / "meta.json", {**meta, **sums, "arrays_checksum": checksum(flat(named))})
        _write_json(self.heldout / "meta.json", {**sums, "classes": meta["classes"], "unseen": unseen})
        there, test = directories(self.store, digest)
        if there.is_dir() and not restore(there):  # damaged together with its note, so that `find` did not notice
            shutil.rmtree(there)
        _move(self.heldout, test)
        _move(self.trial, there)
        return digest


@contextmanager
def writing(store: Path) -> Iterator[Draft]:
    """Yield a draft folder on the same file system; remove it if the block does not finish it."""
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".draft-", ignore_cleanup_errors=True) as folder:
        trial, heldout = Path(folder) / "trial", Path(folder) / "heldout"
        trial.mkdir()
        heldout.mkdir()
        yield Draft(store, trial, heldout)


def trial_digest(path: Path, meta: dict[str, Any]) -> str:
    """Return the digest of what a trial reads from the directory, except the statistics, which have a checksum."""
    with np.load(path / "folds.npz", allow_pickle=False) as parts:
        indices = {name: parts[name] for name in sorted(parts.files) if name.startswith(("train_", "dev_"))}
    decisive = {name: meta[name] for name in ("classes", "image_shape", "features", "standardize", "missing")}
    groups = read_groups(path)
    grouped = {} if groups is None else {"groups": groups}
    return digest_arrays({**_load(path), **indices, **grouped}, json.dumps(decisive))


def read_groups(path: Path) -> npt.NDArray[np.int64] | None:
    """Return the group numbers of the rows that trials see, if groups stay together: (m,)."""
    try:
        groups: npt.NDArray[np.int64] = np.load(path / GROUPS, allow_pickle=False)
    except FileNotFoundError:
        return None
    return groups


def heldout_digest(path: Path) -> str:
    """Return the digest of the test rows and labels."""
    return digest_arrays(_load(path))


def heldout_meta(path: Path) -> dict[str, Any]:
    """Return the meta data of a test part.

    Raises
    ------
    DataError
        Its rows have changed.
    """
    meta: dict[str, Any] = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    if heldout_digest(path) != meta["heldout_digest"]:
        raise DataError(f"The test rows in {str(path)!r} have changed since they were written; remove that directory.")
    return meta


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    return {
        name: np.load(path / f"{name}.npy", mmap_mode="r" if (path / f"{name}.npy").stat().st_size > 2**20 else None)
        for name in ("X", "y")
    }


def flat(folds: dict[str, Fold]) -> dict[str, Any]:
    """Return the arrays of each fold, by field and name: train_0, dev_0, mean_0, …."""
    arrays = {}
    for name, fold in folds.items():
        n = fold.normalization
        values = {"train": fold.train, "dev": fold.dev, "fill": n.fill, "mean": n.mean, "inv_std": n.inv_std}
        arrays.update({f"{field}_{name}": value for field, value in values.items()})
    return arrays


def _move(draft: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.rename(place)
    except OSError:  # another process was first; its content has the same digest
        if not place.is_dir():
            raise
        shutil.rmtree(draft)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False).encode())
