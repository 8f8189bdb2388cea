import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalif._errors import InputError
from causalif.storage.codec import Reader, Writer, _zoned, from_json, to_json

DAYS = pd.DatetimeIndex(["2024-03-29", "2024-03-30", "2024-03-31", "2024-04-01"])
INDEXES = {
    "range": pd.RangeIndex(3, 11, 2, name="i"),
    "integer": pd.Index([5, -1, 2**62, 0]),
    "unsigned": pd.Index(np.array([1, 2, 3, 2**64 - 1], dtype=np.uint64)),
    "small": pd.Index(np.array([1, 2, 3, 4], dtype=np.int8)),
    "float": pd.Index([0.5, np.nan, np.inf, -0.0]),
    "text": pd.Index(["a", "", "é\n", "\0x"], name="name"),
    "object": pd.Index(["a", 1, 2.5, True], dtype=object),
    "bool": pd.Index([True, False, True, True]),
    "date": DAYS,
    "seconds": DAYS.as_unit("s"),
    "missing date": pd.DatetimeIndex(["2024-01-01", None, "1969-07-20", "2262-01-01"]),
    "zone": DAYS.tz_localize("Europe/Berlin"),
    "utc": DAYS.tz_localize("UTC"),
    "offset": DAYS.tz_localize("+01:30"),
    "duration": pd.TimedeltaIndex(["1D", "2h", "-3s", "0s"]),
    "multi": pd.MultiIndex.from_arrays([list("aabb"), DAYS.tz_localize("UTC"), [1, 2, 1, 2]], names=["x", None, 3]),
}  # fmt: skip


def round_trip(write, read):
    writer = Writer()
    described = json.loads(json.dumps(write(writer)))
    reader = Reader(json.loads(json.dumps(writer.manifest)), writer.members.__getitem__)
    back = read(reader, described)
    reader.refuse_unused()
    return back


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_come_back_exactly(name):
    index = INDEXES[name]
    back = round_trip(lambda w: w.index(index, "index"), lambda r, d: r.index(d, r.length(d)))
    pd.testing.assert_index_equal(back, index, exact="equiv" if name == "multi" else True)
    assert list(back.names) == list(index.names)


def test_frames_come_back_exactly():
    frame = pd.DataFrame(
        {name: pd.Series(index) for name, index in INDEXES.items() if name not in ("range", "multi")},
    ).set_axis(INDEXES["multi"])
    for table in (frame, frame.reset_index(drop=True)):
        back = round_trip(lambda w, table=table: w.frame(table, "t"), lambda r, d: r.frame(d))
        pd.testing.assert_frame_equal(back, table)
    twice = pd.DataFrame([[1, "x"]], columns=["a", "a"])
    for odd in (
        pd.DataFrame(),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame(columns=["a"]),
        twice,
        frame.reset_index(drop=True).iloc[:0, :2],
    ):
        pd.testing.assert_frame_equal(
            round_trip(lambda w, odd=odd: w.frame(odd, "t"), lambda r, d: r.frame(d)), odd, check_index_type=False
        )


@pytest.mark.parametrize(
    "index",
    [
        pd.CategoricalIndex(["a", "b"]),
        pd.period_range("2024", periods=2, freq="Y"),
        pd.interval_range(0, 2),
        pd.Index([1, None], dtype="Int64"),
        pd.Index([object(), object()]),
        pd.Index([1j, 2j]),
    ],
)
def test_other_indexes_are_refused(index):
    with pytest.raises(InputError, match="Only numbers, text, bools and dates can be saved"):
        Writer().index(index, "index")


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    scalars,
    lambda x: st.lists(x) | st.tuples(x, x) | st.dictionaries(st.text().filter(lambda k: not k.startswith("__")), x),
    max_leaves=20,
)


@given(trees)
def test_settings_come_back_exactly(tree):
    back = from_json(json.loads(json.dumps(to_json(tree, "settings"), allow_nan=False)))
    assert back == tree
    assert repr(back) == repr(tree)


def test_sets_and_numpy_numbers_in_settings():
    assert from_json(to_json({"a": {1, 2}, "b": np.float32(0.5), "c": np.bool_(True)}, "s")) == {
        "a": frozenset({1, 2}), "b": 0.5, "c": True,
    }  # fmt: skip
    assert np.isnan(from_json(to_json(float("nan"), "s")))


@pytest.mark.parametrize("value", [object(), b"x", np.zeros(2), {1: 2}, {"__tuple__": [1]}, {"a": [1j]}])
def test_other_settings_are_refused_by_name(value):
    with pytest.raises(InputError, match="holds a"):
        to_json(value, "settings")


@pytest.mark.parametrize(
    "value", [{"__import__": ["os"]}, {"__tuple__": 3}, {"__float__": "1"}, {"__set__": [], "a": 1}]
)
def test_unknown_marks_are_refused(value):
    with pytest.raises(InputError, match="unknown mark"):
        from_json(value)


@pytest.mark.parametrize("zone", ["dateutil//etc/passwd", "dateutil/../../../etc/passwd", "tzlocal()", "../UTC"])
def test_names_of_files_are_no_time_zones(zone):
    with pytest.raises(InputError, match="time zone"):
        _zoned("ns", zone, "index")


@pytest.mark.parametrize("zone", ["UTC", "UTC+02:00", "Europe/Rome"])
def test_common_time_zones_are_read(zone):
    assert str(_zoned("ns", zone, "index").tz) == zone
