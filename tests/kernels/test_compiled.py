"""The compiled pass against numpy in float64, on every vector width of this processor, and what happens without it."""

from __future__ import annotations

import ctypes
import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from causalif.errors import DataWarning, InputError
from causalif.kernels import Gaussian, _compiled, _inputs, row_sums
from causalif.kernels._compiled import LIBRARY, Pass, gaussian_sums, with_lanes

HOOK = Path(__file__).parents[2] / "hatch_build.py"
SOURCE = LIBRARY.parent

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
needs_library = pytest.mark.skipif(gaussian_sums() is None, reason="the sums are not compiled here")


@needs_compiler
def test_is_there_where_a_compiler_is() -> None:
    assert gaussian_sums() is not None


def passes() -> list[tuple[int, Pass]]:
    if gaussian_sums() is None:
        return []
    library = ctypes.CDLL(str(LIBRARY))
    widest = library.gaussian_lanes()
    return [(lanes, with_lanes(library, lanes)) for lanes in (16, 8, 4) if lanes in {widest, *(8,) * (widest == 16)}]


@needs_library
@pytest.mark.parametrize(("lanes", "run"), passes(), ids=str)
@pytest.mark.parametrize(
    ("count", "n", "width"), [(8, 512, 64), (1, 300, 240), (3, 33, 80), (2, 1, 16), (1, 32, 96), (1, 31, 176)]
)
def test_equals_numpy(lanes: int, run: Pass, count: int, n: int, width: int) -> None:
    """Ragged sizes, weights of both signs."""
    rng = np.random.default_rng(n + width)
    tile = (-30 * rng.random((count, n, width)) ** 3).astype(np.float32)
    right, left = rng.normal(size=(count, width, 1)).astype(np.float32), rng.normal(size=(n, 1)).astype(np.float32)
    values = np.exp2(tile.astype(np.float64))
    rows, columns = run(tile, right, left)
    by_rows = np.einsum("cij,cj->i", values, right[..., 0].astype(np.float64))
    by_columns = np.einsum("cij,i->cj", values, left[:, 0].astype(np.float64))
    # Terms of a group have a few half ulps of the largest running sum each.
    np.testing.assert_allclose(rows[:, 0], by_rows, rtol=0, atol=3e-7 * np.abs(right).sum())
    np.testing.assert_allclose(columns[:, 0], by_columns.ravel(), rtol=0, atol=3e-7 * np.abs(left).sum())


@needs_library
@pytest.mark.parametrize(("lanes", "run"), passes(), ids=str)
@pytest.mark.parametrize(("count", "n", "width"), [(8, 512, 64), (1, 130, 240)])
def test_rounding_of_equal_values_does_not_add_up(lanes: int, run: Pass, count: int, n: int, width: int) -> None:
    """Equal terms all round in one direction, as where features are binary or rows are copies."""
    right, left = np.ones((count, width, 1), dtype=np.float32), np.ones((n, 1), dtype=np.float32)
    for exponent in -np.linspace(0, 3, 300):
        tile = np.full((count, n, width), exponent, dtype=np.float32)
        value = np.exp2(float(np.float32(exponent)))
        rows, columns = run(tile, right, left)
        assert np.abs(rows / (count * width) - value).max() < 2e-7
        assert np.abs(columns / n - value).max() < 2e-7


@needs_library
@pytest.mark.parametrize(("lanes", "run"), passes(), ids=str)
def test_powers_of_two(lanes: int, run: Pass) -> None:
    """To 1e-7 from 126 down to -126, exact at whole numbers, zero below, without bias."""

    def powers(x: np.ndarray) -> np.ndarray:
        tile = np.zeros((1, len(x), 16), dtype=np.float32)
        tile[0, :, 0] = x
        first = np.zeros((1, 16, 1), dtype=np.float32)
        first[0, 0] = 1
        return run(tile, first, np.ones((len(x), 1), dtype=np.float32))[0][:, 0]

    x = np.random.default_rng(0).uniform(-126, 126, 100_000).astype(np.float32)
    error = powers(x) / np.exp2(x.astype(np.float64)) - 1
    assert np.abs(error).max() < 1e-7
    assert abs(error.mean()) < 5e-9
    whole = np.arange(-125.0, 127.0)
    np.testing.assert_array_equal(powers(whole), np.exp2(whole))
    np.testing.assert_array_equal(powers(np.array([-126.0, -127.5, -1e4, -1e30, -np.inf])), 0.0)


