import base64
import io
import json
import os
import pickle
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.results.archive import load, save
from causalif.results.estimate import Estimate, Origin


def full(n=12):
    rng = np.random.default_rng(0)
    psi = rng.normal(size=(n, 2))
    index = pd.MultiIndex.from_arrays([[f"r{i}" for i in range(n)], pd.date_range("2024", periods=n, tz="UTC")])
    return Estimate(
        [1.5, -2e-200],
        (psi - psi.mean(axis=0)) * [1.0, 1e-200],
        ["ATE", "é: <b>"],
        index,
        np.arange(n) % (n // 2) if n >= 40 else None,
        settings={"estimator": "ATE", "folds": 5, "levels": (1, 0), "share": np.float64(0.25), "adjust": ["a", "b"]},
        diagnostics={
            "overlap": pd.DataFrame({"arm": ["a", "b"], "n": [3, 4], "share": [0.1, np.nan]}),
            "empty": pd.DataFrame(),
        },
        splits=pd.DataFrame({"repeat": [0, 1], "term": "ATE", "estimate": [1.0, 2.0], "std_error": 0.1}),
        nuisances=pd.DataFrame({"mu": rng.normal(size=n), "fold": np.arange(n) % 3}, index=index),
        origin=Origin("estimator", pd.DataFrame({"secret": range(n)})),
    )


def assert_same(back, e):
    assert type(back) is Estimate
    np.testing.assert_array_equal(back.values, e.values)
    np.testing.assert_array_equal(back.influence_values, e.influence_values)
    assert back.labels == e.labels
    pd.testing.assert_index_equal(back.index, e.index, check_freq=False)
    assert (back.clusters is None) == (e.clusters is None)
    if e.clusters is not None:
        np.testing.assert_array_equal(back.clusters, e.clusters)
    assert dict(back.settings) == dict(e.settings)
    assert list(back.diagnostics) == list(e.diagnostics)
    for name, table in e.diagnostics.items():
        pd.testing.assert_frame_equal(back.diagnostics[name], table, check_index_type=False)
    for ours, theirs in ((back.splits, e.splits), (back.nuisances, e.nuisances)):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            pd.testing.assert_frame_equal(ours, theirs, check_freq=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.causalif"


def test_everything_but_the_origin_comes_back(path):
    e = full()
    save(e, path)
    back = load(path)
    assert_same(back, e)
    assert back.origin is None
    assert b"secret" not in path.read_bytes()
    assert str(back.summary()) == str(e.summary())
    pd.testing.assert_frame_equal((back["ATE"] * 2).to_frame(), (e["ATE"] * 2).to_frame())


@pytest.mark.parametrize("clusters", [np.arange(50) % 25, np.array([f"c{i % 25}" for i in range(50)]), None])
@pytest.mark.parametrize(
    "index", [pd.RangeIndex(50), pd.Index(np.arange(50.0)), pd.Index([f"r{i}" for i in range(50)])]
)
def test_clusters_and_indexes_come_back(path, index, clusters):
    psi = np.random.default_rng(0).normal(size=(50, 1))
    e = Estimate([1.0], psi - psi.mean(), ["a"], index, clusters)
    save(e, str(path))
    assert_same(load(str(path)), e)
    assert load(path).moments.clusters == e.moments.clusters


def test_equal_estimates_give_equal_files(path, tmp_path):
    save(full(), path)
    save(full(), tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


@dataclass(frozen=True, eq=False, repr=False)
class Special(Estimate):
    extra: object = None


def test_a_subclass_of_ones_own_loads_as_a_plain_estimate(path):
    e = full()
    Special(e.values, e.influence_values, e.labels, e.index, extra=object()).save(path)
    assert type(Estimate.load(path)) is Estimate


def test_a_warning_of_the_fit_is_not_repeated(path):
    with pytest.warns(UserWarning, match="5 clusters"):
        e = Estimate([1.0], np.tile([[1.0], [-1.0]], (5, 1)), ["a"], pd.RangeIndex(10), np.arange(10) % 5)
    save(e, path)
    assert load(path).moments.clusters == 5


# --- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", ["os.replace", "os.fsync", "zipfile.ZipFile.writestr"])
def test_an_interrupted_save_leaves_the_old_file(path, monkeypatch, error, step):
    save(full(), path)
    before = path.read_bytes()

    def interrupt(*args, **kwargs):
        raise error

    monkeypatch.setattr(step, interrupt)
    with pytest.raises(error):
        save(full(30), path)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == before


def test_a_save_that_is_refused_writes_nothing(path):
    e = Estimate([1.0], [[1.0], [-1.0]], ["a"], pd.RangeIndex(2), settings={"learner": object()})
    with pytest.raises(InputError, match=r"settings\['learner'\]"):
        save(e, path)
    odd = Estimate([1.0], [[1.0], [-1.0]], ["a"], pd.CategoricalIndex(["a", "b"]))
    with pytest.raises(InputError, match="index"):
        save(odd, path)
    assert os.listdir(path.parent) == []


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        load(path)


# --- reading what nobody should trust ----------------------------------------------------------------------------


class Bomb:
    """Unpickling this would leave a trace."""

    def __reduce__(self):
        return (exec, ("import os; os.environ['CAUSALIF_BOMB'] = 'exploded'",))


@pytest.fixture(autouse=True)
def _unharmed():
    yield
    assert "CAUSALIF_BOMB" not in os.environ


def members(path):
    with zipfile.ZipFile(path) as whole:
        return {name: whole.read(name) for name in whole.namelist()}


def rewrite(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as whole:
        for name, content in contents.items():
            whole.writestr(name, content)


def changed_header(path, change):
    parts = members(path)
    header = json.loads(parts["header.json"])
    change(header)
    rewrite(path, parts | {"header.json": json.dumps(header)})


def values_member(path):
    return json.loads(members(path)["header.json"])["fields"]["values"]


def psi_member(path):
    return json.loads(members(path)["header.json"])["fields"]["influence_values"]


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_pickles_are_never_opened(path):
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="a pickle is never opened"):
        load(path)
    save(full(), path)
    for content in (npy(np.array([Bomb(), Bomb()], dtype=object)), pickle.dumps(Bomb())):
        rewrite(path, members(path) | {values_member(path): content})
        with pytest.raises(InputError, match="not a plain array of numbers"):
            load(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1.0, np.nan]), "finite"),
        (np.array([1.0, np.inf]), "finite"),
        (np.array([1, 2]), "dtype int64"),
        (np.array([1.0, 2.0, 3.0]), "shape"),
        (np.array(["a", "b"]), "plain array"),
        (np.array([1.0, 2.0])[:, None], "shape"),
        (np.asfortranarray(np.eye(2)), "plain array"),
        (np.array([1.0, 2.0], dtype=">f8"), "plain array"),
        (np.array([1 + 0j, 2]), "plain array"),
    ],
)
def test_values_of_the_wrong_kind(path, array, message):
    save(full(), path)
    rewrite(path, members(path) | {values_member(path): npy(array)})
    with pytest.raises(InputError, match=message):
        load(path)


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/evil.npy", "evil.npy", "header.pkl", "m0.npy.pkl", "a\\b.npy"])
def test_extra_parts_are_refused(path, name):
    save(full(), path)
    rewrite(path, members(path) | {name: b"x"})
    with pytest.raises(InputError):
        load(path)
    assert sorted(os.listdir(path.parent)) == [path.name]


