import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from causalif._errors import InputError
from causalif.estimators.kairos import KAIROS
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
    "index", [range(5, 35), np.arange(30) * 2, [f"r{i}" for i in range(30)], np.linspace(0, 1, 30)]
)
def test_indexes_come_back(tmp_path, index):
    value = fitted(pd.Index(index, name="id"))
    value.save(tmp_path / "v")
    pd.testing.assert_index_equal(Valuation.load(tmp_path / "v").index, value.index, exact="equiv")


def test_numeric_labels_come_back(tmp_path):
    frame, clean = (table(n, n).assign(y=lambda f: f["a"] * 2.5) for n in (30, 12))
    value = KAIROS(progress=False).fit(frame, reference=clean, label="y")
    value.save(tmp_path / "v")
    pd.testing.assert_series_equal(Valuation.load(tmp_path / "v").values, value.values)


def test_columns_named_by_numbers_come_back(tmp_path):
    train, clean = table(30).set_axis(range(4), axis=1), table(12, 1).set_axis(range(4), axis=1)
    value = KAIROS(progress=False).fit(train, reference=clean)
    value.save(tmp_path / "v")
    pd.testing.assert_series_equal(Valuation.load(tmp_path / "v").score(train), value.score(train))


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(InputError, match="cannot be saved without pickle"):
        fitted(label_model=RandomForestClassifier(5), weighting=(1, 1)).save(tmp_path / "v")
    with pytest.raises(InputError, match="several levels"):
        fitted(pd.MultiIndex.from_product([range(3), range(10)])).save(tmp_path / "v")
    with pytest.raises(InputError, match="Only numbers, text and bools"):
        fitted(pd.date_range("2020", periods=30)).save(tmp_path / "v")
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "v"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="is not a valuation file"):
        Valuation.load(path)
    fitted().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or was not written by `save`"):
        Valuation.load(path)


def rewritten(path, change):
    with np.load(path) as members:
        arrays = dict(members)
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with open(path, "wb") as stream:
        np.savez(stream, **arrays)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda h, a: h.update(format="causalif valuation 9"), "this version reads"),
        (lambda h, a: h["kernel"].update({"class": "os"}), "not known"),
        (lambda h, a: h["index"].update(range=[0, 7, 1]), "30 rows and 7 row labels"),
        (lambda h, a: a.update(points=a["points"][:4]), "do not fit together"),
        (lambda h, a: a.pop("sums_cross"), "damaged"),
        (lambda h, a: h["model"].update({"class": "Fitted"}), "damaged"),
    ],
)
def test_changed_files_are_refused(tmp_path, change, match):
    fitted().save(tmp_path / "v")
    rewritten(tmp_path / "v", change)
    with pytest.raises(InputError, match=match):
        Valuation.load(tmp_path / "v")


def test_objects_in_a_file_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    fitted().save(tmp_path / "v")
    with np.load(tmp_path / "v") as members:
        arrays = dict(members)
    arrays["points"] = np.array([Trap()], dtype=object)
    with open(tmp_path / "v", "wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(InputError, match="damaged"):
        Valuation.load(tmp_path / "v")


@pytest.mark.parametrize("failing", ["os.replace", "numpy.savez"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch, failing, error):
    value = fitted()
    value.save(tmp_path / "v")
    before = (tmp_path / "v").read_bytes()

    def fail(*arguments, **_):
        if failing == "numpy.savez":
            arguments[0].write(b"half")
        raise error("full")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(error, match="full"):
        value.remove(0).save(tmp_path / "v")
    assert (tmp_path / "v").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v"]
