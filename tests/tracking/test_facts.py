"""What MLflow shows of a record."""

from pipeline.tracking.facts import description
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
