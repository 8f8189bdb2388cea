"""Least squares against the certified values of the NIST Statistical Reference Datasets.

Data and certified coefficients: https://www.itl.nist.gov/div898/strd/lls/lls.shtml (public domain). The Wampler targets
are formulas of x = 0..20 plus NIST's table of disturbances; Longley comes with statsmodels. The certified residual sums
of squares are compared as well, so that a wrong digit in the data would show.
"""

import numpy as np
import pytest
from statsmodels.datasets import longley

from causalif.engine.linear import least_squares_folds, ridge_folds

LONGLEY = [
    -3482258.63459582,
    15.0618722713733,
    -0.358191792925910e-01,
    -2.02022980381683,
    -1.03322686717359,
    -0.511041056535807e-01,
    1829.15146461355,
]
LONGLEY_RSS = 836424.055505915

DISTURBANCES = np.array(
    "759 -2048 2048 -2048 2523 -2048 2048 -2048 1838 -2048 2048 "
    "-2048 1838 -2048 2048 -2048 2523 -2048 2048 -2048 759".split(),
    dtype=float,
)
WAMPLER = {  # multiple of the disturbances, base of the powers, certified residual sum of squares
    "Wampler1": (0.0, 1.0, 0.0),
    "Wampler2": (0.0, 0.1, 0.0),
    "Wampler3": (1.0, 1.0, 83554268.0000000),
    "Wampler4": (100.0, 1.0, 835542680000.000),
    "Wampler5": (10_000.0, 1.0, 8355426800000000.0),
}

FILIP = [
    -1467.48961422980,
    -2772.17959193342,
    -2316.37108160893,
    -1127.97394098372,
    -354.478233703349,
    -75.1242017393757,
    -10.8753180355343,
    -1.06221498588947,
    -0.670191154593408e-01,
    -0.246781078275479e-02,
    -0.402962525080404e-04,
]
FILIP_RSS = 0.795851382172941e-03
FILIP_DATA = """
0.8116 -6.860120914 0.9072 -4.324130045 0.9052 -4.358625055 0.9039 -4.358426747 0.8053 -6.955852379 0.8377 -6.661145254
0.8667 -6.355462942 0.8809 -6.118102026 0.7975 -7.115148017 0.8162 -6.815308569 0.8515 -6.519993057 0.8766 -6.204119983
0.8885 -5.853871964 0.8859 -6.109523091 0.8959 -5.79832982 0.8913 -5.482672118 0.8959 -5.171791386 0.8971 -4.851705903
0.9021 -4.517126416 0.909 -4.143573228 0.9139 -3.709075441 0.9199 -3.499489089 0.8692 -6.300769497 0.8872 -5.953504836
0.89 -5.642065153 0.891 -5.031376979 0.8977 -4.680685696 0.9035 -4.329846955 0.9078 -3.928486195 0.7675 -8.56735134
0.7705 -8.363211311 0.7713 -8.107682739 0.7736 -7.823908741 0.7775 -7.522878745 0.7841 -7.218819279 0.7971 -6.920818754
0.8329 -6.628932138 0.8641 -6.323946875 0.8804 -5.991399828 0.7668 -8.781464495 0.7633 -8.663140179 0.7678 -8.473531488
0.7697 -8.247337057 0.77 -7.971428747 0.7749 -7.676129393 0.7796 -7.352812702 0.7897 -7.072065318 0.8131 -6.774174009
0.8498 -6.478861916 0.8741 -6.159517513 0.8061 -6.835647144 0.846 -6.53165267 0.8751 -6.224098421 0.8856 -5.910094889
0.8919 -5.598599459 0.8934 -5.290645224 0.894 -4.974284616 0.8957 -4.64454848 0.9047 -4.290560426 0.9129 -3.885055584
0.9209 -3.408378962 0.9219 -3.13200249 0.7739 -8.726767166 0.7681 -8.66695597 0.7665 -8.511026475 0.7703 -8.165388579
0.7702 -7.886056648 0.7761 -7.588043762 0.7809 -7.283412422 0.7961 -6.995678626 0.8253 -6.691862621 0.8602 -6.392544977
0.8809 -6.067374056 0.8301 -6.684029655 0.8664 -6.378719832 0.8834 -6.065855188 0.8898 -5.752272167 0.8964 -5.132414673
0.8963 -4.811352704 0.9074 -4.098269308 0.9119 -3.66174277 0.9228 -3.2644011
"""


def log_relative_error(found, certified):
    """Number of correct digits, of the worst coefficient."""
    found, certified = np.asarray(found), np.asarray(certified)
    error = np.abs(found - certified) / np.where(certified == 0, 1.0, np.abs(certified))
    return float(-np.log10(max(error.max(), 1e-16)))


def fitted(X, y):
    fit = least_squares_folds(X, y, [slice(0, len(y))])[0]
    return np.append(fit.intercept, fit.coef), float(np.sum((y - fit(X)) ** 2)), fit.rank


def powers(x, degree):
    return np.column_stack([x**k for k in range(1, degree + 1)])


def test_longley():
    data = longley.load_pandas().data.to_numpy(dtype=float)
    found, rss, rank = fitted(data[:, 1:], data[:, 0])
    assert rank == 6
    assert log_relative_error(found, LONGLEY) >= 9
    assert log_relative_error(rss, LONGLEY_RSS) >= 9


@pytest.mark.parametrize("name", WAMPLER)
def test_wampler(name):
    multiple, base, certified_rss = WAMPLER[name]
    x = np.arange(21.0)
    certified = np.array([1, 1, 1, 1, 1, 1]) if base == 1.0 else np.array([1, 0.1, 0.01, 1e-3, 1e-4, 1e-5])
    y = sum((base * x) ** k for k in range(6)) + multiple * DISTURBANCES
    found, rss, rank = fitted(powers(x, 5), y)
    assert rank == 5
    assert log_relative_error(found, certified) >= 9
    if certified_rss:
        assert log_relative_error(rss, certified_rss) >= 9


def test_filip():
    y, x = np.array(FILIP_DATA.split(), dtype=float).reshape(-1, 2).T
    assert len(y) == 82
    found, rss, rank = fitted(powers(x, 10), y)
    assert rank == 10
    assert log_relative_error(found, FILIP) >= 6
    assert log_relative_error(rss, FILIP_RSS) >= 6


def test_ridge_without_penalty_is_least_squares():
    data = longley.load_pandas().data.to_numpy(dtype=float)
    fit = ridge_folds(data[:, 1:], data[:, 0], [slice(0, 16)], 0.0)[0]
    assert log_relative_error(np.append(fit.intercept, fit.coef), LONGLEY) >= 9