def test_doubled_and_missing_parts_are_refused(path):
    save(full(), path)
    parts = members(path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as whole:
        whole.writestr("header.json", parts["header.json"])
    with pytest.raises(InputError):
        load(path)
    for gone in parts:
        rewrite(path, {name: content for name, content in parts.items() if name != gone})
        with pytest.raises(InputError):
            load(path)


def test_compression_is_refused_before_it_unpacks(path):
    save(full(), path)
    rewrite(path, members(path) | {values_member(path): b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match="compressed"):
        load(path)


def test_declared_sizes_beyond_the_file_are_refused(path):
    save(full(), path)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.index(b"PK\x05\x06"))  # the last entry of the directory
    for field in (at + 20, at + 24):
        content[field : field + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="declares more content"):
        load(path)


def test_a_huge_declared_shape_takes_no_memory(path):
    save(full(), path)
    parts = members(path)
    name = psi_member(path)
    huge = parts[name].replace(b"(12, 2), }" + b" " * 9, b"(10000000000, 2), }")
    assert len(huge) == len(parts[name])
    assert huge != parts[name]
    rewrite(path, parts | {name: huge})
    with pytest.raises(InputError, match="shape"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(format=2),
        lambda h: h.pop("format"),
        lambda h: h["fields"].pop("labels"),
        lambda h: h["fields"].update(labels=["a", "a"]),
        lambda h: h["fields"].update(labels="ab"),
        lambda h: h["fields"].update(labels=[1, 2]),
        lambda h: h["fields"].update(labels=["a"] * 100_000),
        lambda h: h["fields"].update(values="m999.npy"),
        lambda h: h["fields"].update(influence_values=h["fields"]["values"]),
        lambda h: h["fields"].update(index={"kind": "range", "range": [0, 10**30, 1], "names": [None]}),
        lambda h: h["fields"].update(index={"kind": "range", "range": [0, 12, 0], "names": [None]}),
        lambda h: h["fields"].update(index={"kind": "spam", "levels": [], "names": []}),
        lambda h: h["fields"].update(clusters=h["fields"]["index"]["levels"][0]),
        lambda h: h["fields"]["index"]["names"].append([]),
        lambda h: h["fields"].update(settings=[1]),
        lambda h: h["fields"].update(settings={"__import__": ["os"]}),
        lambda h: h["fields"].update(diagnostics=3),
        lambda h: h["fields"]["diagnostics"].pop("overlap"),
        lambda h: h["members"][h["fields"]["values"]].update(shape=[3]),
        lambda h: h["members"].update({h["fields"]["values"]: None}),
        lambda h: h.update(members=[1]),
        lambda h: h.update(fields=None),
    ],
)
def test_a_header_that_does_not_fit(path, change):
    save(full(), path)
    changed_header(path, change)
    with pytest.raises(InputError):
        load(path)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff\xfe", b'{"format": NaN}', b"1" * 5000, b'{"a": ' * 50_000],
)
def test_a_header_that_is_no_mapping(path, text):
    save(full(), path)
    rewrite(path, members(path) | {"header.json": text})
    with pytest.raises(InputError):
        load(path)


