"""Applies a trained network: raw columns in, labels and probabilities out.

The test evaluation, `make predict` and the served model all use it. It is copied into every registered model with the
modules that it imports, so it needs only NumPy and pandas, reads plain JSON and arrays, and never unpickles.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config.text import brief
from pipeline.data.arrays import CACHE_VALUES, Normalization, row_blocks
from pipeline.data.batches import normalize
from pipeline.data.encoding import Recipe, encode
from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.architecture import Architecture
from pipeline.nn.costs import OUTPUTS
from pipeline.nn.parameters import Parameters, shapes_of

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Version of the two files below; readers refuse what they do not know."""

DESCRIPTION, PARAMETERS = "classifier.json", "parameters.npz"
LABEL = "label"


@dataclass(frozen=True)
class Classifier:
    """A network with the preprocessing of its input.

    Attributes
    ----------
    recipe : how columns become the raw matrix, with the names of the classes (`pipeline.data.encoding`).
    normalization : statistics of the rows that it was trained on.
    parameters : W1, b1, …
    """

    recipe: Recipe
    normalization: Normalization
    architecture: Architecture
    parameters: Mapping[str, npt.NDArray[Any]]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their numbers."""
        return [str(name) for name in self.recipe["classes"]]

    @property
    def columns(self) -> list[str]:
        """Names of the answer's columns."""
        return [LABEL, *(f"probability_{name}" for name in self.classes)]

    def predict(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return label and probabilities of each row, in order.

        Raises
        ------
        DataError
            A column is missing, or holds what the model was not trained on.
        """
        import pandas as pd

        numbers, P = self.classify(encode(self.recipe, table))
        answer = pd.DataFrame(P, columns=self.columns[1:], index=table.index)
        answer.insert(0, LABEL, np.array(self.classes, dtype=object)[numbers])
        return answer

    def classify(self, X: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Return class numbers (m,) and probabilities (m, C) of raw rows (m, n_x)."""
        numbers = np.empty(len(X), dtype=np.intp)
        P = np.empty((len(X), len(self.classes)))
        predict = OUTPUTS[self.architecture.output].predict
        for rows, Z in self._logits(X):
            numbers[rows] = predict(Z.T)
            P[rows] = probabilities(Z, self.architecture.output)
        return numbers, P

    def cost(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
        """Return the mean cross-entropy, natural logarithm, of raw rows (m, n_x) with class numbers (m,)."""
        total = 0.0
        for rows, Z in self._logits(X):
            labels, z = y[rows], Z.astype(np.float64)
            if self.architecture.output == "sigmoid":
                total += float(np.sum(np.logaddexp(0.0, z[:, 0]) - labels * z[:, 0]))
            else:
                total += float(np.sum(np.logaddexp.reduce(z, axis=1) - z[np.arange(len(labels)), labels]))
        return total / len(y)

    def _logits(self, X: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield Z[L] transposed, (rows, n_L), block by block; dropout is off.

        Each row has matrix-vector products of its own, z = W a + b, because in a product of many rows OpenBLAS rounds
        a row by its place and the number of rows: so a row gets the same bits whatever else is in its table.
        """
        parameters = Parameters.of(self.architecture.layer_sizes, self.parameters)
        hidden = [ACTIVATIONS[name] for name in self.architecture.activations]
        for rows in row_blocks(len(X), max(self.architecture.layer_sizes), CACHE_VALUES):
            A = np.empty(X[rows].shape, parameters.theta.dtype)
            normalize(X[rows], self.normalization, A)
            for layer, W in parameters.W.items():
                A = np.matvec(W, A) + parameters.b[layer].T
                if layer <= len(hidden):
                    hidden[layer - 1].forward(A, np.empty_like(A))
            yield rows, A

    def save(self, folder: Path) -> None:
        """Write the two files that `load` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        text = {"format": FORMAT, "recipe": self.recipe, "architecture": asdict(self.architecture)}
        (folder / DESCRIPTION).write_text(json.dumps(text, indent=1, ensure_ascii=False), encoding="utf-8")
        arrays: dict[str, Any] = {f"normalization_{name}": v for name, v in asdict(self.normalization).items()}
        np.savez(folder / PARAMETERS, **(arrays | dict(self.parameters)))

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Read what `save` wrote."""
        text = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        with np.load(folder / PARAMETERS, allow_pickle=False) as archive:
            return cls.restore(text, {name: archive[name] for name in archive.files})

    @classmethod
    def restore(cls, text: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> "Classifier":
        """Build a classifier from the contents of its two files.

        Raises
        ------
        ValueError
            They are of another format, or do not fit together.
        """
        if text.get("format") != FORMAT:
            raise ValueError(f"the model has format {text.get('format')}, this version reads format {FORMAT}")
        given = text["architecture"]
        if not all(type(size) is int for size in given["layer_sizes"]):
            raise ValueError(f"layer_sizes must be whole numbers, but are {given['layer_sizes']}")
        architecture = Architecture(tuple(given["layer_sizes"]), tuple(given["activations"]), given["output"])
        shapes = _shapes(architecture)
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"{name} must have shape {shape}, but has {arrays[name].shape}")
        recipe = dict(text["recipe"])
        _check_recipe(recipe, architecture)
        statistics = (arrays[f"normalization_{name}"] for name in ("fill", "mean", "inv_std"))
        parameters = {name: arrays[name] for name in shapes if not name.startswith("normalization")}
        return cls(recipe, Normalization(*statistics), architecture, parameters)


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a model."""
    statistics = {f"normalization_{name}": (architecture.layer_sizes[0],) for name in ("fill", "mean", "inv_std")}
    return {**shapes_of(architecture.layer_sizes), **statistics}


def _check_recipe(recipe: Recipe, architecture: Architecture) -> None:
    """Refuse a recipe that does not fit the network."""
    classes, columns = recipe["classes"], recipe["columns"]
    if not isinstance(classes, list) or len(classes) != architecture.num_classes:
        raise ValueError(f"classes must be {architecture.num_classes} names, but are {brief(classes)}")
    if not isinstance(columns, list) or not columns:
        raise ValueError(f"columns must be a list of at least one, but are {brief(columns)}")
    for column in columns:
        if column["kind"] not in ("number", "category"):
            raise ValueError(f"the kind of a column must be number or category, but is {brief(column['kind'])}")
    features = sum(len(column["categories"]) if column["kind"] == "category" else 1 for column in columns)
    if features != architecture.layer_sizes[0]:
        raise ValueError(f"the columns make {features} features, but the network takes {architecture.layer_sizes[0]}")


def probabilities(Z: npt.NDArray[Any], output: str) -> npt.NDArray[np.float64]:
    """Return probabilities (m, C) from the logits Z (m, n_L), in float64.

    softmax: exp(z_k - max z) / Σ_j exp(z_j - max z);  sigmoid: 1 / (1 + exp(-z)) = (1 + tanh(z / 2)) / 2 for class 1.
    """
    z = Z.astype(np.float64)
    if output == "sigmoid":
        tanh = np.tanh(0.5 * z)
        return np.hstack([0.5 * (1.0 - tanh), 0.5 * (1.0 + tanh)])
    e = np.exp(z - z.max(axis=1, keepdims=True))
    P: npt.NDArray[np.float64] = e / e.sum(axis=1, keepdims=True)
    return P
