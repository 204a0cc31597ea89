"""`make export`: write one run into a folder that a paper can attach and `make rerun` accepts."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.config.commands import ExportConfig
from pipeline.console import compose
from pipeline.console.display import console
from pipeline.tracking.archive import Archive
from pipeline.tracking.export import export as write_export
from pipeline.tracking.export import rerun_command


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline export`."""
    return compose.run("export", ExportConfig, export, arguments)


def export(config: ExportConfig) -> int:
    """Write the folder, and print where it is."""
    tracking = config.tracking
    archive = Archive(tracking)
    run = archive.find(config.run, config.study)
    folder = Path(config.folder or Path(tracking.store) / "exports" / run.handle.replace("/", "-"))
    record = archive.load(run)
    write_export(record, folder, kind=run.kind, name=run.name, run_id=run.run_id)
    console.print(f"{run.handle} is in {folder}\nNext:\n  {rerun_command(record, folder)}")
    return 0