@needs_library
def test_arrays_with_gaps_are_refused() -> None:
    run, tile = gaussian_sums(), np.zeros((1, 4, 32), dtype=np.float32)
    assert run is not None
    with pytest.raises(TypeError, match="contiguous"):
        run(tile[:, :, ::2], np.ones((1, 16, 1), dtype=np.float32), np.ones((4, 1), dtype=np.float32))


@needs_library
def test_auto_takes_it_and_numpy_does_not() -> None:
    X = np.random.default_rng(0).normal(size=(700, 5))
    auto, compiled, plain = (
        row_sums(X, None, Gaussian(2.0), symmetric=True, backend=backend).sums
        for backend in ("auto", "compiled", "numpy")
    )
    np.testing.assert_array_equal(auto, compiled)
    assert (plain != compiled).any()
    np.testing.assert_allclose(plain, compiled, rtol=2e-7)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the library be looked for anew, within this test."""
    monkeypatch.setattr(_inputs, "gaussian_sums", gaussian_sums.__wrapped__)
    return monkeypatch


def test_without_it_numpy_computes(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setattr(_compiled, "LIBRARY", tmp_path / "missing.so")
    X = np.random.default_rng(0).normal(size=(100, 2))
    auto, plain = (row_sums(X, None, Gaussian(1.0), symmetric=True, backend=b).sums for b in ("auto", "numpy"))
    np.testing.assert_array_equal(auto, plain)
    with pytest.raises(InputError, match="C compiler"):
        row_sums(X, None, Gaussian(1.0), symmetric=True, backend="compiled")


def changed(folder: Path, old: str, new: str, source: str | None = None) -> Path:
    """Compile changed sources, as made from themselves unless another fingerprint is given."""
    for name in _compiled.SOURCES:
        (folder / name).write_text((SOURCE / name).read_text().replace(old, new))
    library, source = folder / "changed.so", source or _compiled.fingerprint(folder)
    command = ["cc", "-O1", "-shared", "-fPIC", f'-DSOURCE="{source}"', "-o", str(library)]
    subprocess.run([*command, str(folder / "_gaussian.c")], check=True)
    return library


@needs_compiler
@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("5.5503", "5.56", "differs from numpy"),
        ("c * n + start", "start", "differs from numpy"),
        ("left + start", "left", "differs from numpy"),
        ("gaussian_source", "gaussian_other", "other sources"),
        ("GROUP = 32", "GROUP = 16", None),
    ],
)
def test_is_trusted_only_where_it_agrees(
    fresh: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str, match: str | None
) -> None:
    """A coefficient that is off in its third digit is found, as are wrong strides, and a harmless change is not."""
    fresh.setattr(_compiled, "LIBRARY", changed(tmp_path, old, new))
    if match is None:
        assert gaussian_sums.__wrapped__() is not None
        return
    with pytest.warns(DataWarning, match=match):
        assert gaussian_sums.__wrapped__() is None


@needs_compiler
def test_a_library_of_other_sources_is_not_called(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setattr(_compiled, "LIBRARY", changed(tmp_path, "", "", source="of an earlier version"))
    with pytest.warns(DataWarning, match=r"compiled from other sources .* Install causalif anew"):
        assert gaussian_sums.__wrapped__() is None


# --- building ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HOOK.exists(), reason="runs where the sources are")
@pytest.mark.parametrize("compiler", ["cc", "", "false", "no-such-compiler", "cc '"])
def test_the_wheel_is_pure_where_nothing_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    pytest.importorskip("hatchling")
    compiles = compiler in ("cc", "")
    if compiles and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path / "causalif" / "kernels"
    folder.mkdir(parents=True)
    for name in _compiled.SOURCES:
        shutil.copy(SOURCE / name, folder)
    monkeypatch.setenv("CC", compiler)
    told: list[str] = []
    data: dict[str, object] = {"artifacts": []}
    hook, app = runpy.run_path(str(HOOK))["CompiledSums"], SimpleNamespace(display_warning=told.append)
    hook(str(tmp_path), {}, None, None, "", "wheel", app).initialize("standard", data)
    if compiles:
        assert (data["artifacts"], data["pure_python"], told) == (["causalif/kernels/_gaussian.so"], False, [])
        assert str(data["tag"]).startswith("py3-none-")
        source = ctypes.CDLL(str(folder / "_gaussian.so")).gaussian_source
        source.restype = ctypes.c_char_p
        assert source() == _compiled.fingerprint(SOURCE).encode()
    else:
        assert data == {"artifacts": []}
        assert "leaves them to numpy" in told[0]
    made = {path.name for path in folder.iterdir()} - set(_compiled.SOURCES)
    assert made == ({"_gaussian.so"} if compiles else set())
