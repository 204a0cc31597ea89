"""From sweep to prediction with a tracking server in place of the local store, each step from a folder of its own."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.commands.confirm import confirm
from pipeline.commands.final import final
from pipeline.commands.predict import predict
from pipeline.commands.sweep import sweep
from pipeline.config.commands import ConfirmConfig, FinalConfig, PredictConfig, SweepConfig, TrackingConfig
from pipeline.config.errors import UserError
from pipeline.config.validation import parse
from pipeline.tracking.archive import Archive
from tests.conftest import sweep_config
from tests.servers import tracking_server


@pytest.mark.slow
def test_confirm_final_and_predict_work_on_what_the_server_holds_alone(tmp_path: Path) -> None:
    with tracking_server(tmp_path / "server") as server:

        def tracking(folder: str) -> dict[str, object]:
            return {"uri": server.address, "store": str(tmp_path / folder), "code_diff": False, "pictures": False}

        swept: SweepConfig = sweep_config(tmp_path / "one", "study")
        swept.tracking.uri = server.address
        assert sweep(swept) == 0
        plain = {"study": "study", "top": 2, "seeds": 2, "workers": {"count": 1}, "tracking": tracking("two")}
        assert confirm(parse(ConfirmConfig, plain)) == 0
        assert final(parse(FinalConfig, {"study": "study", "tracking": tracking("three")})) == 0
        with pytest.raises(UserError, match="has been opened once"):
            final(parse(FinalConfig, {"study": "study", "tracking": tracking("four")}))

        pd.DataFrame({"x1": [0.0, 1.0], "x2": [0.0, 0.0]}).to_csv(tmp_path / "new.csv", index=False)
        given = {"model": "models:/circles-classifier@champion", "tracking": tracking("five")}
        given |= {"input": str(tmp_path / "new.csv"), "output": str(tmp_path / "out.csv")}
        assert predict(parse(PredictConfig, given)) == 0
        assert len(pd.read_csv(tmp_path / "out.csv")) == 2
        (run,) = Archive(TrackingConfig(uri=server.address, store=str(tmp_path / "six"))).runs("final")
        assert run.tags["model"] == "models:/circles-classifier@champion"
