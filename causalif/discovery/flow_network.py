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
    x : Tensor of shape (stack, rows, inputs)
        Encoded values of all variables.
    masks : Tensor of shape (stack, rows, variables)
        One for parents.
    columns : Tensor of shape (inputs,)
        Which variable an encoded column belongs to.
    target : Tensor of shape (stack, rows)
        Values of the node, codes for discrete ones.
    absent : Tensor of shape (stack, 1, classes), optional
        Minus a large number at levels that a node lacks.

    Returns
    -------
    Tensor of shape (stack, rows)
    """
    torch = need("torch")
    silu = torch.nn.functional.silu
    entered = torch.cat([x * masks[..., columns], masks], dim=-1)
    h = torch.baddbmm(weights["enter_bias"], entered, weights["enter"])
    h = h + torch.baddbmm(weights["inner_bias"], silu(h), weights["inner"])
    h = h + torch.baddbmm(weights["second_bias"], silu(h), weights["second"])
    out = torch.baddbmm(weights["leave_bias"], silu(h), weights["leave"])
    if shape.classes:
        logits = torch.log_softmax(out + absent, dim=-1)
        return logits.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
    if shape.heads[1]:
        side = silu(torch.baddbmm(weights["mask_bias"], masks, weights["mask_enter"]))
        out = torch.cat([out, torch.baddbmm(weights["mask_leave_bias"], side, weights["mask_leave"])], dim=-1)
    return spline_log_density(out, target)


def spline_log_density(out: Tensor, target: Tensor) -> Tensor:
    r"""Return the log density of location + scale · noise, where a monotone spline T makes the noise normal.

    .. math:: \log p(v) = \log \phi(T(r)) + \log T'(r) - \log\sigma, \qquad r = (v - \mu) / \sigma

    ``out`` holds μ, a number whose bounded version is log σ, and the spline's widths, heights and slopes; T is a
    rational-quadratic spline on [−5, 5] and the identity outside.
    """
    torch, transforms = need("torch"), need("pyro.distributions.transforms")
    log_scale = MOST_LOG_SCALE * torch.tanh(out[..., 1] / MOST_LOG_SCALE)
    residual = (target - out[..., 0]) * torch.exp(-log_scale)
    knots = (out[..., 2 : 2 + BINS], out[..., 2 + BINS : 2 + 2 * BINS], out[..., 2 + 2 * BINS :] + UNIT_SLOPE)
    spline = transforms.ConditionalSpline(lambda given: given, 1, BINS, bound=BOUND, order="quadratic").condition(knots)
    r = residual.unsqueeze(-1)
    noise = spline(r)
    slope = spline.log_abs_det_jacobian(r, noise)
    normal = -0.5 * noise**2 - 0.9189385332046727
    return (normal + slope).squeeze(-1) - log_scale
