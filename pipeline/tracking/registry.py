"""The registry: logs a classifier as an MLflow model from code, registers it, moves the alias, and reads it back.

Reading back takes plain JSON and arrays and runs no code from the store; MLflow's own server runs `served_model.py`.
"""

import contextlib
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.errors import RecordError
from pipeline.config.text import brief, short
from pipeline.models.inference import DESCRIPTION, PARAMETERS, Classifier
from pipeline.tracking import untrusted
from pipeline.tracking.connection import Connected, explain, quoted
from pipeline.tracking.files import digest
from pipeline.tracking.packaging import save, undisturbed
from pipeline.tracking.places import files_folder
from pipeline.tracking.store import as_folder

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
_ADDRESS = re.compile(r"models:/(?P<name>[^/@']+)(?:@(?P<alias>[^/@']+)|/(?P<version>\d+))")
_ARRAY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")


@dataclass(frozen=True)
class Registered:
    """One version of a registered model.

    Attributes
    ----------
    is_new : whether it was registered now, not earlier.
    is_champion : whether the alias points at it.
    reason : a sentence on why it is the champion or is not.
    """

    name: str
    version: str
    is_new: bool
    is_champion: bool
    reason: str

    @property
    def address(self) -> str:
        """The address for `make predict MODEL=` and MLflow."""
        return f"models:/{self.name}@{CHAMPION}" if self.is_champion else f"models:/{self.name}/{self.version}"

    @property
    def link(self) -> str:
        """The version's page in the MLflow UI, in Markdown."""
        return f"[{self.name}, version {self.version}](#/models/{self.name}/versions/{self.version})"


