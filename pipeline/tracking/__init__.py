"""Everything that touches MLflow: `Recorder` and `Sender` write, `Archive` reads back; no other package imports it."""