def outcome(path, original):
    """Load: identical, or InputError; anything else fails the test."""
    try:
        back = load(path)
    except InputError:
        return False
    assert_same(back, original)
    return True


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "fit"
    save(full(), path)
    return path.read_bytes()


def test_truncated_files(path, sample):
    original = full()
    for size in {*range(0, len(sample), 97), *range(len(sample) - 40, len(sample))}:
        path.write_bytes(sample[:size])
        assert not outcome(path, original)


def test_flipped_bytes(path, sample):
    original, rng = full(), np.random.default_rng(0)
    refused = 0
    for at in range(0, len(sample), 7):
        content = bytearray(sample)
        content[at] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        refused += not outcome(path, original)
    assert refused > 0.5 * len(sample) / 7  # most bytes are content, guarded by checksums


def test_flipped_bytes_in_the_directory(path, sample):
    original, rng = full(), np.random.default_rng(1)
    for at in range(sample.index(b"PK\x01\x02"), len(sample)):
        content = bytearray(sample)
        content[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        outcome(path, original)


def test_noise_inserted_and_blocks_overwritten(path, sample):
    original, rng = full(), np.random.default_rng(2)
    for _ in range(300):
        at, size = int(rng.integers(len(sample))), int(rng.integers(1, 200))
        noise = rng.bytes(size)
        tail = sample[at:] if rng.random() < 0.5 else sample[at + size :]
        path.write_bytes(sample[:at] + noise + tail)
        outcome(path, original)


def test_members_changed_behind_sound_checksums(path, sample):
    """What checksums cannot catch must still be numbers and text, never anything else."""
    rng = np.random.default_rng(3)
    path.write_bytes(sample)
    parts = members(path)
    for _ in range(400):
        name = str(rng.choice(list(parts)))
        content = bytearray(parts[name])
        content[int(rng.integers(len(content)))] ^= int(rng.integers(1, 256))
        rewrite(path, parts | {name: bytes(content)})
        try:
            back = load(path)
        except InputError:
            continue
        assert type(back) is Estimate
        assert np.isfinite(back.std_errors).all()


def first():
    """An estimate that depends on no random numbers, to compare with the file below."""
    psi = np.array([[1.0, -2e-200], [-1.0, 2e-200], [0.5, 0.0], [-0.5, 0.0]])
    index = pd.MultiIndex.from_arrays(
        [["a", "b", "c", "é"], pd.DatetimeIndex(["2024-01-01", "2024-06-01"] * 2, tz="Europe/Berlin")],
        names=["id", None],
    )
    table = pd.DataFrame({"arm": ["x", "y"], "n": [3, 4], "share": [0.1, np.nan], "used": [True, False]})
    splits = pd.DataFrame({"repeat": [0, 1], "term": "ATE", "estimate": [1.0, 2.0], "std_error": 0.1})
    settings = {"estimator": "ATE", "levels": (1, 0), "folds": 5, "notes": ["one"]}
    return Estimate(
        [1.5, -2e-200], psi, ["ATE", "b"], index, settings=settings, diagnostics={"t": table}, splits=splits
    )


# The same as the first version of the format wrote it (zlib, base64); every later version must read it.
FORMAT_1 = """
eNrNV01sG0UUdkio26QJKhREIiqZvRgUy/WuHSeukBqQwqUiyoFKQAjWxjtOtqxnze5sSHBdSg7ckBAIJHpAPVaoN05VDukNcauEVFU95YCghwpVXEBC
qvrmbyc7thurQZU32uybN+978+a9N++Nl84Nj5xM8efV1M5Hv8/fPZJK0XcMOOvIdlCQvxD6uGXU/aBhE+NMxsxljJpnhyHQxkJIXGAjA5gbKAhdH1N+
y8BRo7lFJax8KV+m000bOzYDFfNm3qSssOZyIRjPAqsNvAZqrIIipqRRYIsz2iWoQbkWEzLzmCFbhkO2mojqeMOdYzrXbTZetlaYpNVFst5VstgpeXHV
7CZZ6jSrxCZm+l6sfLBkKZcRwrO91ps72A0lrqLSt8PM3k43+96e2b/bzWK33dGpuos8h2eCZ68ij5LLxpvvLlA1q8YKzTnbixBLKuF74Lm4DkxcQ9V9
s2U166BNpvNjINlc5BGXTnloQyyiJgnaJHSOpX4cCWDE2wpJQBNXQRxxHiLsMlAU0tFnPmbiC1HgN9Hpt1DguXifZh7KNt0UthuI79V1QAJHnsdcVfOi
kPCzQXnUl4gQF69xHyF+Fv2A6hNeirfUMqpVEjU9VK1SzXCIC0xn3ecunqHr+kSsS21l045rr2EfFNe4EsLD1OHDwMZrbNOcAB0FyN5cxkzsR+3E96KG
qBRSRd2zSZ9RKPWIQvfFIB72Y9UV+ghq07MT4eJH4bEi1sEiRRF0lu5h03NJOBAOlmfyiT2sb7TS6Qt9ySeKQh9hEKWozSzFkRvaUBrkGWq3lxItsHzN
ao0CRd80vCI3lo1NqnHLWEmK37v127WvgaLvESrO7Pl28fw7S+8PpTZSrayDwlqQPZPJQrXN5jJZaKMEQlj1A2itwH/b9kIEfFYVYfyalXs9l2lnDvGM
Dgv7RsQ3afP9v3cmEjZbvW2uPzWbr/xAnxtnuZX/fp60+a/JnZVtoLalzcWeNkPLflo2D2me/fn2dHQKqFMyeUoieeygQdMHi/YX8PYQIkfPp8sbzvVE
bGYGITYiJmev/7P44jeXNr9P2vxy4c+Fm0DdlDaXD20zvfkczmph84PYZjHeFeOX+HhP5Jt89nZTXc/Ml598ujgJ1KSM7KyMLL+K0IpL/30YFQqookf1
+fXvfrwK1FXpoblDV4nS/xDVi19Vbo+DPXfuTv0yCV9tnNzDpQv//ZrIzMogVDoZraGuUUvXPnhhAij6HmXVWVZzcTuiHy1WzvJPu3KfLNKmOThH8IFM
1/mk0ee39r5IGj1QNV1+tZp+4uHENFDTcXSKIjoBaiJ+VYHbLqucaN/PzJA4VRQEcM2F0A09c3K49w9Y+Vxm+bHv56wO1Nu+Ag6n40uADtKbvwJZaXkV
0DF681WYP9KyFesYvfkpzJWjshXqGL0VKcz8sbgx6SC9+yjQ9jHZi3SMXv0Vpjwqe4GO0aupwkyNxbVVB+lFVIHeG5MlVcfoRUthXjkuS5iO0YuGwtw6
rkqIjtLLhkKNjMdFRAfpx1aBbozHh7gjG7Rjo0B4Qh2ipXPPsg0/B39TcB/cpdtJPQLr/hRx
"""


def test_a_file_of_the_first_format(path):
    path.write_bytes(zlib.decompress(base64.b64decode(FORMAT_1)))
    assert_same(load(path), first())
