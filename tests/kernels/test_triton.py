"""The fused kernel, on a CUDA device or in triton's interpreter; skipped where triton is not installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.kernels import (
    Gaussian,
    GaussianMixture,
    InverseMultiquadric,
    Laplace,
    Matern,
    row_sums,
    row_sums_both,
)

torch = pytest.importorskip("torch")
if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KERNELS = [
    Gaussian(2.0),
    GaussianMixture((1.0, 2.0, 5.0), (1.0, 2.0, 1.0)),
    Matern(2.0),
    Matern(2.0, smoothness=2.5),
    InverseMultiquadric(2.0),
]
PROMISED = 2e-7
pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")


def rows(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize(("n", "m", "d"), [(70, 131, 3), (128, 128, 16), (200, 65, 33)])
def test_equals_float64(kernel: Any, n: int, m: int, d: int) -> None:
    A, B = rows(n, d, 0), rows(m, d, 1) + 0.1
    kernel = kernel if d < 10 else Gaussian(6.0)
    v, w = rows(n, 1, 2), rows(m, 1, 3)
    options: dict[str, Any] = {"backend": "triton", "device": DEVICE}
    exact = row_sums_both(A, B, kernel, weights_a=v, weights_b=w, precision="float64")
    found = row_sums_both(A, B, kernel, weights_a=v, weights_b=w, **options)
    np.testing.assert_allclose(found.rows, exact.rows, rtol=0, atol=PROMISED * np.abs(w).sum())
    np.testing.assert_allclose(found.columns, exact.columns, rtol=0, atol=PROMISED * np.abs(v).sum())
    assert np.abs(found.rows - exact.rows).max() > 0, "the float64 path was tested, not the fused one"
    own = row_sums(A, None, kernel, v, symmetric=True, **options).sums
    here = row_sums(A, None, kernel, v, symmetric=True, precision="float64").sums
    np.testing.assert_allclose(own, here, rtol=0, atol=PROMISED * np.abs(v).sum())


def test_row_sums_alone() -> None:
    A, B = rows(140, 5, 0), rows(90, 5, 1)
    found = row_sums(A, B, Gaussian(2.0), backend="triton", device=DEVICE).sums
    np.testing.assert_allclose(found, row_sums(A, B, Gaussian(2.0), precision="float64").sums, atol=PROMISED * 90)


@pytest.mark.parametrize("symmetric", [False, True])
def test_several_blocks_and_far_tiles(symmetric: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 256 rows, tiles of 128 of which some are left to float64."""
    from causalif.kernels import _torch

    monkeypatch.setattr(_torch, "SUPER", 256)
    monkeypatch.setattr(_torch, "FUSED_TILE", 128)
    A, B = rows(600, 3, 0), rows(300, 3, 1)
    A[::50], B[::50] = 300 + 0.3 * A[::50], 300 + 0.3 * B[::50]
    options: dict[str, Any] = {"backend": "triton", "device": DEVICE}
    if symmetric:
        found = row_sums(A, None, Gaussian(1.0), symmetric=True, **options).sums
        exact = row_sums(A, None, Gaussian(1.0), symmetric=True, precision="float64").sums
        assert np.abs(found - exact).max() <= PROMISED * 600
        return
    both, wide = row_sums_both(A, B, Gaussian(1.0), **options), row_sums_both(A, B, Gaussian(1.0), precision="float64")
    assert np.abs(both.rows - wide.rows).max() <= PROMISED * 300
    assert np.abs(both.columns - wide.columns).max() <= PROMISED * 600


def test_what_is_not_fused_goes_to_torch() -> None:
    A, B = rows(80, 3, 0), rows(70, 3, 1)
    options: dict[str, Any] = {"backend": "triton", "device": DEVICE}
    for kernel, weights in ((Laplace(1.0), None), (Gaussian(1.0), rows(70, 2, 2))):
        found = row_sums(A, B, kernel, weights, **options).sums
        exact = row_sums(A, B, kernel, weights, precision="float64").sums
        np.testing.assert_allclose(found, exact, rtol=0, atol=PROMISED * 70)
    with pytest.raises(InputError, match=r'precision="bfloat16"` needs the fused kernel'):
        row_sums(A, B, Laplace(1.0), precision="bfloat16", **options)


@pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter computes every precision alike")
@pytest.mark.parametrize(("precision", "stated"), [("tf32", 2e-5), ("bfloat16", 2e-4)])
def test_faster_precisions_err_as_stated(precision: str, stated: float) -> None:
    A, B = rows(3000, 64, 0), rows(2000, 64, 1) + 0.05
    found = row_sums(A, B, Gaussian(11.3), backend="triton", precision=precision, device=DEVICE).sums
    exact = row_sums(A, B, Gaussian(11.3), precision="float64", device="cpu").sums
    assert 1e-8 * 2000 < np.abs(found - exact).max() < stated * 2000


COMPILE = """
import warnings
warnings.simplefilter("ignore")
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from causalif.kernels import Gaussian, Matern, _triton

for capability, kernel, precision in ((80, Gaussian(1.0), "tf32x3"), (90, Matern(1.0), "tf32x3")):
    shape = _triton.choose_shape(128, "float32", capability // 10)
    fixed = _triton.constants(kernel, 128) | dict(
        PRECISION=precision, SYMMETRIC=True, COLUMNS=True, TILE=1024, BM=shape.rows, BN=shape.columns, BK=shape.depth)
    names = _triton.fused_sums.arg_names
    kinds = {name: "constexpr" if name in fixed else "i32" for name in names}
    kinds |= dict.fromkeys(("x", "y", "nx", "ny", "wx", "wy", "rows_out", "columns_out"), "*fp32") | {"wide": "*i32"}
    places = {(names.index(name),): value for name, value in fixed.items()}
    source = ASTSource(fn=_triton.fused_sums, signature=kinds, constexprs=places)
    options = {"num_warps": shape.warps, "num_stages": shape.stages}
    done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert done.metadata.shared <= 160 * 1024
    assert "ex2.approx" in done.asm["ptx"] and "mma" in done.asm["ptx"] and len(done.asm["cubin"]) > 1000
print("compiled")
"""


def test_compiles_for_gpus_that_are_not_here() -> None:
    """From source to machine code for two generations; triton brings the assembler."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "compiled\n"
