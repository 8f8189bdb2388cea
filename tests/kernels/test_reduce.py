"""Kernel sums against double loops, against float64, and against what cannot be asked."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    median_bandwidth,
    row_sums,
    row_sums_both,
)
from causalif.kernels import _numpy as engine
from causalif.kernels import _points as points
from causalif.kernels import _tiles as tiles
from causalif.kernels._compiled import gaussian_sums

# In float32, means of kernel values are promised to this.
PROMISED = 2e-7


@pytest.fixture(params=["numpy", "compiled"])
def on_cpu(request: pytest.FixtureRequest) -> str:
    """Each backend of the processor."""
    if request.param == "compiled" and gaussian_sums() is None:
        pytest.skip("the sums are not compiled here")
    return str(request.param)


def rows(n: int, d: int, seed: int) -> np.ndarray:
    """Standard normal features, the last column a class 0, 1, 2."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.standard_normal((n, d)), rng.integers(3, size=n)])


def tolerance(precision: str) -> float:
    return PROMISED if precision == "float32" else 1e-12


def kernels_at(scale: float) -> list[object]:
    return [
        Gaussian(scale),
        GaussianMixture((scale / 2, scale, 3 * scale)),
        Matern(scale),
        Matern(scale, smoothness=2.5),
        InverseMultiquadric(scale),
        Laplace(scale),
    ]


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("d", [1, 3, 64, 513])
@pytest.mark.parametrize(("n", "m"), [(513, 700), (1, 1030), (1500, 1), (65, 64)])
def test_float32_is_close_to_float64(d: int, n: int, m: int, shift: float, on_cpu: str) -> None:
    """The promise, for float32 features, sizes that fill no tile, and data far from the origin."""
    rng = np.random.default_rng(d + n)
    A = (rng.standard_normal((n, d)) + shift).astype(np.float32)
    B = (rng.standard_normal((m, d)) + shift + 0.1).astype(np.float32)
    width = median_bandwidth(np.concatenate([A, B]))
    for factor in (0.25, 1.0, 2.0) if d < 513 else (1.0,):
        for kernel in kernels_at(factor * width):
            narrow = row_sums_both(A, B, kernel, backend=on_cpu)
            wide = row_sums_both(A, B, kernel, precision="float64")
            assert np.abs(narrow.rows - wide.rows).max() <= PROMISED * m, kernel
            assert np.abs(narrow.columns - wide.columns).max() <= PROMISED * n, kernel
            if n == 513:
                own = [
                    row_sums(A, None, kernel, symmetric=True, precision=p, backend=on_cpu).sums
                    for p in ("float32", "float64")
                ]
                assert np.abs(own[0] - own[1]).max() <= PROMISED * n, kernel


@pytest.mark.parametrize("design", ["outliers", "heavy tails", "far clusters", "narrow"])
def test_float32_holds_where_norms_are_large(design: str, on_cpu: str) -> None:
    """Rows many bandwidths from the centre cancel digits in the exponent; their tiles are found and done in float64."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((1400, 3))
    if design == "outliers":
        X[::100] *= 1000
        X[1::100] = X[::100] + 0.1
    if design == "heavy tails":
        X /= np.sqrt(rng.chisquare(1.5, size=(1400, 1)))
    if design == "far clusters":
        X[::2] += 1e4
    width = 0.05 if design == "narrow" else 1.0
    for kernel in kernels_at(width):
        narrow, wide = (
            row_sums(X, None, kernel, symmetric=True, precision=p, backend=on_cpu).sums for p in ("float32", "float64")
        )
        assert np.abs(narrow - wide).max() <= PROMISED * len(X), kernel
    K = np.exp(-((X[:40, None] - X[None]) ** 2).sum(axis=2) / (2 * width**2)).sum(axis=1)
    found = row_sums(X, None, Gaussian(width), symmetric=True, backend=on_cpu)
    np.testing.assert_allclose(found.total[:40], K, rtol=0, atol=PROMISED * len(X))


def test_many_equal_rows(on_cpu: str) -> None:
    """Binary features: few different kernel values, whose rounding errors do not average out."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = (rng.random((700, 1 + seed % 4)) < rng.uniform(0.02, 0.5)).astype(float)
        X = X[np.lexsort(X.T)] / np.maximum(X.std(axis=0), 0.1)
        kernel = Gaussian(rng.uniform(0.3, 5))
        narrow, wide = (
            row_sums(X, None, kernel, symmetric=True, precision=p, backend=on_cpu).sums for p in ("float32", "float64")
        )
        assert np.abs(narrow - wide).max() <= PROMISED * len(X), (seed, kernel)


