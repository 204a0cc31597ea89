"""OpenML is a local server here that speaks the four calls scikit-learn makes."""

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.datasets import _openml

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data import openml
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import prepare

COLOURS = ("blue", "'red'")  # ARFF may put a value in single quotes
ROWS = [f"{i % 7},{COLOURS[i % 3 > 0]},{'yes' if i % 2 else 'no'},{i % 4}" for i in range(60)]
ARFF = (
    "@RELATION paint\n@ATTRIBUTE size NUMERIC\n@ATTRIBUTE colour {red,blue}\n@ATTRIBUTE dry {yes,no}\n"
    "@ATTRIBUTE grade {0,1,2,3}\n@DATA\n" + "\n".join(ROWS) + "\n"
)


def feature(index: int, name: str, kind: str, target: bool = False) -> dict[str, str]:
    flags = {"is_target": str(target).lower(), "is_ignore": "false", "is_row_identifier": "false"}
    return {"index": str(index), "name": name, "data_type": kind, "number_of_missing_values": "0", **flags}


class Stand(http.server.ThreadingHTTPServer):
    """Serves a data set called paint, remembers what was asked for, and fails when told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.failure: int | None = None
        self.versions = 1
        self.format, self.arff = "ARFF", ARFF

    def pages(self) -> dict[str, object]:
        kinds = [("size", "numeric"), ("colour", "nominal"), ("dry", "nominal"), ("grade", "nominal")]
        features = [feature(i, name, kind, name == "dry") for i, (name, kind) in enumerate(kinds)]
        found = [{"did": 1, "name": "paint", "version": v + 1, "status": "active"} for v in range(self.versions)]
        about = {
            "id": "1",
            "name": "paint",
            "version": "1",
            "status": "active",
            "description": "",
            "format": self.format,
        }
        about |= {"url": f"{self.url}/paint.arff", "md5_checksum": hashlib.md5(self.arff.encode()).hexdigest()}
        return {
            "/list/paint/status/active/": {"data": {"dataset": found}},
            "/data/1": {"data_set_description": about},
            "/features/1": {"data_features": {"feature": features}},
            "/qualities/1": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "60"}]}},
        }


class Answer(http.server.BaseHTTPRequestHandler):
    server: Stand

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.pages().get(self.path)
        body = self.server.arff.encode() if self.path == "/paint.arff" else json.dumps(page).encode()
        known = page is not None or self.path == "/paint.arff"
        self.send_response(self.server.failure or (200 if known else 412))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    server = Stand()
    pages = {"_SEARCH_NAME": "/list/{}", "_DATA_INFO": "/data/{}"}
    pages |= {"_DATA_FEATURES": "/features/{}", "_DATA_QUALITIES": "/qualities/{}"}
    for name, path in pages.items():
        monkeypatch.setattr(_openml, name, server.url + path)
    monkeypatch.setattr(openml, "DELAY_S", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def config(**fields: object) -> DataConfig:
    return DataConfig(**{"name": "paint", "source": "openml"} | fields)


def test_a_data_set_is_fetched_with_its_own_target_and_its_categories_encoded(stand: Stand, tmp_path: Path) -> None:
    prepared = prepare(config(), tmp_path)
    arrays = load_arrays(prepared.path)
    assert arrays.classes == ("no", "yes")
    assert arrays.X.shape == (48, 7)
    names = json.loads((prepared.path / "meta.json").read_text())["features"]
    assert names == ["size", "colour=blue", "colour=red", "grade=0", "grade=1", "grade=2", "grade=3"]
    of_values = ("Exact duplicates", "Column 'grade'")  # what is said of any table, not of reading it
    assert [note for note in prepared.description["notes"] if not note.startswith(of_values)] == []


def test_any_column_can_be_the_target(stand: Stand, tmp_path: Path) -> None:
    assert load_arrays(prepare(config(target="grade"), tmp_path).path).classes == ("0", "1", "2", "3")


def test_fetched_data_are_never_requested_again(stand: Stand, tmp_path: Path) -> None:
    first = prepare(config(), tmp_path)
    asked = len(stand.asked)
    assert prepare(config(), tmp_path).digest == first.digest
    for made in ("arrays", "heldout", "prepared"):
        shutil.rmtree(tmp_path / made)
    stand.failure = 503
    assert prepare(config(), tmp_path).digest == first.digest
    assert len(stand.asked) == asked


def test_several_active_versions_are_noted(stand: Stand, tmp_path: Path) -> None:
    stand.versions = 2
    notes = prepare(config(), tmp_path).description["notes"]
    assert sum("Multiple active versions" in note for note in notes) == 1


@pytest.mark.parametrize("name", ["nosuch", "Paint2"])
def test_an_unknown_name_is_refused_in_one_sentence(stand: Stand, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"'{name}' could not be fetched: No active dataset {name.lower()} found"):
        prepare(config(name=name), tmp_path)


def test_an_unknown_target_is_refused_in_one_sentence(stand: Stand, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"could not be fetched: .*nosuch"):
        prepare(config(target="nosuch"), tmp_path)


def test_a_failing_server_is_told_with_its_answer(stand: Stand, tmp_path: Path) -> None:
    stand.failure = 503
    with pytest.raises(DataError, match="OpenML answered 503"):
        prepare(config(), tmp_path)


def test_a_sparse_data_set_is_refused(stand: Stand, tmp_path: Path) -> None:
    stand.format = "Sparse_ARFF"
    stand.arff = ARFF.split("@DATA")[0] + "@DATA\n" + "{0 3,1 blue,2 no,3 1}\n{0 2}\n" * 30
    with pytest.raises(DataError, match="'paint' is sparse, which is not supported"):
        prepare(config(), tmp_path)


def test_a_damaged_file_is_refused_in_one_sentence(stand: Stand, tmp_path: Path) -> None:
    stand.arff = ARFF + "1,2,3,4,5,6\n"
    with pytest.raises(DataError, match="'paint' could not be fetched: "):
        prepare(config(), tmp_path)


def test_being_offline_is_reported_in_one_sentence_with_the_way_out(stand: Stand, tmp_path: Path) -> None:
    stand.shutdown()
    stand.server_close()
    with pytest.raises(DataError, match=r"OpenML cannot be reached .*refused.*data=file"):
        prepare(config(), tmp_path)


@pytest.mark.parametrize("name", ["../../etc", "a b", "a/b"])
def test_an_impossible_name_is_refused_before_any_request(stand: Stand, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is not the name of an OpenML data set"):
        prepare(config(name=name), tmp_path)
    assert stand.asked == []


def test_a_file_path_beside_an_openml_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path is given but the source is openml"):
        prepare(config(path="my.csv"), tmp_path)


def test_without_a_name_nothing_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.name must be given for data=openml, such as mnist_784"):
        prepare(DataConfig(name="", source="openml"), tmp_path)
