"""Rows that were made ready once, taken in pieces, joined and changed, against the same rows passed as they are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.kernels import Gaussian, Laplace, Product, SameLabel, row_sums, row_sums_both
from causalif.kernels._ready import ReadyRows

KERNELS = [Gaussian(2.0), Laplace(2.0), Product(Gaussian(2.0), Gaussian(0.5)), Product(Gaussian(2.0), SameLabel()),
           Product(Gaussian(2.0), Laplace(0.5))]  # fmt: skip


def drawn(*sizes, heavy=0.0):
    """Draw tables of four columns, the last one of classes; some rows lie far away if ``heavy`` is not zero."""
    rng = np.random.default_rng(0)
    tables = []
    for n in sizes:
        x = np.column_stack([rng.normal(size=(n, 3)), rng.integers(0, 3, n)])
        x[rng.random(n) < 0.1, :3] += heavy
        tables.append(x.astype(np.float32))
    return tables


def ready(x, kernel, precision="float32"):
    rows = ReadyRows.of(x, kernel, np.zeros(x.shape[1]), precision)
    if not isinstance(getattr(kernel, "labels", None), SameLabel):  # classes are taken apart at every sum
        assert len(rows.pieces) == 1
    return rows


def sums(a, b, kernel, precision="float32"):
    n, m, options = len(a), len(b), {"center": np.zeros(4), "precision": precision, "backend": "numpy"}
    w, v = np.linspace(1, 2, m), np.column_stack([np.linspace(-1, 2, n), np.ones(n)])
    both = row_sums_both(a, b, kernel, weights_a=v, weights_b=w, **options)
    apart = row_sums(a, None, kernel, v, symmetric=True, **options).sums
    return [both.rows, both.columns, apart, row_sums(b, a, kernel, v, **options).sums]


def agree(found, expected, precision, n):
    atol = 1e-11 if precision == "float64" else 2e-7
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one / n, other / n, rtol=0, atol=atol)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_rows_made_ready_give_the_same_digits(kernel, precision):
    a, b = drawn(700, 90, heavy=40.0)
    found = sums(ready(a, kernel, precision), ready(b, kernel, precision), kernel, precision)
    for one, other in zip(found, sums(a, b, kernel, precision), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("heavy", [0.0, 40.0, 3000.0])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rows_added_below_and_put_in_place(precision, heavy):
    kernel = Gaussian(2.0)
    a, first, second, b = drawn(4500, 300, 200, 150, heavy=heavy)
    rows = ready(a, kernel, precision)
    for more in (first, second):
        rows = rows.with_below(np.concatenate([rows.source, more]), ready(more, kernel, precision))
    assert [len(piece) for piece in rows.pieces] == [4500, 500]
    all_rows = np.concatenate([a, first, second])
    agree(sums(rows, b, kernel, precision), sums(all_rows, b, kernel, precision), precision, len(all_rows))
    keep = np.random.default_rng(2).random(5000) < 0.9
    agree(sums(rows.with_only(all_rows[keep], keep), b, kernel, precision), sums(all_rows[keep], b, kernel, precision),
          precision, keep.sum())  # fmt: skip
    head = np.arange(5000) < 4500
    assert [len(piece) for piece in rows.with_only(a, head).pieces] == [4500]
    positions = np.random.default_rng(1).permutation(5000)[:200]
    changed = all_rows.copy()
    changed[positions] = second[::-1]
    rows = rows.with_put(changed, positions, ready(second[::-1].copy(), kernel, precision))
    agree(sums(rows, b, kernel, precision), sums(changed, b, kernel, precision), precision, len(changed))


def test_pieces_stay_few_and_large_ones_are_shared():
    kernel, (a, batch) = Gaussian(2.0), drawn(1000, 10)
    first = rows = ready(a, kernel)
    for _ in range(40):
        rows = rows.with_below(np.concatenate([rows.source, batch]), ready(batch, kernel))
        assert len(rows.pieces) <= 8
    assert sum(map(len, rows.pieces)) == len(rows) == 1400
    assert rows.pieces[0].rows[0] is first.pieces[0].rows[0]
    assert len(first) == 1000
    assert all(np.shares_memory(piece.source, rows.source) for piece in rows.pieces)


def test_other_kernels_and_centers_make_rows_ready_anew():
    a, b = drawn(300, 80)
    rows, kernel = ready(a, Gaussian(2.0)), Gaussian(1.0)
    for center in (np.zeros(4), np.ones(4)):
        found = row_sums(rows, b, kernel, center=center).sums
        np.testing.assert_array_equal(found, row_sums(a, b, kernel, center=center).sums)


def test_copies_and_pickles_hold_the_rows_alone():
    (a,) = drawn(300)
    rows = ready(a, Gaussian(2.0))
    back = pickle.loads(pickle.dumps(rows))
    assert "pieces" not in vars(back)
    np.testing.assert_array_equal(back.pieces[0].rows[0], rows.pieces[0].rows[0])


def test_rows_are_checked_when_they_come():
    with pytest.raises(InputError, match="must be finite"):
        ReadyRows.of(np.array([[np.nan]]), Gaussian(1.0), np.zeros(1), "float32")