@pytest.mark.parametrize("d", [1, 2, 5, 20, 300])
def test_clusters_far_out_and_a_few_bandwidths_apart(d: int, on_cpu: str) -> None:
    """Their norms cancel to the last digit, and the true exponents are not far below what rounding makes of them."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        u = np.abs(rng.normal(size=d)) if seed % 2 else rng.normal(size=d)
        u /= np.linalg.norm(u)
        radius = 10 ** rng.uniform(2, 7)
        half_ulps = 2.0**-24 * 2 * 0.72 * radius**2
        apart = np.sqrt((half_ulps * rng.uniform(1, 3) + rng.uniform(20, 60)) / 0.72)
        A, B = (r * u + rng.normal(size=(64, d)) * 1e-3 for r in (radius, radius + apart))
        narrow, wide = (
            row_sums(A, B, Gaussian(1.0), center=np.zeros(d), precision=p, backend=on_cpu).sums
            for p in ("float32", "float64")
        )
        assert np.abs(narrow - wide).max() <= PROMISED * 64, (seed, radius, apart)


@pytest.mark.parametrize(("d", "worst"), [(1, 3e-7), (200, 1e-6), (800, 2e-6)])
def test_near_copies_away_from_the_centre_err_in_one_direction(d: int, worst: float) -> None:
    """What the notes of `row_sums` say of them; their norms are just small enough for float32."""
    rng, kernel = np.random.default_rng(0), Gaussian(1.0)
    middle = np.abs(rng.normal(size=d))
    middle *= np.sqrt(3.55 / kernel.scale) / np.linalg.norm(middle)
    A = (middle + 1e-4 * rng.normal(size=(600, d)) / np.sqrt(d)).astype(np.float32)
    narrow, wide = (
        row_sums(A, None, kernel, symmetric=True, center=np.zeros(d), precision=p).sums for p in ("float32", "float64")
    )
    assert np.abs(narrow - wide).max() <= worst * 600


def test_far_tiles_are_what_float64_is_used_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the same data break the promise, so the test above can fail; and few tiles need it."""
    rng = np.random.default_rng(3)
    X = 0.7 * rng.standard_normal((9000, 3))
    X[::500] = 3000 + 0.5 * rng.standard_normal((18, 3))
    exact = row_sums(X, None, Gaussian(1.0), symmetric=True, precision="float64").sums
    counts = []

    def counted(*args: object) -> np.ndarray:
        found = points.far_tiles(*args)  # type: ignore[arg-type]
        counts.append((found.sum(), found.size))
        return found

    monkeypatch.setattr(engine, "far_tiles", counted)
    kept = row_sums(X, None, Gaussian(1.0), symmetric=True).sums
    far, every = np.sum(counts, axis=0)
    assert 0 < far < 0.1 * every
    monkeypatch.setattr(engine, "far_tiles", lambda *args: 0 * points.far_tiles(*args))
    lost = row_sums(X, None, Gaussian(1.0), symmetric=True).sums
    assert np.abs(kept - exact).max() <= PROMISED * len(X)
    assert np.abs(lost - exact).max() > PROMISED * len(X)


