"""`python -m pipeline <command> [overrides]`: finds the command, and turns errors into a sentence and an exit code.

Worker processes import this module's package again, so nothing heavy is imported here.
"""

import gc
import sys
from importlib import import_module

COMMANDS = {
    "sweep": "search configurations with Optuna, each trial tracked in MLflow",
    "train": "train and track one run",
    "rerun": "train a recorded run again and compare it bit by bit",
    "runs": "list studies and trials with their run ids",
    "ui": "serve the MLflow UI on this machine",
    "preflight": "check gradients and the network before a sweep",
    "confirm": "train the best configurations again on new seeds",
    "final": "open the test set once, for the chosen configuration",
    "predict": "apply a registered model to new examples",
    "report": "gather a sweep in one HTML file",
    "export": "write a run into one folder",
    "remove": "remove a study with its runs and files",
}


COLLECT_AFTER = 100_000
"""Objects after which Python's cyclic collector runs: by default 700, and it then takes a tenth of a command's time."""


def main(arguments: list[str]) -> int:
    """Run one command; the exit code is 0 only on success."""
    if sys.platform == "win32":
        print(
            "error: this needs Linux or macOS, or WSL on Windows, whose file locks and signals it uses.",
            file=sys.stderr,
        )
        return 1
    if not arguments or arguments[0] not in COMMANDS:
        known = "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items())
        print(
            f"usage: python -m pipeline <command> [key=value …]; <command> --help lists its values\n\n{known}",
            file=sys.stderr,
        )
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    from pipeline.config.errors import UserError, exhaustion
    from pipeline.console.memory import check_memory

    name, *rest = arguments
    gc.set_threshold(COLLECT_AFTER)
    try:
        check_memory()
        code: int = import_module(f"pipeline.commands.{name}").main(rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if sentence := exhaustion(error):
            print(f"error: {sentence}", file=sys.stderr)
            return 1
        raise
    return code


def entry() -> int:
    """The console command `sweep-pipeline` of an installed package."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
