from pipeline.tracking.facts import description
from tests.tracking.conftest import a_check, a_record


def test_a_run_whose_trained_gradients_are_wrong_says_so_in_its_description() -> None:
    checks = {"init": a_check("good", 1e-9), "trained": a_check("wrong", 0.3)}
    text = description(a_record(gradient_checks=checks), "trial", "trial-0007", "s/trial-0007")
    assert "The gradients are wrong at the trained parameters" in text
    assert "The gradients are wrong" not in description(a_record(), "trial", "trial-0007", "s/trial-0007")
