"""The pictures of the course show what they are said to show."""

from pathlib import Path

import pytest

from docs import pictures

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "draw", [pictures.dropout_scaling, pictures.initial_scales, pictures.symmetry], ids=lambda draw: draw.__name__
)
def test_a_picture_is_drawn_into_its_folder(draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    path = draw()
    assert path.parent == tmp_path
    assert (ROOT / "docs" / path.name).exists(), "the course shows a picture of this name"


def test_every_file_and_picture_that_course_and_guide_name_exists() -> None:
    text = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("course.md", "course.zh-CN.md", "guide.md")
    )
    names = [
        name
        for name in text.replace("(", " ").replace(")", " ").replace("`", " ").split()
        if "/" in name or name.endswith(".png")
    ]
    files = [name.rstrip(",.;") for name in names if name.startswith(("pipeline/", "tests/", "conf/", "docs/"))]
    missing = [name for name in files if not (ROOT / name).exists()]
    missing += [
        name for name in names if name.endswith(".png") and not list(ROOT.glob(f"docs/{name}")) and name != "layers.png"
    ]
    assert len(files) > 20
    assert missing == []


def test_units_with_equal_weights_stay_equal() -> None:
    import numpy as np

    from pipeline.nn.network import Architecture
    from pipeline.nn.parameters import Parameters

    rng = np.random.default_rng(3)
    X = rng.standard_normal((2, 50))
    alike = Parameters((2, 4, 1), np.float64)
    alike.weights[:] = 0.5
    path, _ = pictures._descend(Architecture((2, 4, 1), ("tanh",), "sigmoid"), alike, X, (X[0] > 0).astype(np.intp))
    assert path[-1, 0] != 0.5
    np.testing.assert_allclose(path, path[:, :1] * np.ones(4), rtol=1e-9)
