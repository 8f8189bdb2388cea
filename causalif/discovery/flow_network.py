"""Masked networks: for every node and fold one conditional density that takes any set of parents; all in one batch.

A network sees the values of the chosen parents and which they are, (x ∘ m, m). Parameters of all networks are stacked
along the first axis, so that one batched product serves them all. torch and pyro are imported inside functions.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from causalif._errors import CausalifError

if TYPE_CHECKING:
    from torch import Generator, Tensor
else:
    Tensor = Generator = Any

Mechanism: TypeAlias = Literal["anm", "affine", "spline"]
Weights: TypeAlias = dict[str, Tensor]

BINS = 8
BOUND = 5.0
SPLINE = 3 * BINS - 1
MOST_LOG_SCALE = 3.0
# softplus of this is one, the slope of the identity
UNIT_SLOPE = 0.5413248546129181


def need(module: str) -> Any:
    """Import torch or pyro, or say how to install them."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CausalifError(
            f"FlowSEM needs {module}, which is not installed. Install it with: pip install causalif[flow]"
        ) from error


@dataclass(frozen=True)
class Shape:
    """Sizes of a stack of networks.

    Parameters
    ----------
    stack : int
        Number of networks.
    inputs : int
        Encoded columns of all variables.
    variables : int
        Length of a mask.
    hidden : int
        Width of the hidden layers.
    mechanism : {"anm", "affine", "spline"}
        What the density of a continuous node depends on.
    classes : int
        0 for continuous nodes, else the largest number of levels.
    """

    stack: int
    inputs: int
    variables: int
    hidden: int
    mechanism: Mechanism
    classes: int = 0

    @property
    def heads(self) -> tuple[int, int]:
        """Outputs that depend on the parents' values, and outputs that depend only on which parents they are."""
        if self.classes:
            return self.classes, 0
        return {"anm": (1, 1 + SPLINE), "affine": (2, SPLINE), "spline": (2 + SPLINE, 0)}[self.mechanism]

    @property
    def additive(self) -> bool:
        """Whether parents do nothing but shift a continuous node."""
        return self.mechanism == "anm" and not self.classes


def start(shape: Shape, generator: Generator) -> Weights:
    """Draw the first parameters; the last layers are zero, so that training starts at the standard normal law."""
    torch = need("torch")
    main, side = shape.heads

    def layer(wide: int, high: int) -> Tensor:
        return torch.randn(shape.stack, wide, high, generator=generator) / wide**0.5

    wide = shape.inputs + shape.variables
    weights = {
        "enter": layer(wide, shape.hidden),
        "enter_bias": torch.zeros(shape.stack, 1, shape.hidden),
        "inner": layer(shape.hidden, shape.hidden),
        "inner_bias": torch.zeros(shape.stack, 1, shape.hidden),
        "second": layer(shape.hidden, shape.hidden),
        "second_bias": torch.zeros(shape.stack, 1, shape.hidden),
        "leave": torch.zeros(shape.stack, shape.hidden, main),
        "leave_bias": torch.zeros(shape.stack, 1, main),
    }
    if side:
        weights |= {
            "mask_enter": layer(shape.variables, shape.hidden),
            "mask_bias": torch.zeros(shape.stack, 1, shape.hidden),
            "mask_leave": torch.zeros(shape.stack, shape.hidden, side),
            "mask_leave_bias": torch.zeros(shape.stack, 1, side),
        }
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def log_density(shape: Shape, weights: Weights, x: Tensor, masks: Tensor, columns: Tensor, target: Tensor,
                absent: Tensor | None) -> Tensor:  # fmt: skip
    """Return log p(target | the parents that ``masks`` chooses).

    Parameters
    ----------
    shape : Shape
        Sizes.
    weights : dict of Tensor
        Parameters.
    x : Tensor of shape (stack, groups, rows, inputs)
        Encoded values of all variables.
    masks : Tensor of shape (stack, groups, variables)
        One for parents; the rows of a group share their parents.
    columns : Tensor of shape (inputs,)
        Which variable an encoded column belongs to.
    target : Tensor of shape (stack, groups, rows)
        Values of the node, codes for discrete ones.
    absent : Tensor of shape (stack, 1, classes), optional
        For discrete nodes: zero, and minus a large number at levels that a node lacks.

    Returns
    -------
    Tensor of shape (stack, groups, rows)
    """
    torch = need("torch")
    hidden = features(shape, weights, x, masks, columns)
    out = hidden @ weights["leave"].unsqueeze(1) + weights["leave_bias"].unsqueeze(1)
    if absent is not None:
        logits = torch.log_softmax(out + absent.unsqueeze(1), dim=-1)
        return logits.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
    law = [out[..., 1:]]
    if shape.heads[1]:
        law.append(noise_law(weights, masks).unsqueeze(2))
    log_scale = next(part for part in law if part.shape[-1])[..., 0]
    return spline_log_density(target - out[..., 0], bounded(log_scale), law[-1][..., -SPLINE:])


