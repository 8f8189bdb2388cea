"""How fragile an estimate with well-behaved rows would be."""

from __future__ import annotations

import math

from scipy import optimize, special

SMALLEST = 1e-12


def noise_share(distance: float, spread: float) -> float:
    r"""Share of rows that changes a mean by a distance when influence values are normal.

    .. math:: \frac{\phi(z_\alpha)}{1 - \alpha} = \frac{d}{\sigma}

    Parameters
    ----------
    distance : float
        How far the estimate must move, in its units.
    spread : float
        Standard deviation of the influence values.

    Returns
    -------
    float
        The share, between 0 and 1; NaN if it is unknown.

    Notes
    -----
    Depends on the ratio of signal to noise only: an estimate just significant in a large sample is always fragile.

    Examples
    --------
    >>> round(noise_share(1.794, 0.671 * 445**0.5), 3)
    0.06
    """
    if not (math.isfinite(distance) and math.isfinite(spread)) or spread <= 0 or distance <= 0:
        return float("nan")

    def gap(share: float) -> float:
        z = float(special.ndtri(share))
        return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / (1 - share) - distance / spread

    if gap(SMALLEST) > 0:
        return SMALLEST
    if gap(1 - 1e-9) < 0:
        return 1.0
    return float(optimize.brentq(gap, SMALLEST, 1 - 1e-9))