@pytest.mark.parametrize("kernel", [Laplace(1.0), Energy(), Matern(1.0), Product(Laplace(1.0), SameLabel())], ids=str)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_near_duplicates(kernel: object, precision: str) -> None:
    """Distances of 1e-9 to 1e-3 between rows 30 from the centre, where a product alone would leave 1e-7 or worse."""
    rng = np.random.default_rng(4)
    base = np.repeat(rng.standard_normal((8, 5)) * 30, 40, axis=0)
    X = base + rng.standard_normal(base.shape) * np.logspace(-9, -3, len(base))[:, None]
    X = np.column_stack([X, np.zeros(len(X))])
    r = np.sqrt(((X[:, None] - X[None]) ** 2).sum(axis=2))
    plain = kernel.features if isinstance(kernel, Product) else kernel
    K = plain.at(r)  # type: ignore[attr-defined]
    found = row_sums(X, None, kernel, symmetric=True, precision=precision, center=np.zeros(6))  # type: ignore[arg-type]
    # The energy kernel is as large as the distances.
    atol = 1e-10 * max(1.0, float(r.max())) if not isinstance(kernel, Matern) else tolerance(precision)
    np.testing.assert_allclose(found.total / len(X), K.mean(axis=1), rtol=0, atol=atol)


def test_duplicates_only() -> None:
    X = np.full((700, 4), 1e4, dtype=np.float32)
    for kernel in (*kernels_at(1.0), Energy()):
        found = row_sums(X, None, kernel, symmetric=True)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.sums, 699 * kernel.at_zero)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.standard_normal((9001, 4)), rng.standard_normal((4500, 4)) + 0.2, rng.standard_normal((4500, 3))


def test_no_digit_depends_on_the_number_of_threads(
    many: tuple[np.ndarray, np.ndarray, np.ndarray], on_cpu: str
) -> None:
    A, B, several = many
    for w in (None, several):
        one, two, five = (row_sums(A, B, Gaussian(2.0), w, n_jobs=jobs, backend=on_cpu).sums for jobs in (1, 2, 5))
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, five)
    own = [row_sums(A, None, Matern(2.0), symmetric=True, n_jobs=jobs).sums for jobs in (1, 3)]
    np.testing.assert_array_equal(own[0], own[1])


def test_several_chunks_equal_blocks(many: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """More rows than a chunk holds, against the dense matrix of some of them."""
    A, B, w = many
    kernel, some = Gaussian(2.0), np.r_[0:5, 3067:3077, 6140:6150, 8995:9001]
    found = row_sums_both(A, B, kernel, weights_b=w, weights_a=A[:, 0])
    np.testing.assert_allclose(found.rows[some], block(A[some], B, kernel) @ w, rtol=0, atol=PROMISED * len(B))
    np.testing.assert_allclose(found.columns[:7], A[:, 0] @ block(A, B[:7], kernel), rtol=0, atol=PROMISED * len(A))
    own = row_sums(A, None, kernel, symmetric=True).total
    np.testing.assert_allclose(own[some], block(A[some], A, kernel).sum(axis=1), rtol=0, atol=PROMISED * len(A))


@pytest.mark.parametrize("kernel", [Gaussian(1.0), Laplace(1.0), Product(Gaussian(1.0), SameLabel())], ids=str)
def test_sums_add_up_over_parts(kernel: Gaussian) -> None:
    """What online updates rest on: sums over a union are the sums over its parts."""
    X, batch = rows(1100, 3, 6), rows(90, 3, 7)
    center = X.mean(axis=0)
    together = np.concatenate([X, batch])
    whole = row_sums(together, None, kernel, symmetric=True, center=center, precision="float64").sums
    old, new = row_sums_both(X, batch, kernel, center=center, precision="float64")
    old = old + row_sums(X, None, kernel, symmetric=True, center=center, precision="float64").sums
    new = new + row_sums(batch, None, kernel, symmetric=True, center=center, precision="float64").sums
    np.testing.assert_allclose(np.concatenate([old, new]), whole, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 40),
    d=st.integers(1, 6),
    k=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    shift=st.sampled_from([0.0, -30.0, 1e5]),
    kernel=st.sampled_from([Gaussian(1.3), GaussianMixture((0.7, 1.4)), Matern(1.1, smoothness=2.5), Energy()]),
)
def test_properties(n: int, m: int, d: int, k: int, seed: int, shift: float, kernel: Gaussian) -> None:
    """Shifts change nothing, permutations permute, weights are linear, both sides agree."""
    rng = np.random.default_rng(seed)
    A, B = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    w, order = rng.standard_normal((m, k)), rng.permutation(n)
    size = 10 * PROMISED * (np.abs(w).sum(axis=0).max() + n)
    found = row_sums(A, B, kernel, w).sums
    np.testing.assert_allclose(row_sums(A + shift, B + shift, kernel, w).sums, found, rtol=0, atol=size)
    np.testing.assert_allclose(row_sums(A[order], B, kernel, w).sums, found[order], rtol=0, atol=size)
    np.testing.assert_allclose(row_sums(A, B, kernel, -2 * w[:, 0]).sums, -2 * found[:, 0], rtol=0, atol=2 * size)
    across, along = row_sums_both(A, B, kernel)
    turned = row_sums_both(B, A, kernel, center=B.mean(axis=0))
    np.testing.assert_allclose(across, turned.columns, rtol=0, atol=size)
    np.testing.assert_allclose(along, turned.rows, rtol=0, atol=size)