def features(shape: Shape, weights: Weights, x: Tensor, masks: Tensor, columns: Tensor) -> Tensor:
    """Return the last hidden layer, shape (stack, groups, rows, hidden); arguments as in `log_density`."""
    torch = need("torch")
    silu = torch.nn.functional.silu
    stack, groups, rows, _ = x.shape
    values = (x * masks[..., columns].unsqueeze(2)).flatten(1, 2)
    known = torch.baddbmm(weights["enter_bias"], masks, weights["enter"][:, shape.inputs :])
    h = torch.bmm(values, weights["enter"][:, : shape.inputs]).view(stack, groups, rows, -1)
    h = (h + known.unsqueeze(2)).flatten(1, 2)
    h = h + torch.baddbmm(weights["inner_bias"], silu(h), weights["inner"])
    h = h + torch.baddbmm(weights["second_bias"], silu(h), weights["second"])
    return silu(h).view(stack, groups, rows, -1)


def noise_law(weights: Weights, masks: Tensor) -> Tensor:
    """Return what depends on the choice of parents alone, shape (stack, groups, outputs)."""
    torch = need("torch")
    side = torch.nn.functional.silu(torch.baddbmm(weights["mask_bias"], masks, weights["mask_enter"]))
    return torch.baddbmm(weights["mask_leave_bias"], side, weights["mask_leave"])


def bounded(raw: Tensor) -> Tensor:
    """Return a log scale between −3 and 3."""
    return MOST_LOG_SCALE * (raw / MOST_LOG_SCALE).tanh()


def normal_log_density(noise: Tensor) -> Tensor:
    """Return the log density of the standard normal law."""
    return -0.5 * noise**2 - 0.9189385332046727


def spline_log_density(centred: Tensor, log_scale: Tensor, knots: Tensor) -> Tensor:
    r"""Return the log density of scale · noise, where a monotone spline T makes the noise normal.

    .. math:: \log p(v) = \log \phi(T(r)) + \log T'(r) - \log\sigma, \qquad r = (v - \mu) / \sigma

    ``knots`` holds the spline's widths, heights and slopes; T is a rational-quadratic spline on [−5, 5] and the
    identity outside. The first arguments have one axis, of rows, where ``knots`` has two; all broadcast.
    """
    transforms = need("pyro.distributions.transforms")
    parts = (knots[..., :BINS], knots[..., BINS : 2 * BINS], knots[..., 2 * BINS :] + UNIT_SLOPE)
    spline = transforms.ConditionalSpline(lambda given: given, 1, BINS, bound=BOUND, order="quadratic").condition(parts)
    r = (centred * (-log_scale).exp()).unsqueeze(-1)
    noise = spline(r)
    slope = spline.log_abs_det_jacobian(r, noise)
    return (normal_log_density(noise) + slope).squeeze(-1) - log_scale
