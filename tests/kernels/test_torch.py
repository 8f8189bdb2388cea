"""The torch backend gives what numpy gives, and takes tensors as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from causalif._errors import DataWarning, InputError
from causalif.kernels import (
    Energy,
    Gaussian,
    GaussianMixture,
    InverseMultiquadric,
    Laplace,
    Matern,
    Product,
    SameLabel,
    block,
    row_sums,
    row_sums_both,
)

torch = pytest.importorskip("torch")

KERNELS = [
    Gaussian(1.5),
    GaussianMixture((0.5, 1.5, 3.0), (1.0, 2.0, 1.0)),
    Matern(1.5),
    Matern(1.5, smoothness=2.5),
    InverseMultiquadric(1.5),
    Laplace(1.5),
    Energy(),
    Product(Matern(1.5), Gaussian(0.5)),
    Product(Gaussian(1.5), Gaussian(0.5)),
    Product(Gaussian(1.5), SameLabel()),
]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def rows(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.standard_normal((n, 3)), rng.integers(2, size=n)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("precision", "promised"), [("float32", 2e-7), ("float64", 1e-13)])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_equals_numpy(kernel: Any, precision: str, promised: float, device: str) -> None:
    A, B = rows(2100, 0), rows(70, 1)
    A[5], A[7], A[8] = A[6], A[7] * 300, A[7] * 300 + 0.1
    rng = np.random.default_rng(2)
    w, v = rng.standard_normal((70, 2)), rng.uniform(size=2100)
    options = {"backend": "torch", "device": device, "precision": precision}
    size = float(np.abs(block(A[:10], B, kernel)).max())
    exact = row_sums_both(A, B, kernel, weights_a=v, weights_b=w, precision="float64")
    found = row_sums_both(A, B, kernel, weights_a=v, weights_b=w, **options)
    np.testing.assert_allclose(found.rows, exact.rows, rtol=0, atol=promised * size * np.abs(w).sum())
    np.testing.assert_allclose(found.columns, exact.columns, rtol=0, atol=promised * size * v.sum())
    own = row_sums(A, None, kernel, v, symmetric=True, **options)
    here = row_sums(A, None, kernel, v, symmetric=True, precision="float64")
    np.testing.assert_allclose(own.sums, here.sums, rtol=0, atol=promised * size * v.sum())
    np.testing.assert_array_equal(own.diagonal, here.diagonal)


def test_a_tensor_on_the_processor_is_an_array() -> None:
    A = rows(50, 0)
    found = row_sums(torch.from_numpy(A), None, Gaussian(), symmetric=True)
    assert isinstance(found.sums, np.ndarray)
    np.testing.assert_array_equal(found.sums, row_sums(A, None, Gaussian(), symmetric=True).sums)
    np.testing.assert_array_equal(block(torch.from_numpy(A), A, Energy()), block(A, A.copy(), Energy()))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_tensors_are_not_copied_and_not_changed(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from causalif.kernels import _torch, reduce

    seen = []
    for module, name in ((reduce, "prepare"), (_torch, "_on_device")):
        original = getattr(module, name)

        def spied(x: Any, *rest: Any, original: Any = original) -> Any:
            out = original(x, *rest)
            source = out if isinstance(out, torch.Tensor) else out.source
            seen.append(source.data_ptr() if isinstance(source, torch.Tensor) else source.ctypes.data)
            return out

        monkeypatch.setattr(module, name, spied)
    A = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    before = A.detach().clone()
    row_sums(A, None, Gaussian(), symmetric=True, backend=backend)
    assert seen == [A.data_ptr()]
    assert torch.equal(A.detach(), before)


def test_read_only_arrays_and_settings_are_left_alone() -> None:
    A = rows(100, 0)
    A.flags.writeable = False
    torch.backends.cuda.matmul.allow_tf32 = before = True
    try:
        row_sums(A, None, Gaussian(), symmetric=True, backend="torch")
        assert torch.backends.cuda.matmul.allow_tf32 == before
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_with_a_warning(dtype: str) -> None:
    A = torch.from_numpy(rows(30, 0)).to(getattr(torch, dtype))
    with pytest.warns(DataWarning, match=rf"`A` is {dtype}"):
        found = row_sums(A, None, Gaussian(), symmetric=True).sums
    np.testing.assert_array_equal(found, row_sums(A.float(), None, Gaussian(), symmetric=True).sums)


def test_integers() -> None:
    A = torch.arange(12).reshape(4, 3)
    found, expected = row_sums(A, A, Gaussian(3.0)), row_sums(A.numpy(), A.numpy(), Gaussian(3.0))
    np.testing.assert_array_equal(found.sums, expected.sums)


def test_refused() -> None:
    A = torch.zeros(5, 2)
    bad = A.clone()
    bad[3, 1] = float("nan")
    with pytest.raises(InputError, match=r"`A` must be finite.*1 rows \(the first is row 3\), in columns 1"):
        row_sums(bad, A, Gaussian())
    with pytest.raises(InputError, match=r"`A` must be numbers of shape \(n, d\)"):
        row_sums(A[0], A, Gaussian())
    with pytest.raises(InputError, match="needs a GPU"):
        row_sums(A, A, Gaussian(), backend="torch", precision="tf32")
    with pytest.raises(InputError, match="overflow"):
        row_sums(torch.full((100, 1), 1e30), torch.zeros(100, 1), Gaussian(), backend="torch")
