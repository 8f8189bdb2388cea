"""Do chains agree, and what are their draws worth: split R-hat and the autocorrelation effective sample size."""

from __future__ import annotations

import numpy as np

from causalif._validate import Array


def split_rhat(draws: Array) -> Array:
    r"""Compare the spread between half chains with the spread inside them.

    .. math:: \hat R = \sqrt{\frac{(L - 1) W / L + B / L}{W}}, \quad B / L \text{ the variance of the means of half
        chains of length } L, W \text{ the mean of their variances.}

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        At least four draws a chain; an odd last draw is left out.

    Returns
    -------
    ndarray of shape (...)
        One where nothing varies, infinite where half chains are constant but differ.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, third edition, equation 11.4.

    Examples
    --------
    >>> import numpy as np
    >>> stuck = np.repeat([[0.0], [1.0]], 8, axis=1)
    >>> float(split_rhat(stuck)), float(split_rhat(np.ones((2, 8))))
    (inf, 1.0)
    """
    half = draws.shape[1] // 2
    halves = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = halves.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt((half - 1) / half + between / within)
    return np.where(within > 0, ratio, np.where(between > 0, np.inf, 1.0))


def chain_ess(draws: Array) -> Array:
    r"""Return how many independent draws several chains are worth.

    .. math:: \mathrm{ESS} = \frac{CL}{1 + 2 \sum_{t \ge 1} \hat\rho_t}

    Autocorrelations are pooled over chains, so that chains that disagree count for little; the sum ends with the first
    pair of neighbouring lags whose sum is negative, and pairs never grow (Geyer's monotone sequence).

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        At least four draws a chain.

    Returns
    -------
    ndarray of shape (...)
        Between one and the number of draws; the number of draws where nothing varies.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, third edition, equations 11.7 and 11.8; Geyer (1992), Statistical
    Science 7, 473-483.

    Examples
    --------
    >>> import numpy as np
    >>> coins = np.random.default_rng(0).integers(0, 2, (4, 1000)).astype(float)
    >>> bool(3000 < chain_ess(coins) <= 4000), float(chain_ess(np.repeat([[0.0], [1.0]], 8, axis=1)))
    (True, 1.0)
    """
    chains, length = draws.shape[:2]
    covariance = _autocovariance(draws).mean(axis=0)
    within = covariance[0] * length / (length - 1)
    total = covariance[0] + (draws.mean(axis=1).var(axis=0, ddof=1) if chains > 1 else 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance) / total
    rho[0] = 1.0
    pairs = rho[: length // 2 * 2].reshape(length // 2, 2, *rho.shape[1:]).sum(axis=1)
    alive = np.logical_and.accumulate(pairs > 0, axis=0)
    monotone = np.minimum.accumulate(pairs, axis=0)
    tau = np.where(alive, 2 * monotone, 0.0).sum(axis=0) - 1
    ess = np.clip(chains * length / np.maximum(tau, 1e-300), 1.0, chains * length)
    stuck = (within <= 0) & (total > 0)
    return np.where(total > 0, np.where(stuck, 1.0, ess), float(chains * length))


def _autocovariance(draws: Array) -> Array:
    """Return biased autocovariances of every chain, by the fast Fourier transform, shape as ``draws``."""
    length = draws.shape[1]
    centred = draws - draws.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * length, axis=1)
    return np.fft.irfft(np.abs(spectrum) ** 2, 2 * length, axis=1)[:, :length] / length
