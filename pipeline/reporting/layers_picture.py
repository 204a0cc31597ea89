"""The picture of weights, activations and gradients by layer, which shows where they explode or vanish."""

from pathlib import Path

from matplotlib.ticker import MaxNLocator

from pipeline.reporting.style import BLUE, ORANGE, canvas, save
from pipeline.trials.record import TrialRecord

PANELS = {
    "weight_norm": "‖W[l]‖, Frobenius norm",
    "activation_norm": "‖A[l]‖ per example",
    "gradient_norm": "‖∂J/∂W[l]‖",
}


def draw_layers(record: TrialRecord, path: Path) -> Path | None:
    """Draw the norms by layer before training and at the best epoch; return None if the record has none."""
    layers = sum(name.startswith("weight_norm_") for name in record.curves)
    if layers == 0:
        return None
    numbers = range(1, layers + 1)
    epochs = len(record.curves["weight_norm_1"])
    best = min(int(record.summary["best_epoch"]), epochs - 1)  # means of format 1 end with the shortest fold
    with canvas(11.0, 3.8, ncols=3) as (figure, panels):
        for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
            for epoch, colour, marker in {0: (0, BLUE, "o"), best: (best, ORANGE, "s")}.values():
                values = [record.curves[f"{name}_{layer}"][epoch] for layer in numbers]
                words = "initial values" if epoch == 0 else f"best epoch, {best}"
                axes.plot(numbers, values, color=colour, marker=marker, markersize=4, label=words)
            axes.set(title=label, xlabel="layer l")
            if max(max(line.get_ydata()) for line in axes.lines) > 0:  # not where all weights are zero
                axes.set_yscale("log")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0].legend()
        return save(figure, path)
