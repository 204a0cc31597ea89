"""Everything that touches MLflow: `Recorder` and `Sender` write, `Archive` reads back; nothing else imports it.

MLflow reads the settings below from the environment when it is imported and at each request, so they are made here,
before any module of this package can import it. What the user has set stays.
"""

import os

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is raised, and told in one sentence by `store.explain`
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the sender retries, with the training going on
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)
