"""What MLflow shows of a record."""

import numpy as np

from pipeline.tracking.facts import curve_points, description, handle, metrics, params, regularisation, tags
from tests.tracking.conftest import a_check, a_record


def test_a_run_whose_trained_gradients_are_wrong_says_so_in_its_description() -> None:
    checks = {"init": a_check("good", 1e-9), "trained": a_check("wrong", 0.3)}
    text = description(a_record(gradient_checks=checks), "trial", "trial-0007", "s/trial-0007")
    assert "The gradients are wrong at the trained parameters" in text
    assert "The gradients are wrong" not in description(a_record(), "trial", "trial-0007", "s/trial-0007")


def test_what_a_record_says_of_itself_is_no_markup() -> None:
    record = a_record(reason="**bold** <img src=x onerror=alert(1)> [link](http://x) `code`\n# heading\x1b[2J")
    text = description(record, "trial", "trial-0007", "s/trial-0007")
    assert r"\*\*bold\*\* \<img src=x onerror=alert(1)\> [link]\(http://x) \`code\` # heading" in text
    assert "\x1b" not in text


def test_a_description_leaves_out_what_a_record_lacks() -> None:
    record = a_record(gradient_checks={"init": {"relative_error": 1e-9}}, diagnosis={"verdict": "odd", "variance": "x"})
    assert "init None" in description(record, "trial", "trial-0007", "s/trial-0007")


def test_a_diagnosis_beside_the_balanced_error_says_that_it_is_about_plain_errors() -> None:
    record = a_record()
    shown = "**Diagnosis:** high variance (avoidable bias 1.0%, variance 5.0%"
    assert f"{shown}); try" in description(record, "trial", "trial-0007", "s/trial-0007")
    record.config["training"]["monitor"] = "balanced_error"
    said = "plain errors, since the balanced error is recorded for the dev part only"
    assert f"{shown}, {said}); try" in description(record, "trial", "trial-0007", "s/trial-0007")


def test_the_number_of_parameters_is_of_one_fit() -> None:
    alone = a_record()
    parameters = {f"repeat{r}_{name}": values for r in (0, 1) for name, values in alone.parameters.items()}
    fits = [{"repeat": r, "fold": None} for r in (0, 1)]
    several = a_record(parameters=parameters, fits=fits, fit_curves=[alone.curves, alone.curves])
    assert metrics(several)["num_parameters"] == metrics(alone)["num_parameters"] == 3 * 4 + 3 + 2 * 3 + 2


def test_the_spread_over_fits_is_sent_for_every_epoch() -> None:
    points = curve_points({"dev_cost": np.ones(40), "dev_cost_sd": np.ones(40)}, norms=False)
    assert list(points["dev_cost_sd"]) == list(range(40))


def test_a_tag_says_in_one_column_what_was_tried() -> None:
    config = a_record().config
    config["regularization"] |= {"lambd": 2.5, "keep_prob": [0.85, 0.9]}
    config["model"]["init"]["scale"] = 0.4
    assert regularisation(config) == "λ 2.5, keep_prob [0.85, 0.9], scale 0.4"
    assert tags(a_record())["summary"] == "λ 0, keep_prob 1, scale 1"


def test_the_mean_over_repeats_is_shown_with_its_standard_error() -> None:
    record = a_record(summary={"best_dev_cost": 0.0712345, "best_dev_cost_se": 0.00345})
    record.config["repeats"] = 4
    text = description(record, "trial", "trial-0007", "s/trial-0007")
    assert "| best dev cost | 0.0712345 ± 0.0034 |" in text
    assert "mean of 4 repeats" in text
    record.config["repeats"] = 2
    assert "mean of 2 repeats" in description(record, "trial", "trial-0007", "s/trial-0007")
    assert "mean of" not in description(a_record(), "trial", "trial-0007", "s/trial-0007")


def test_no_metric_and_no_param_is_rounded() -> None:
    record = a_record(summary={"best_dev_cost": 0.1 + 0.2})
    record.config["regularization"]["lambd"] = 1 / 3
    assert metrics(record)["best_dev_cost"] == 0.30000000000000004
    assert float(params(record.config)["regularization.lambd"]) == 1 / 3


def test_a_run_is_called_by_its_name_where_that_is_unique_in_its_study() -> None:
    assert handle("trial", "s", "trial-0007", "ab") == "s/trial-0007"
    assert handle("confirm", "s", "confirm-5f5e5bf0-2-2", "ab") == "s/confirm-5f5e5bf0-2-2"
    assert handle("confirm", "s", "confirm", "ab") == handle("trial", "", "trial-0007", "ab") == "ab"
