import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from causalif._errors import InputError
from causalif.estimators.kairos import KAIROS
from causalif.storage.codec import Writer
from causalif.valuation import Valuation


def table(rows, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    return frame.assign(c=rng.choice(["x", "y"], size=rows), y=np.where(frame["a"] > 0, "up", "down"))


def fitted(index=None, **options):
    train = table(30)
    train = train if index is None else train.set_axis(index)
    return KAIROS(progress=False, precision="float64", **options).fit(train, reference=table(12, 1), label="y")


@pytest.mark.parametrize(
    "options",
    [{}, {"label_model": "classifier"}, {"label_model": "joint"}, {"label_model": None}, {"kind": "leave_one_out"},
     {"weighting": (1, 2)}, {"weighting": {"feature": 1.0}}, {"bandwidth": [1.0, 2.0]}, {"kernel": "matern"},
     {"kernel": "energy", "label_model": "classifier"}, {"scale": "rows"}],
)  # fmt: skip
def test_a_loaded_valuation_goes_on_like_the_saved_one(tmp_path, options):
    value = fitted(**options)
    value.save(tmp_path / "v")
    back = Valuation.load(tmp_path / "v")
    pd.testing.assert_frame_equal(back.to_frame(), value.to_frame())
    batch = table(4, 2).set_axis([100, 101, 102, 103])
    changed = [v.add(batch).remove([3, 101]).add_reference(table(3, 5)).values for v in (value, back)]
    pd.testing.assert_series_equal(*changed)
    assert back.settings == value.settings


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(range(5, 35), name="id"),
        pd.Index(np.arange(30) * 2),
        pd.Index([f"r{i}" for i in range(30)], name="id"),
        pd.Index(np.linspace(0, 1, 30)),
        pd.DatetimeIndex(list(pd.date_range("2020", periods=30, freq="h", tz="Europe/Paris"))),
        pd.MultiIndex.from_product([range(3), list("abcdefghij")], names=["site", None]),
    ],
    ids=lambda index: type(index).__name__,
)
def test_indexes_come_back(tmp_path, index):
    value = fitted(index)
    value.save(tmp_path / "v")
    back = Valuation.load(tmp_path / "v")
    pd.testing.assert_index_equal(back.index, value.index, exact="equiv")
    pd.testing.assert_series_equal(back.remove(index[3]).values, value.remove(index[3]).values)


def test_numeric_labels_come_back(tmp_path):
    frame, clean = (table(n, n).assign(y=lambda f: f["a"] * 2.5) for n in (30, 12))
    value = KAIROS(progress=False).fit(frame, reference=clean, label="y")
    value.save(tmp_path / "v")
    pd.testing.assert_series_equal(Valuation.load(tmp_path / "v").values, value.values)


def test_columns_named_by_numbers_come_back(tmp_path):
    train, clean = table(30).set_axis(range(4), axis=1), table(12, 1).set_axis(range(4), axis=1)
    for label in (None, 3, np.int64(3)):
        value = KAIROS(progress=False).fit(train, reference=clean, label=label)
        value.save(tmp_path / "v")
        pd.testing.assert_series_equal(Valuation.load(tmp_path / "v").score(train), value.score(train))


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(InputError, match="cannot be saved without pickle"):
        fitted(label_model=RandomForestClassifier(5), weighting=(1, 1)).save(tmp_path / "v")
    with pytest.raises(InputError, match="`row labels` has dtype interval"):
        fitted(pd.interval_range(0, periods=30)).save(tmp_path / "v")
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "v"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="a pickle is never opened"):
        Valuation.load(path)
    fitted().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or was not written by `save`"):
        Valuation.load(path)


def rewritten(path, change):
    """Change the header of a file, and the arrays that it names."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["header.json"])
    change(header["fields"], header["members"], members)
    members["header.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_array(name, array):
    """Put another array where a field says."""
    def change(fields, manifest, members):
        at, writer = fields[name] if name in fields else fields["sums"][name], Writer()
        other = writer.array(array)
        manifest[at], members[at] = writer.manifest[other], writer.members[other]

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f, *_: f["kernel"].update({"class": "os"}), "not known"),
        (lambda f, *_: f["index"].update(range=[0, 7, 1]), "shape"),
        (lambda f, *_: f["labelling"]["model"].update({"class": "Fitted"}), "damaged"),
        (lambda f, *_: f["sums"].pop("cross"), "damaged"),
        (with_array("points", np.zeros((4, 3), dtype=np.float32)), "shape"),
        (with_array("points", np.full((30, 4), np.nan)), "missing or infinite"),
        (with_array("weights", np.zeros(30)), "not above zero"),
        (with_array("reference_cross", np.zeros(13)), "shape"),
        (with_array("residuals", np.zeros(29)), "shape"),
    ],
)
def test_changed_files_are_refused(tmp_path, change, match):
    fitted().save(tmp_path / "v")
    rewritten(tmp_path / "v", lambda *_: None)
    Valuation.load(tmp_path / "v")
    rewritten(tmp_path / "v", change)
    with pytest.raises(InputError, match=match):
        Valuation.load(tmp_path / "v")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    value = fitted()
    value.save(tmp_path / "v")
    before = (tmp_path / "v").read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        value.remove(0).save(tmp_path / "v")
    assert (tmp_path / "v").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v"]