class Registry(Connected):
    """The models of one tracking store."""

    # --- writing ---------------------------------------------------------------------------------------------------

    def register(
        self,
        classifier: Classifier,
        example: "pd.DataFrame",
        *,
        name: str,
        run_id: str,
        tags: Mapping[str, str],
        about: str = "",
    ) -> Registered:
        """Log the classifier under a run, register it, and make it the champion if its dev cost earns it.

        A version with the same parameters is not registered twice.

        Parameters
        ----------
        example : a few rows of raw feature columns.
        about : the version's description, in Markdown.
        tags : of the version; `parameters_sha256`, `data_digest` and `dev_cost` decide.
        """
        found = self._same(name, tags["parameters_sha256"])
        number = str(found.version) if found else self._log(classifier, example, name, run_id, tags, about)
        champion, reason = self._crown(name, number, tags)
        return Registered(name, number, found is None, champion, reason)

    def annotate(self, name: str, number: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version; they never move the alias."""
        for key, value in tags.items():
            self._guarded(self._client.set_model_version_tag, name, number, key, value)

    def _same(self, name: str, sha256: str) -> "ModelVersion | None":
        for found in self._guarded(self._client.search_model_versions, f"name='{name}'"):
            if found.tags.get("parameters_sha256") == sha256:
                return found
        return None

    def _log(
        self,
        classifier: Classifier,
        example: "pd.DataFrame",
        name: str,
        run_id: str,
        tags: Mapping[str, str],
        about: str,
    ) -> str:
        with undisturbed():
            from mlflow.entities import LoggedModelOutput
            from mlflow.models import Model

        experiment = self._guarded(self._client.get_run, run_id).info.experiment_id
        self._guarded(files_folder, self._client, self.store, self._client.get_experiment(experiment))
        model = self._guarded(
            self._client.create_logged_model, experiment, "model", run_id, dict(tags), None, "classifier"
        )
        with tempfile.TemporaryDirectory() as staging:
            folder = Path(staging) / "model"
            meta = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
            self._guarded(save, classifier, example, folder, mlflow_model=meta)
            self._guarded(self._client.log_model_artifacts, model.model_id, str(folder))
        self._guarded(self._client.finalize_logged_model, model.model_id, "READY")
        self._guarded(self._client.log_outputs, run_id, [LoggedModelOutput(model.model_id, 0)])
        return self._new_version(name, run_id, model.model_id, tags, about)

    def _new_version(self, name: str, run_id: str, model_id: str, tags: Mapping[str, str], about: str) -> str:
        if not self._guarded(self._client.search_registered_models, f"name='{name}'"):
            self._guarded(self._client.create_registered_model, name)
        known: dict[str, Any] = {"run_id": run_id, "model_id": model_id, "tags": dict(tags), "description": about}
        with _global_address(self.store.uri):
            made = self._guarded(self._client.create_model_version, name, f"models:/{model_id}", **known)
        return str(made.version)

    def _crown(self, name: str, number: str, tags: Mapping[str, str]) -> tuple[bool, str]:
        """Move the alias if no version has it, or one with a higher dev cost on the same split; ignore the test set."""
        champion = self.champion(name)
        if champion is not None and str(champion.version) == number:
            return True, "it is the champion already"
        if champion is not None:
            theirs, ours = champion.tags, tags
            if theirs.get("data_digest") != ours["data_digest"]:
                return False, (
                    f"version {champion.version} stays the champion: it was chosen on another split, whose dev costs "
                    "do not compare; give this one another name with model=…"
                )
            theirs_cost, ours_cost = _number(theirs.get("dev_cost")), _number(ours["dev_cost"])
            if not ours_cost < theirs_cost:
                return False, (
                    f"version {champion.version} stays the champion: its dev cost {short(theirs_cost)} "
                    f"is not higher than {short(ours_cost)}"
                )
        self._guarded(self._client.set_registered_model_alias, name, CHAMPION, number)
        before = f"its dev cost is lower than that of version {champion.version}" if champion else "it is the first"
        return True, f"{before}, so it is the champion"

    # --- reading ---------------------------------------------------------------------------------------------------

    def champion(self, name: str) -> "ModelVersion | None":
        """Return the version that the alias points at."""
        for model in self._guarded(self._client.search_registered_models, f"name='{name}'"):
            if CHAMPION in (model.aliases or {}):
                return self._guarded(self._client.get_model_version_by_alias, name, CHAMPION)
        return None

    def load(self, address: str) -> Classifier:
        """Read the classifier at `models:/<name>@<alias>` or `models:/<name>/<version>`, without running its code.

        Raises
        ------
        RecordError
            There is no such model, or this pipeline did not make it.
        """
        found = self._version(address)
        with self._files(found) as folder:
            try:
                text = untrusted.read_json(folder / DESCRIPTION)
                classifier = Classifier.restore(text, untrusted.read_arrays(folder / PARAMETERS, _ARRAY_NAME))
            except (RecordError, ValueError, KeyError, TypeError, AttributeError) as error:
                reason = f"it has no {error}" if isinstance(error, KeyError) else f"{error}".rstrip(".")
                raise RecordError(
                    f"The model {address} is none that this pipeline can read: {brief(reason)}."
                ) from None
        recorded = found.tags.get("parameters_sha256")
        if recorded not in (None, digest(classifier.parameters)):
            raise RecordError(f"The parameters of the model {address} are not those that were registered.")
        return classifier

    def of_runs(self) -> dict[str, list["ModelVersion"]]:
        """The versions of all models with files, by the run that each names as its origin."""
        found: dict[str, list[ModelVersion]] = {}
        for model in self._guarded(self._client.search_registered_models):
            for each in self._guarded(self._client.search_model_versions, f"name={quoted(model.name)}"):
                if each.run_id and "parameters_sha256" in each.tags:
                    found.setdefault(str(each.run_id), []).append(each)
        return found

    def _version(self, address: str) -> "ModelVersion":
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise RecordError(f"MODEL must be models:/<name>@<alias> or models:/<name>/<version>, but is {address}.")
        from mlflow.exceptions import MlflowException

        try:
            if match["alias"]:
                return self._client.get_model_version_by_alias(match["name"], match["alias"])
            return self._client.get_model_version(match["name"], match["version"])
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise explain(error, self.store) from error
        models = self._guarded(self._client.search_registered_models)
        known = ", ".join(f"models:/{m.name}@{alias}" for m in models for alias in (m.aliases or {})) or "none"
        raise RecordError(
            f"The store {self.store.shown} has no model {address}; it has {known} (`make final` makes one)."
        )

    @contextlib.contextmanager
    def _files(self, found: "ModelVersion") -> Iterator[Path]:
        """Yield the folder with the classifier's two files: the store's own if it is on this machine, else a copy."""
        uri = self._guarded(self._client.get_model_version_download_uri, found.name, found.version)
        place = as_folder(uri)
        if place is not None:
            yield self._own(place) / "artifacts" / "classifier"
            return
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as staging:
            source = f"{uri.rstrip('/')}/artifacts/classifier"
            yield Path(
                self._guarded(download_artifacts, artifact_uri=source, dst_path=staging, tracking_uri=self.store.uri)
            )

    def _own(self, place: Path) -> Path:
        """Return where a model's files are: under this store, which may have been moved or copied, else as named."""
        base = as_folder(self.store.artifacts or "") if self.store.artifacts else None
        if base is None or place.parts[-3:-2] != ("models",):
            return place
        here = base.joinpath(*place.parts[-3:])
        return here if here.is_dir() else place


def _number(text: str | None) -> float:
    """Return the number in a tag; infinite if there is none, so that such a version never wins."""
    try:
        return float(text or math.inf)
    except ValueError:
        return math.inf


@contextlib.contextmanager
def _global_address(uri: str) -> Iterator[None]:
    """Set the process's tracking address, at which MLflow's SQL registry looks up a logged model."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before


def plain_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Return tags as text; numbers exactly as Python writes them."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
