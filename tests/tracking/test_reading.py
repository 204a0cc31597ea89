"""A folder of a record is read back as it was, and a hostile or damaged one is refused in a sentence.

Each hostile folder starts as a good one, and its digests are made to fit, so that it is refused for its content.
"""

import io
import json
import os
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import yaml

from pipeline.config.errors import RecordError
from pipeline.tracking import files, reading, untrusted
from pipeline.tracking.reading import read_folder
from pipeline.tracking.sizes import config_of
from pipeline.trials.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]


@pytest.fixture
def folder(make_record: MakeRecord, tmp_path: Path) -> Path:
    files.write_folder(make_record(), tmp_path / "run", kind="trial", name="trial-0007")
    return tmp_path / "run"


def rewrite_meta(folder: Path, **changes: object) -> None:
    meta = json.loads((folder / files.RECORD).read_text())
    (folder / files.RECORD).write_text(json.dumps(meta | changes))


def replace_text(folder: Path, name: str, text: str) -> None:
    """Replace a file and its recorded digest."""
    (folder / name).write_text(text)
    meta = json.loads((folder / files.RECORD).read_text())
    meta["files_sha256"][name] = files.sha256(text.encode())
    (folder / files.RECORD).write_text(json.dumps(meta))


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + content


def make_npz(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def array_bytes(values: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values), allow_pickle=True)
    return stream.getvalue()


class Bomb:
    """Unpickling this would create a file."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, ("unpickled",)


def test_written_files_are_read_back(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(fit_curves=[{"dev_cost": np.arange(3.0)}, {"dev_cost": np.arange(4.0)}])
    files.write_folder(record, tmp_path / "new" / "run")
    back = read_folder(tmp_path / "new" / "run")
    assert files.digests(back) == files.digests(record)
    assert [sorted(curves) for curves in back.fit_curves] == [["dev_cost"], ["dev_cost"]]
    for name in ("config", "data", "outcome", "reason", "stop_epoch", "summary", "diagnosis", "gradient_checks"):
        assert getattr(back, name) == getattr(record, name), name
    assert back.environment == record.environment
    assert config_of(back).model.hidden_units == [3]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i8", "|b1"])
def test_every_kind_of_array_is_read_as_it_was_written(
    tmp_path: Path, order: Literal["C", "F"], shape: tuple[int, ...], dtype: str
) -> None:
    values = np.asarray(np.random.default_rng(0).integers(0, 2, shape), dtype, order)
    np.savez(tmp_path / "a.npz", W1=values)
    (back,) = untrusted.read_arrays(tmp_path / "a.npz", re.compile("W1")).values()
    assert (back.dtype, back.shape, back.flags.writeable) == (values.dtype, values.shape, True)
    assert (back == values).all()


def test_a_compressed_archive_takes_no_more_memory_than_its_size(tmp_path: Path) -> None:
    """32 MiB of zeros in 32 KiB are refused by the archive's own list of sizes."""
    path = tmp_path / "parameters.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("W1.npy", "w") as member:
        member.write(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (512, 16384)}"))
        for _ in range(512):
            member.write(bytes(4 * 16384))
    tracemalloc.start()
    with pytest.raises(RecordError, match="uncompressed"):
        untrusted.read_arrays(path, re.compile("W1"))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_failed_trial_without_curves_and_parameters_is_read_back(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(outcome="failed", curves={}, parameters={}, summary={}, gradient_checks={}, diagnosis={})
    files.write_folder(record, tmp_path / "run")
    assert read_folder(tmp_path / "run").outcome == "failed"


def test_writing_over_a_folder_leaves_no_drafts(make_record: MakeRecord, folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    files.write_folder(make_record(1), folder)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_record_from_before_the_text_of_its_checks_was_counted_is_read(folder: Path) -> None:
    meta = json.loads((folder / files.RECORD).read_text())
    del meta["files_sha256"][files.CHECKS_TEXT]
    rewrite_meta(folder, **meta)
    assert read_folder(folder).outcome == "completed"


def test_the_written_configuration_is_plain_yaml(folder: Path) -> None:
    assert yaml.safe_load((folder / files.CONFIG).read_text())["model"]["hidden_units"] == [3]


Hostile = Callable[[Path], None]


def pickled_array(folder: Path) -> None:
    make_npz(folder / files.CURVES, {"train_cost.npy": array_bytes(np.array([Bomb()], dtype=object))})


def pickle_instead_of_archive(folder: Path) -> None:
    (folder / files.PARAMETERS).write_bytes(b"\x80\x04\x95\x15\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.")


def archive_that_unpacks_to_gigabytes(folder: Path) -> None:
    make_npz(folder / files.CURVES, {"train_cost.npy": bytes(64 * 2**20)}, zipfile.ZIP_DEFLATED)


def archive_whose_members_share_their_bytes(folder: Path) -> None:
    path = folder / files.CURVES
    make_npz(path, {"train_cost.npy": array_bytes(np.zeros(1000)), "dev_cost.npy": array_bytes(np.zeros(1000))})
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()
    content = path.read_bytes()
    local = content[: second.header_offset]  # the second member is left out, and its entry points at the first
    directory = content[archive.start_dir :].replace(
        second.header_offset.to_bytes(4, "little"), first.header_offset.to_bytes(4, "little")
    )
    end = directory.rindex(b"PK\x05\x06") + 16
    path.write_bytes(local + directory[:end] + len(local).to_bytes(4, "little") + directory[end + 4 :])


def header_with_a_huge_shape(folder: Path) -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"
    make_npz(folder / files.CURVES, {"train_cost.npy": npy(header, bytes(64))})


def header_with_a_negative_shape(folder: Path) -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8)}"
    make_npz(folder / files.CURVES, {"train_cost.npy": npy(header, bytes(64))})


