"""The location refitted for one parent set at a time, and the noise law drawn towards the normal one.

A network that serves every parent set serves none perfectly. Its last hidden layer is a set of features, in which the
best location of each parent set has a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from causalif.discovery.flow_network import (
    SPLINE,
    Shape,
    Weights,
    bounded,
    features,
    need,
    noise_law,
    normal_log_density,
    spline_log_density,
)

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

# Penalties relative to the mean eigenvalue of the features.
LOWEST, HIGHEST, PENALTIES = -6, 2, 33
LEAST_EIGENVALUE = 1e-6
LEAST_SQUARE = 1e-30
MOST_FREEDOM = 0.5
# Of a standardised node: its noise has at least the smallest scale that the networks can give it, exp(-3).
LEAST_VARIANCE = 0.0024787521766663585
SHRINKAGES = 9


@dataclass(frozen=True, eq=False)
class Ridge:
    """A location fitted by ridge regression.

    Parameters
    ----------
    residuals : Tensor of shape (stack, groups, rows)
        Residuals of all rows, with mean zero over those that were fitted.
    variance : Tensor of shape (stack, groups)
        Variance of the noise, as far as the degrees of freedom that were spent tell it.
    freedom : Tensor of shape (stack, groups)
        Degrees of freedom.
    """

    residuals: Tensor
    variance: Tensor
    freedom: Tensor


def ridge(given: Tensor, target: Tensor, fitted: int) -> Ridge:
    r"""Regress the target on features, with the penalty that generalised cross-validation chooses.

    .. math:: \hat\kappa = \arg\min_\kappa \frac{RSS(\kappa)}{(1 - df(\kappa) / n)^2}

    Parameters
    ----------
    given : Tensor of shape (stack, groups, rows, features)
        Features.
    target : Tensor of shape (rows,)
        What to predict.
    fitted : int
        How many rows, from the first, are fitted; the rest are only predicted.

    Returns
    -------
    Ridge
    """
    torch = need("torch")
    y = (target - target[:fitted].mean()).double()
    z = given - given[..., :fitted, :].mean(dim=-2, keepdim=True)
    # Products in float32 would swallow residuals below a hundredth of the target's spread.
    seen = z[..., :fitted, :].double()
    values, vectors = torch.linalg.eigh(seen.mT @ seen)
    values = values.clamp(min=0.0)
    along = (vectors.mT @ (seen.mT @ y[:fitted, None]))[..., 0]
    level = values.mean(dim=-1, keepdim=True).clamp(min=LEAST_EIGENVALUE * fitted)
    grid = torch.logspace(LOWEST, HIGHEST, PENALTIES, dtype=torch.float64).view(-1, 1, 1, 1)
    penalty = grid * level
    freedom = 1 + (values / (values + penalty)).sum(dim=-1)
    explained = (along**2 * (values + 2 * penalty) / (values + penalty) ** 2).sum(dim=-1)
    unexplained = (y[:fitted] @ y[:fitted] - explained).clamp(min=torch.finfo(torch.float64).tiny)
    criterion = unexplained / (1 - freedom / fitted) ** 2
    best = criterion.masked_fill(freedom > MOST_FREEDOM * fitted, float("inf")).argmin(dim=0, keepdim=True)
    spent, chosen = freedom.gather(0, best)[0], penalty.gather(0, best.unsqueeze(-1))[0]
    coefficients = vectors @ (along / (values + chosen)).unsqueeze(-1)
    residuals = y - (z.double() @ coefficients)[..., 0]
    variance = residuals[..., :fitted].square().sum(dim=-1) / (fitted - spent)
    return Ridge(residuals.to(z.dtype), variance.clamp(min=LEAST_VARIANCE).to(z.dtype), spent)


def polished(
    shape: Shape, weights: Weights, x: Tensor, masks: Tensor, columns: Tensor, target: Tensor, fitted: int
) -> Tensor:
    r"""Return log densities of rows that were not fitted, with a location of its own for every parent set.

    .. math:: \log \hat p(v | S) = \log p\bigl(v; \hat h_S(x)^\top \hat\beta_S, \hat\sigma_S(t), t \hat k_S\bigr)

    with h the last hidden layer, β by :func:`ridge`, k the knots that the network gives the noise law, and t in [0, 1]
    their shrinkage towards the normal law, which minimises an unbiased estimate of the risk.

    Parameters
    ----------
    shape, weights
        Networks of one node and fold, with the mechanism "anm".
    x : Tensor of shape (rows, inputs)
        Encoded values, the rows that may be fitted first.
    masks : Tensor of shape (sets, variables)
        One for parents.
    columns : Tensor of shape (inputs,)
        Which variable an encoded column belongs to.
    target : Tensor of shape (rows,)
        Values of the node.
    fitted : int
        How many rows may be fitted.

    Returns
    -------
    Tensor of shape (stack, sets, rows − fitted)
    """
    torch = need("torch")
    chosen = masks.expand(shape.stack, -1, -1)
    hidden = features(shape, weights, x.expand(shape.stack, len(masks), -1, -1), chosen, columns)
    location = hidden @ weights["leave"].unsqueeze(1) + weights["leave_bias"].unsqueeze(1)
    before = target[:fitted] - location[..., :fitted, 0]
    fit = ridge(hidden, target, fitted)
    law = noise_law(weights, chosen)
    grid = torch.linspace(0.0, 1.0, SHRINKAGES)
    candidates = torch.stack([_log_density(law, before, fit, fitted, float(t)) for t in grid])
    risk = SPLINE * grid.view(-1, 1, 1) - candidates[..., :fitted].sum(dim=-1)
    best = risk.argmin(dim=0)[None, ..., None].expand(-1, -1, -1, candidates.shape[-1])
    return candidates.gather(0, best)[0][..., fitted:]


def _log_density(law: Tensor, before: Tensor, fit: Ridge, fitted: int, t: float) -> Tensor:
    """Return log densities under the law that is normal at t = 0 and, but for location and scale, the network's at 1.

    Residuals of fitted rows are widened to the size that residuals of new rows have.
    """
    torch = need("torch")
    seen = fit.residuals[..., :fitted]
    wider = (fit.variance / seen.square().mean(dim=-1).clamp(min=LEAST_SQUARE)).sqrt().unsqueeze(-1)
    residuals = torch.cat([seen * wider, fit.residuals[..., fitted:]], dim=-1)
    log_spread = 0.5 * fit.variance.log().unsqueeze(-1)
    if t == 0:
        return normal_log_density(residuals * torch.exp(-log_spread)) - log_spread
    # the noise law of the network has a mean and a spread of its own
    mean, variance = before.mean(dim=-1, keepdim=True), before.var(dim=-1, keepdim=True, unbiased=False)
    log_scale = bounded(law[..., :1]) + log_spread - 0.5 * variance.log()
    log_scale = (1 - t) * log_spread + t * log_scale
    return spline_log_density(residuals + t * mean, log_scale, t * law[..., 1:].unsqueeze(-2))
