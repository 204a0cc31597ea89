"""`make final`: open the test set once, for the chosen configuration, and register its model."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.commands import FinalConfig
from pipeline.config.errors import ConfigError, UserError
from pipeline.config.trial import TrialConfig
from pipeline.console import compose
from pipeline.console.display import console, table
from pipeline.console.interruption import terminable
from pipeline.console.next_steps import print_next, same_store
from pipeline.data.arrays import load_arrays
from pipeline.selection.candidates import choose, load, prepare_data
from pipeline.selection.opening import Finalist, Opened, end_dead, lock_of, open_test, permitted
from pipeline.selection.statistics import LEVEL
from pipeline.selection.winner import example_rows, winner
from pipeline.tracking.archive import Archive
from pipeline.tracking.files import digest
from pipeline.tracking.notes import NOTE
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.registry import Registered, Registry, plain_tags

MOST_CLASSES = 20
"""Most classes of a confusion matrix that the terminal shows; larger ones are in the picture and the JSON file."""


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline final`."""
    return compose.run("final", FinalConfig, final, arguments)


def final(config: FinalConfig) -> int:
    """Evaluate and register; return 0 when both were done, or only what was asked for."""
    tracking = config.tracking
    store = Path(tracking.store)
    archive, recorder = Archive(tracking), Recorder(tracking)
    end_dead(recorder, store)
    study = config.study or only_study(archive)
    choice = choose(archive, study)
    if config.evaluate and not (choice.confirmed or config.unconfirmed):
        raise UserError(
            f"The test set is opened for a confirmed winner only. {choice.why} First make confirm STUDY={study}; "
            'ARGS="unconfirmed=true" opens it all the same.'
        )
    candidate = load(archive, choice.run)
    name = model_name(config.model, candidate.config)
    prepared = prepare_data(archive, [candidate], store, allow_path=config.allow_path)
    with lock_of(store, prepared.source_digest), terminable():
        permission = permitted(archive, prepared, force=config.force) if config.evaluate else None
        arrays = load_arrays(prepared.path)
        finalist = Finalist(study, choice, candidate, prepared, arrays, winner(candidate, arrays, prepared))
        console.print(f"Study {study}: {choice.why}\nEvaluated and shipped: {finalist.winner.how}.")
        opened = open_test(finalist, archive, recorder, permission) if permission else None
        if opened is not None:
            _print(opened)
        if config.register:
            registry = Registry(tracking)
            model = ship(finalist, registry, name)
            if opened is not None:
                _link(opened, model, registry, recorder)
            _print_model(model, registry)
    return 0


def only_study(archive: Archive) -> str:
    """Return the store's only study; if there are several, the user must name one.

    Raises
    ------
    ConfigError
        There are several.
    """
    latest, names = archive.latest_study(), sorted({run.study for run in archive.studies()})
    if len(names) > 1:
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        raise ConfigError(f"study must be given, because the store has several ({shown}): make final STUDY={latest}.")
    return latest


def model_name(given: str | None, config: TrialConfig) -> str:
    """Return the registered model's name: the given one, or `<data>-classifier`.

    Raises
    ------
    ConfigError
        A given name that MLflow's addresses could not hold.
    """
    if given is None:
        data = Path(config.data.path).stem if config.data.path else config.data.name
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', data).strip('.-') or 'data'}-classifier"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", given):
        raise ConfigError(
            "model must be 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or a digit, "
            f"but is {given!r}."
        )
    return given


def ship(finalist: Finalist, registry: Registry, name: str) -> Registered:
    """Register the classifier under its trial's run, without any result on the test set."""
    classifier, candidate = finalist.winner.classifier, finalist.candidate
    tags: dict[str, Any] = {
        "study": finalist.study,
        "trial": candidate.run.handle,
        "data_digest": finalist.prepared.digest,
        "source_digest": finalist.prepared.source_digest,
        "dev_cost": finalist.winner.dev_cost,
        "dev_error": finalist.winner.dev_error.value,
        "confirmed": finalist.choice.confirmed,
        "parameters_sha256": digest(classifier.parameters),
    }
    about = (
        f"Made of {finalist.winner.how}. {finalist.choice.why}\n\nRaw feature columns in, label and probabilities out: "
        f"`make predict MODEL=models:/{name}@champion IN=new.csv OUT=out.csv`"
    )
    example, run_id = example_rows(classifier, finalist.arrays), candidate.run.run_id
    return registry.register(classifier, example, name=name, run_id=run_id, tags=plain_tags(tags), about=about)


def _link(opened: Opened, model: Registered, registry: Registry, recorder: Recorder) -> None:
    """Link the model and the test result to each other, once the champion is decided."""
    note = f"{opened.markdown()}\n\nModel: {model.link}; {model.reason}."
    recorder.annotate(opened.run_id, {"model": model.address, NOTE: note})
    result = {"test_error": opened.result.error.value, "test_run_id": opened.run_id}
    registry.annotate(model.name, model.version, plain_tags(result))


def _print(opened: Opened) -> None:
    console.print(f"\n{opened.headline}\n")
    table(*opened.result.class_table())
    console.print(f"In brackets: {LEVEL:.0%} intervals.")
    if len(opened.result.classes) <= MOST_CLASSES:
        console.print()
        table(*opened.result.confusion_table())
    console.print("\n" + "\n".join([*opened.remarks, f"run {opened.run_id}"]))


def _print_model(model: Registered, registry: Registry) -> None:
    state = "registered" if model.is_new else "registered before"
    where = f"PATH={Path(sys.executable).parent}:$PATH MLFLOW_TRACKING_URI={shlex.quote(registry.store.shown)}"
    console.print(f"\nModel {model.name}, version {model.version} ({state}): {model.reason}.")
    predict = f"make predict MODEL={model.address} IN=new.csv OUT=out.csv{same_store()}"
    serve = f"{where} mlflow models serve --env-manager local --port 5001 -m {model.address}"
    print_next([("apply the model", predict), ("serve the model", serve)])