def header_with_code(folder: Path) -> None:
    make_npz(folder / files.CURVES, {"train_cost.npy": npy("__import__('os').mkdir('unpickled')")})


def header_of_an_unknown_version(folder: Path) -> None:
    make_npz(folder / files.CURVES, {"train_cost.npy": npy("{}", version=b"\x09\x00")})


def array_of_texts(folder: Path) -> None:
    make_npz(folder / files.CURVES, {"train_cost.npy": array_bytes(["a" * 100])})


def array_of_structures(folder: Path) -> None:
    make_npz(folder / files.CURVES, {"train_cost.npy": array_bytes(np.zeros(3, dtype=[("a", "f4"), ("b", "f4")]))})


def array_of_seven_dimensions(folder: Path) -> None:
    make_npz(folder / files.PARAMETERS, {"W1.npy": array_bytes(np.zeros((1,) * 7))})


def array_with_bytes_left_over(folder: Path) -> None:
    make_npz(folder / files.CURVES, {"train_cost.npy": array_bytes(np.zeros(3)) + b"more"})


def member_name_that_climbs(folder: Path) -> None:
    make_npz(folder / files.PARAMETERS, {"../../../evil.npy": array_bytes(np.zeros(3))})


def member_name_of_a_script(folder: Path) -> None:
    make_npz(folder / files.PARAMETERS, {"sitecustomize.py": b"print('hello')"})


def member_twice(folder: Path) -> None:
    content = array_bytes(np.zeros(3))
    make_npz(folder / files.CURVES, {"train_cost.npy": content, "train_cosx.npy": content})
    twice = (folder / files.CURVES).read_bytes().replace(b"train_cosx", b"train_cost")
    (folder / files.CURVES).write_bytes(twice)


def too_many_members(folder: Path) -> None:
    content = array_bytes(np.zeros(1))
    make_npz(folder / files.CURVES, {f"{n}/a.npy": content for n in range(12)})


