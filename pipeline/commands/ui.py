"""`make ui`: serve the MLflow UI on 127.0.0.1 over the tracking store."""

import os
import socket
import sys
from collections.abc import Sequence

from pipeline.config.commands import TrackingConfig, UiConfig
from pipeline.config.errors import UserError
from pipeline.console import compose
from pipeline.console.display import console
from pipeline.tracking.archive import Archive
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.views import ALL, link, views_of

HOST = "127.0.0.1"


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline ui`."""
    return compose.run("ui", UiConfig, ui, arguments)


def ui(config: UiConfig) -> int:
    """Serve until interrupted; for a tracking server, print where its UI is.

    Raises
    ------
    UserError
        The port is taken, or the store cannot be opened.
    """
    tracking = config.tracking
    recorder = Recorder(tracking)
    path = offer_views(tracking, recorder)
    if recorder.store.kind == "server":
        console.print(f"The runs are on a tracking server; its UI is at {recorder.store.shown}{path}")
        return 0
    _refuse_taken(config.port)
    console.print(f"MLflow UI: http://{HOST}:{config.port}{path}   (Ctrl-C stops it)")
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(config.port), "--workers", "1"]
    # In the environment, because it may hold a password and other users can see command lines.
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": recorder.store.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    sys.stdout.flush()
    return os.execve(sys.executable, command, environment)  # the server replaces this process, so it gets its signals


def offer_views(tracking: TrackingConfig, recorder: Recorder) -> str:
    """Save a view of the run list for each sweep; return the path of the view of all runs."""
    archive = Archive(tracking)
    for key, value in views_of(archive.studies()).items():
        recorder.save_view(key, value)
    return link(recorder.experiment_id, ALL)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port must be free on {HOST}, but {port} is not ({error.strerror}); give another with make ui PORT=…"
            ) from None
