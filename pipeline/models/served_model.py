"""The model as MLflow serves it; MLflow runs this file, which is copied into every registered model.

Nothing imports it. Beside it in the model lie the modules of the project that it needs (`code/`) and two files of plain
data (`artifacts/classifier/`), so it works without the project, and no part of it is a pickle.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipeline.config.errors import DataError
from pipeline.models.inference import Classifier


class ServedClassifier(PythonModel):
    """Raw feature columns in, labels and probabilities out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the network, its normalisation and the names of its classes."""
        self.classifier = Classifier.load(Path(context.artifacts["classifier"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return label and probabilities of each row; report errors in the table to the caller."""
        try:
            return self.classifier.predict(model_input)
        except DataError as error:
            raise MlflowException(str(error), error_code=BAD_REQUEST) from None


set_model(ServedClassifier())