def cut_off_archive(folder: Path) -> None:
    content = (folder / files.CURVES).read_bytes()
    (folder / files.CURVES).write_bytes(content[: len(content) // 2])


def flipped_bit(folder: Path) -> None:
    content = bytearray((folder / files.PARAMETERS).read_bytes())
    content[200] ^= 1
    (folder / files.PARAMETERS).write_bytes(content)


def other_parameters(folder: Path) -> None:
    make_npz(folder / files.PARAMETERS, {"W1.npy": array_bytes(np.zeros((3, 4)))})


def yaml_that_runs_a_command(folder: Path) -> None:
    replace_text(folder, files.CONFIG, "seed: !!python/object/apply:os.mkdir ['unpickled']\n")


def yaml_of_a_billion_laughs(folder: Path) -> None:
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    replace_text(folder, files.CONFIG, "\n".join(lines))


def yaml_nested_too_deep(folder: Path) -> None:
    replace_text(folder, files.CONFIG, "a: " + "[" * 200 + "]" * 200)


def yaml_of_a_list(folder: Path) -> None:
    replace_text(folder, files.CONFIG, "- seed\n- 3\n")


def yaml_with_numbers_as_keys(folder: Path) -> None:
    replace_text(folder, files.CONFIG, "1: seed\n")


def json_nested_too_deep(folder: Path) -> None:
    replace_text(folder, files.ENVIRONMENT, "[" * 100_000 + "]" * 100_000)


def json_of_a_number(folder: Path) -> None:
    replace_text(folder, files.CHECKS, "3")


def json_that_is_none(folder: Path) -> None:
    replace_text(folder, files.ENVIRONMENT, "import os")


def text_too_long(folder: Path) -> None:
    with (folder / files.ENVIRONMENT).open("r+b") as file:
        file.truncate(untrusted.MAX_TEXT_BYTES + 1)


def archive_too_long(folder: Path) -> None:
    with (folder / files.CURVES).open("r+b") as file:
        file.truncate(untrusted.MAX_ARRAY_BYTES + 1)


def link_to_another_file(folder: Path) -> None:
    (folder / files.DIFF).unlink()
    (folder / files.DIFF).symlink_to("/etc/passwd")


def pipe_that_never_ends(folder: Path) -> None:
    (folder / files.CURVES).unlink()
    os.mkfifo(folder / files.CURVES)


def folder_instead_of_a_file(folder: Path) -> None:
    (folder / files.CONFIG).unlink()
    (folder / files.CONFIG).mkdir()


def missing_file(folder: Path) -> None:
    (folder / files.PARAMETERS).unlink()


def edited_configuration(folder: Path) -> None:
    text = (folder / files.CONFIG).read_text()
    (folder / files.CONFIG).write_text(text.replace("lambd: 0.0", "lambd: 0.7"))


def edited_environment(folder: Path) -> None:
    (folder / files.ENVIRONMENT).write_text("{}")


def edited_text_of_the_checks(folder: Path) -> None:
    (folder / files.CHECKS_TEXT).write_text("all is well")


def code_without_its_diff(folder: Path) -> None:
    (folder / files.DIFF).unlink()


def format_of_the_future(folder: Path) -> None:
    rewrite_meta(folder, format=99)


def unknown_outcome(folder: Path) -> None:
    rewrite_meta(folder, outcome="$(reboot)")


def stop_epoch_of_text(folder: Path) -> None:
    rewrite_meta(folder, stop_epoch="9; reboot")


def stop_epoch_beyond_all_bounds(folder: Path) -> None:
    rewrite_meta(folder, stop_epoch=10**30)


def summary_of_texts(folder: Path) -> None:
    rewrite_meta(folder, summary={"best_dev_cost": "0.1"})


def integer_of_thousands_of_digits(folder: Path) -> None:
    replace_text(folder, files.CONFIG, "seed: 1" + ":59" * 3000)


def integer_beyond_floats(folder: Path) -> None:
    text = (folder / files.RECORD).read_text().replace('"best_dev_cost": 0.5', '"best_dev_cost": 1' + "0" * 400)
    (folder / files.RECORD).write_text(text)


def code_of_text(folder: Path) -> None:
    replace_text(folder, files.ENVIRONMENT, '{"code": "x"}')


def diff_of_a_number(folder: Path) -> None:
    (folder / files.DIFF).unlink()
    replace_text(folder, files.ENVIRONMENT, '{"code": {"diff": 5}}')
    meta = json.loads((folder / files.RECORD).read_text())
    del meta["files_sha256"][files.DIFF]
    (folder / files.RECORD).write_text(json.dumps(meta))


def libraries_of_numbers(folder: Path) -> None:
    replace_text(folder, files.ENVIRONMENT, '{"blas": [1, 2]}')


def gradient_check_of_a_number(folder: Path) -> None:
    replace_text(folder, files.CHECKS, '{"init": 5}')


def digests_of_another_kind(folder: Path) -> None:
    rewrite_meta(folder, files_sha256=[1, 2])


HOSTILE: dict[Hostile, str] = {
    pickled_array: "numbers",
    pickle_instead_of_archive: "no .npz archive",
    archive_that_unpacks_to_gigabytes: "uncompressed",
    archive_whose_members_share_their_bytes: "uncompressed",
    header_with_a_huge_shape: "cannot hold",
    header_with_a_negative_shape: "cannot hold",
    header_with_code: "must be a .npy array",
    header_of_an_unknown_version: "must be a .npy array",
    array_of_texts: "numbers",
    array_of_structures: "numbers",
    array_of_seven_dimensions: "cannot hold",
    array_with_bytes_left_over: "bytes long",
    member_name_that_climbs: "no name of a record's array",
    member_name_of_a_script: "no name of a record's array",
    member_twice: "no name of a record's array",
    too_many_members: "at most",
    cut_off_archive: "damaged",
    flipped_bit: "parameters",
    other_parameters: "not what was recorded",
    yaml_that_runs_a_command: "plain YAML",
    yaml_of_a_billion_laughs: "aliases are not allowed",
    yaml_nested_too_deep: "deep",
    yaml_of_a_list: "mapping",
    yaml_with_numbers_as_keys: "text keys",
    json_nested_too_deep: "must be JSON",
    json_of_a_number: "mapping",
    json_that_is_none: "must be JSON",
    text_too_long: "at most",
    archive_too_long: "at most",
    link_to_another_file: "regular file",
    pipe_that_never_ends: "regular file",
    folder_instead_of_a_file: "regular file",
    missing_file: "has no parameters.npz",
    edited_configuration: "not what was recorded",
    edited_environment: "not what was recorded",
    edited_text_of_the_checks: "not what was recorded",
    code_without_its_diff: "not what was recorded",
    format_of_the_future: "format 99",
    unknown_outcome: "outcome",
    stop_epoch_of_text: "stop_epoch",
    stop_epoch_beyond_all_bounds: "stop_epoch",
    summary_of_texts: "summary",
    digests_of_another_kind: "mapping",
    integer_of_thousands_of_digits: "integers of at most 128 bits",
    integer_beyond_floats: "integers of at most 128 bits",
    code_of_text: "code in environment.json",
    diff_of_a_number: "code.diff",
    libraries_of_numbers: "blas in environment.json",
    gradient_check_of_a_number: "init in gradcheck.json",
}


@pytest.mark.parametrize(("hostile", "words"), HOSTILE.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_hostile_or_damaged_record_is_refused_in_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hostile: Hostile, words: str
) -> None:
    monkeypatch.setattr(untrusted, "MAX_ARRAYS", 10)
    monkeypatch.setattr(untrusted, "MAX_ARRAY_BYTES", 32 * 2**20)
    monkeypatch.setattr(untrusted.read_arrays, "__defaults__", (32 * 2**20,))
    monkeypatch.chdir(tmp_path)
    hostile(folder)
    with pytest.raises(RecordError, match=re.escape(words)) as refusal:
        read_folder(folder)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


A_FIT = {
    "repeat": 0,
    "fold": None,
    "outcome": "completed",
    "reason": "",
    "epochs": 6,
    "summary": {"best_dev_cost": 0.5},
}


@pytest.mark.parametrize("change", [{}, {"fold": 2}, {"outcome": "stopped"}, {"epochs": 10**9}])
def test_the_fits_of_a_record_are_read_back(folder: Path, change: dict[str, object]) -> None:
    rewrite_meta(folder, fits=[A_FIT, A_FIT | change])
    assert read_folder(folder).fits == [A_FIT, A_FIT | change]


def test_as_many_fits_as_allowed_are_read_and_not_one_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FITS", 2)
    rewrite_meta(folder, fits=[A_FIT] * 2)
    assert len(read_folder(folder).fits) == 2
    rewrite_meta(folder, fits=[A_FIT] * 3)
    with pytest.raises(RecordError, match=r"fits in record.json must be a list of fits"):
        read_folder(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"repeat": -1},
        {"fold": "x"},
        {"outcome": "$(reboot)"},
        {"reason": 5},
        {"epochs": 10**9 + 1},
        {"summary": {"best_dev_cost": "0.1"}},
    ],
)
def test_a_fit_with_a_value_of_another_kind_is_refused(folder: Path, change: dict[str, object]) -> None:
    rewrite_meta(folder, fits=[A_FIT, A_FIT | change])
    with pytest.raises(RecordError, match=r"fits in record.json must be a list of fits"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_target_": "os.system"}, "_target_"),
        ({"model": {"_target_": "os.system"}}, "_target_"),
        ({"seed": "${oc.env:HOME}"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"training": {"learning_rate": float("nan")}}, "learning_rate"),
        ({"model": {"hidden_units": [10**9]}}, "hidden_units"),
        ({"model": {"hidden_units": [1] * 2000}}, "hidden layers"),
        ({"model": {"hidden_units": [4]}}, "not [4]"),
        ({"model": {"hidden_units": [50_000, 50_000]}}, "weights between hidden layers"),
        ({"data": {"examples": 10**8}}, "data.examples"),
        ({"data": {"name": ["digits"]}}, "data.name"),
    ],
)
def test_a_hostile_configuration_is_refused(make_record: MakeRecord, change: dict[str, object], words: str) -> None:
    with pytest.raises(RecordError, match=re.escape(words)):
        config_of(make_record(config=change))