def test_weights_of_any_size() -> None:
    A, B = rows(30, 3, 0), rows(40, 3, 1)
    w = np.random.default_rng(0).standard_normal(40)
    plain = row_sums(A, B, Gaussian(1.0), w).sums
    for size in (1e-200, 1e200):
        np.testing.assert_allclose(row_sums(A, B, Gaussian(1.0), w * size).sums / size, plain, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(row_sums(A, B, Gaussian(1.0), 0 * w).sums, 0.0)


def test_shapes_follow_the_weights() -> None:
    A, B = rows(5, 2, 0), rows(4, 2, 1)
    assert row_sums(A, B, Gaussian()).sums.shape == (5,)
    assert row_sums(A, B, Gaussian(), np.ones(4)).sums.shape == (5,)
    assert row_sums(A, B, Gaussian(), np.ones((4, 1))).sums.shape == (5, 1)
    both = row_sums_both(A, B, Gaussian(), weights_a=np.ones((5, 2)))
    assert both.rows.shape == (5,)
    assert both.columns.shape == (4, 2)
    for n, m in itertools.product((0, 3), (0, 2)):
        empty = row_sums_both(np.zeros((n, 2)), np.zeros((m, 2)), Gaussian())
        assert (len(empty.rows), len(empty.columns)) == (n, m)
        assert block(np.zeros((n, 2)), np.zeros((m, 2)), Gaussian()).shape == (n, m)
    assert row_sums(np.zeros((0, 2)), None, Gaussian(), symmetric=True).sums.shape == (0,)
    assert row_sums(np.zeros((1, 2)), None, Gaussian(), symmetric=True).sums.tolist() == [0.0]


def test_inputs_are_left_alone() -> None:
    A, B, w = rows(50, 3, 0), rows(40, 3, 1), np.ones(40)
    copies = A.copy(), B.copy(), w.copy()
    for X in (A, B, w):
        X.flags.writeable = False
    row_sums_both(A, B, Laplace(1.0), weights_b=w)
    row_sums(A, None, Gaussian(0.1), symmetric=True)
    for before, after in zip(copies, (A, B, w), strict=True):
        np.testing.assert_array_equal(before, after)


def test_integers_and_strided_rows() -> None:
    A = np.arange(24).reshape(8, 3)
    np.testing.assert_allclose(
        row_sums(A, A[::2], Gaussian(5.0)).sums, row_sums(A * 1.0, A[::2] * 1.0, Gaussian(5.0)).sums, rtol=1e-12
    )
    turned = np.asfortranarray(rows(30, 3, 0)[:, ::-1])
    np.testing.assert_allclose(
        row_sums(turned, turned, Gaussian()).sums, row_sums(turned.copy("C"), turned.copy("C"), Gaussian()).sums
    )


def test_float16_is_read_with_a_warning() -> None:
    A = rows(30, 3, 0).astype(np.float16)
    with pytest.warns(DataWarning, match=r"`A` is float16.*read as float32"):
        found = row_sums(A, None, Gaussian(), symmetric=True).sums
    np.testing.assert_array_equal(found, row_sums(A.astype(np.float32), None, Gaussian(), symmetric=True).sums)


def bad(X: np.ndarray, value: float) -> np.ndarray:
    X = X.copy()
    X[3, 1] = value
    return X


REFUSED = {
    "nan": (lambda A, B: row_sums(bad(A, np.nan), B, Gaussian()), r"`A` must be finite.*1 rows \(the first is row 3\)"),
    "inf": (lambda A, B: row_sums(A, bad(B, np.inf), Gaussian()), r"`B` must be finite.*columns 1;"),
    "columns": (lambda A, B: row_sums(A, B[:, :2], Gaussian()), r"same columns. Got 4 and 2"),
    "one dimension": (lambda A, B: row_sums(A[:, 0], B, Gaussian()), r"`A` must be numbers of shape \(n, d\)"),
    "no columns": (lambda A, B: row_sums(A[:, :0], B[:, :0], Gaussian()), r"d at least 1"),
    "text": (lambda A, B: row_sums(A.astype(str), B, Gaussian()), r"encode text as numbers"),
    "complex": (lambda A, B: block(A + 1j, B, Gaussian()), r"`A` must be numbers"),
    "kernel": (lambda A, B: row_sums(A, B, "rbf"), r"`kernel` must be a kernel of causalif.kernels"),
    "labels only": (lambda A, B: row_sums(A, B, Product(Gaussian(), SameLabel(), columns=4)), r"at least one feature"),
    "weights": (lambda A, B: row_sums(A, B, Gaussian(), np.ones(3)), r"`weights` must be numbers of shape \(8,\)"),
    "nan weights": (lambda A, B: row_sums(A, B, Gaussian(), np.full(8, np.nan)), r"`weights` must be finite"),
    "center": (lambda A, B: row_sums(A, B, Gaussian(), center=[0.0]), r"`center` must be 4 finite numbers"),
    "other rows": (lambda A, B: row_sums(A, B, Gaussian(), symmetric=True), r"must be None or A itself"),
    "no rows": (lambda A, B: row_sums(A, None, Gaussian()), r"`B` must be given unless"),
    "device": (lambda A, B: row_sums(A, B, Gaussian(), device="gpu"), r"`device` must be .*Got 'gpu'"),
    "precision": (lambda A, B: row_sums(A, B, Gaussian(), precision="half"), r"`precision` must be one of"),
    "tf32": (lambda A, B: row_sums(A, B, Gaussian(), precision="tf32", device="cpu"), r"needs a GPU"),
    "backend": (lambda A, B: row_sums(A, B, Gaussian(), backend="keops"), r"`backend` must be one of"),
    "jobs": (lambda A, B: row_sums(A, B, Gaussian(), n_jobs=0), r"`n_jobs` must be a whole number other than 0"),
    "overflow": (lambda A, B: row_sums(1e30 * A, np.tile(B, (9, 1)), Gaussian(1e-5)), r"squares overflow float32"),
    "overflow in float64": (
        lambda A, B: row_sums(A * 1e200, B, Gaussian(), precision="float64"),
        r"squares overflow float64",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        call(rows(10, 3, 0), rows(8, 3, 1))


def test_no_cuda() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    for device in ("cuda", "cuda:1"):
        with pytest.raises(InputError, match=rf"Got '{device}', and torch finds 0 CUDA devices"):
            row_sums(rows(4, 2, 0), rows(4, 2, 1), Gaussian(), device=device)


def test_classes_that_one_side_lacks() -> None:
    A = np.array([[0.0, 1.0], [1.0, 2.0]])
    B = np.array([[0.0, 2.0], [5.0, 3.0]])
    across, along = row_sums_both(A, B, Product(Gaussian(), SameLabel()))
    np.testing.assert_allclose(across, [0.0, np.exp(-0.5)], rtol=1e-7)
    np.testing.assert_allclose(along, [np.exp(-0.5), 0.0], rtol=1e-7)


def test_exp_where_exp2_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some processors have a fast exp only; the digits are as good."""
    A, B = rows(700, 3, 0), rows(600, 3, 1)
    exact = row_sums(A, B, Gaussian(1.5), precision="float64").sums
    monkeypatch.setattr(tiles, "_vectorised_exp2", lambda: False)
    for kernel in (Gaussian(1.5), GaussianMixture((1.5, 1.5))):
        assert np.abs(row_sums(A, B, kernel).sums - exact).max() <= PROMISED * len(B)


def test_a_bar_changes_nothing() -> None:
    A = rows(50, 3, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(row_sums(A, A, Gaussian(), progress=True).sums, row_sums(A, A, Gaussian()).sums)


@pytest.mark.parametrize("kernel", [Gaussian(9.0), Laplace(9.0), Product(Matern(9.0), Gaussian(2.0))], ids=str)
@pytest.mark.parametrize("d", [30, 300, 1200])
@pytest.mark.parametrize(("n", "m"), [(700, 200), (515, 577), (64, 64), (300, 239)])
def test_small_blocks_give_what_whole_tiles_give(
    kernel: object, d: int, n: int, m: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles are filled in one product or block by block, whichever the processor's BLAS is faster at."""
    A, B = rows(n, d, 8), rows(m, d, 9)
    for precision in ("float32", "float64"):
        found = []
        for small in (False, True):
            monkeypatch.setattr(engine, "has_small_products", lambda small=small: small)
            found.append(row_sums_both(A, B, kernel, precision=precision))  # type: ignore[arg-type]
        whole, blocks = found
        np.testing.assert_allclose(blocks.rows, whole.rows, rtol=0, atol=tolerance(precision) * m)
        np.testing.assert_allclose(blocks.columns, whole.columns, rtol=0, atol=tolerance(precision) * n)


@pytest.mark.parametrize("columns", [1, 3])
def test_norms_in_the_weights_give_what_norms_in_the_product_give(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no row is far from the centre, a Gaussian's norms are taken out of the tiles."""
    A, B, draw = rows(700, 20, 3), rows(600, 20, 4), np.random.default_rng(5)
    kernel, v, w = Gaussian(6.0), draw.normal(size=(700, columns)), draw.normal(size=(600, columns))
    asked = []

    def never(*sides: object) -> bool:
        asked.append(found(*sides))
        return False

    found = engine.norms_stay_apart
    apart = row_sums_both(A, B, kernel, weights_a=v, weights_b=w, precision="float64")
    alone = row_sums(A, None, kernel, v, symmetric=True, precision="float64").sums
    monkeypatch.setattr(engine, "norms_stay_apart", never)
    together = row_sums_both(A, B, kernel, weights_a=v, weights_b=w, precision="float64")
    assert asked == [True]
    np.testing.assert_allclose(apart.rows, together.rows, atol=1e-11)
    np.testing.assert_allclose(apart.columns, together.columns, atol=1e-11)
    same = row_sums(A, None, kernel, v, symmetric=True, precision="float64").sums
    np.testing.assert_allclose(alone, same, atol=1e-11)


def test_norms_stay_in_the_product_far_from_the_centre() -> None:
    """2^(|x|²/2) would leave the range of float32."""
    A, zero = rows(301, 4, 1), np.zeros(rows(301, 4, 1).shape[1])
    A[-1] = 60.0
    near = row_sums(A[:-1], A[:-1], Gaussian(2.0), center=zero)
    far = row_sums(A, A, Gaussian(2.0), center=zero)
    np.testing.assert_allclose(far.sums[:-1], near.sums, atol=2e-7 * 300)
    assert far.sums[-1] == pytest.approx(1.0, abs=1e-6)
