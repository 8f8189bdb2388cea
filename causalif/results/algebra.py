"""The algebra under `Estimate`: matching rows, the delta method and readable labels, on plain arrays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.results.checks import is_number, refuse_repeats, terms

if TYPE_CHECKING:
    from causalif.results.estimate import Estimate

Labels = npt.NDArray[np.generic]
_SUM, _PRODUCT = re.compile(r" [+-] "), re.compile(r" [*/] ")
_OVER, _NUMBER = re.compile(r" / "), re.compile(r"[-+.\deinf]+")


@dataclass(frozen=True, eq=False)
class Part:
    """Influence values (n, p) with the rows and clusters they belong to."""

    influence: Array
    index: pd.Index
    clusters: Labels | None


# --- matching rows -----------------------------------------------------------------------------------------------


def align(parts: Sequence[Part]) -> tuple[list[Array], pd.Index, Labels | None]:
    r"""Put influence values of several fits on the union of their rows.

    .. math:: \tilde\psi_{ij} = \frac{N}{n_j} \psi_{ij} \; 1(i \in \text{rows of } j)

    With N rows in the union, :math:`\sum_i \tilde\psi_{ij} \tilde\psi_{ik} / N^2` is exactly the sum of
    :math:`\psi_{ij} \psi_{ik} / (n_j n_k)` over shared rows.

    Returns
    -------
    list of ndarray of shape (N, p_j), Index of length N, ndarray of shape (N,) or None
        Influence values on the union, the union, and its clusters.
    """
    first = parts[0]
    if all(part.index is first.index for part in parts):
        return [part.influence for part in parts], first.index, _same_clusters(parts)
    _refuse_duplicates(parts)
    if all(part.index.equals(first.index) for part in parts):
        return [part.influence for part in parts], first.index, _same_clusters(parts)
    index = _union([part.index for part in parts])
    rows = [index.get_indexer(part.index) for part in parts]
    clusters = _union_clusters(parts, rows, len(index))
    columns = [_spread(part, row, len(index), clusters) for part, row in zip(parts, rows, strict=True)]
    return columns, index, clusters


def _spread(part: Part, rows: npt.NDArray[np.intp], total: int, clusters: Labels | None) -> Array:
    spread = np.zeros((total, part.influence.shape[1]))
    spread[rows] = part.influence * (total / len(part.index))
    if clusters is not None and part.clusters is not None:
        # The union's G / (G - 1) replaces the fit's own; this keeps the fit's own standard errors.
        spread *= np.sqrt(_correction(part.clusters) / _correction(clusters))
    return spread


def _correction(clusters: Labels) -> float:
    groups = pd.unique(clusters).size
    return groups / (groups - 1)


def _union(indexes: Sequence[pd.Index]) -> pd.Index:
    if len({index.nlevels for index in indexes}) > 1:
        raise InputError(
            "Rows are matched by index, and these estimates have indexes with different numbers of levels. "
            "Give all tables the same kind of index before fitting."
        )
    union = indexes[0]
    for index in indexes[1:]:
        union = union.append(index[union.get_indexer(index) < 0])
    return union


def _refuse_duplicates(parts: Sequence[Part]) -> None:
    for part in parts:
        if not part.index.is_unique:
            repeated = part.index[part.index.duplicated()][0]
            raise InputError(
                f"Estimates from different fits are matched by row, but the index holds {repeated!r} more than once. "
                "Give the table a unique index (for instance `df.reset_index(drop=True)`) before fitting."
            )


def _check_clusters(parts: Sequence[Part]) -> bool:
    having = [part.clusters is not None for part in parts]
    if any(having) and not all(having):
        raise InputError(
            "One of these estimates is clustered and another is not, so their covariance is unknown. "
            "Fit both with the same `cluster` column."
        )
    return all(having)


def _same_clusters(parts: Sequence[Part]) -> Labels | None:
    if not _check_clusters(parts):
        return None
    first = parts[0].clusters
    assert first is not None
    for part in parts[1:]:
        assert part.clusters is not None
        _refuse_disagreement(first, part.clusters)
    return first


def _union_clusters(parts: Sequence[Part], rows: Sequence[npt.NDArray[np.intp]], total: int) -> Labels | None:
    if not _check_clusters(parts):
        return None
    arrays = [part.clusters for part in parts if part.clusters is not None]
    union = np.empty(total, dtype=object)
    known = np.zeros(total, dtype=bool)
    for array, row in zip(arrays, rows, strict=True):
        shared = known[row]
        _refuse_disagreement(union[row[shared]], array[shared])
        union[row], known[row] = array, True
    kinds = {array.dtype for array in arrays}
    return union.astype(kinds.pop()) if len(kinds) == 1 else union


def _refuse_disagreement(left: Labels, right: Labels) -> None:
    if left is right:
        return
    differing = int(np.count_nonzero(left.astype(object) != right.astype(object)))
    if differing:
        raise InputError(
            f"The estimates put {differing:,} of their shared rows in different clusters. "
            "Fit both with the same `cluster` column."
        )


# --- arithmetic --------------------------------------------------------------------------------------------------


def combined(sign: str, left: Estimate | float, right: Estimate | float) -> dict[str, Any]:
    """Return the fields of ``left sign right``, term by term; a single term goes with each of the others."""
    whole = [x for x in (left, right) if not is_number(x)]
    sizes = [x.p for x in whole]
    if len({*sizes} - {1}) > 1:
        raise InputError(f"Cannot combine {sizes[0]} terms with {sizes[1]}. Select terms first: `estimate['term']`.")
    columns, index, clusters = align([_part(x) for x in whole])
    a, b = (_operand(x) for x in (left, right))
    psi = [np.zeros(1) if is_number(x) else columns.pop(0) for x in (left, right)]
    value, influence = _delta(sign, a, b, psi[0], psi[1])
    names = [(f"{x:.6g}",) if is_number(x) else x.labels for x in (left, right)]
    labels = [combined_label(sign, *pair) for pair in _paired(*names)]
    settings = shared_settings([x.settings for x in whole], len(index))
    return terms(value, influence, labels) | {"index": index, "clusters": clusters, "settings": settings}


def concatenated(items: Sequence[Estimate], names: Sequence[str] | None) -> dict[str, Any]:
    """Return the fields of stacked estimates, their labels starting with ``names`` where given."""
    prefix = [f"{name}: " for name in names] if names else [""] * len(items)
    labels = [f"{before}{label}" for before, item in zip(prefix, items, strict=True) for label in item.labels]
    refuse_repeats(labels)
    columns, index, clusters = align([_part(item) for item in items])
    owners = names or [str(i + 1) for i in range(len(items))]
    owned = zip(owners, items, strict=True)
    tables = [(f"{owner}: {name}", table) for owner, item in owned for name, table in item.diagnostics.items()]
    return terms(np.concatenate([item.values for item in items]), np.concatenate(columns, axis=1), labels) | {
        "index": index,
        "clusters": clusters,
        "settings": shared_settings([item.settings for item in items], len(index)),
        "diagnostics": dict(tables),
        "splits": _stacked_splits(items, prefix),
    }


def _operand(x: Estimate | float) -> Array:
    return np.array([float(x)]) if is_number(x) else x.values


def _part(estimate: Estimate) -> Part:
    return Part(estimate.influence_values, estimate.index, estimate.clusters)


def _stacked_splits(items: Sequence[Estimate], prefix: Sequence[str]) -> pd.DataFrame | None:
    pairs = [(before, item.splits) for before, item in zip(prefix, items, strict=True)]
    frames = [splits.assign(term=before + splits["term"]) for before, splits in pairs if splits is not None]
    return pd.concat(frames, ignore_index=True) if frames else None


def _delta(sign: str, a: Array, b: Array, psi_a: Array, psi_b: Array) -> tuple[Array, Array]:
    """Return value and influence of ``a sign b`` by the delta method; a plain number has zero influence."""
    with np.errstate(all="ignore"):
        value, psi = _OPERATIONS[sign](a, b, psi_a, psi_b)
    if sign == "*" and np.any((value == 0) & (a != 0) & (b != 0)):
        raise InputError("The product is too small for double precision. Rescale the outcome and fit again.")
    return value, psi


def _add(a: Array, b: Array, psi_a: Array, psi_b: Array) -> tuple[Array, Array]:
    return a + b, psi_a + psi_b


def _subtract(a: Array, b: Array, psi_a: Array, psi_b: Array) -> tuple[Array, Array]:
    return a - b, psi_a - psi_b


def _multiply(a: Array, b: Array, psi_a: Array, psi_b: Array) -> tuple[Array, Array]:
    return a * b, psi_a * b + psi_b * a


def _divide(a: Array, b: Array, psi_a: Array, psi_b: Array) -> tuple[Array, Array]:
    if np.any(b == 0):
        raise InputError("Cannot divide by an estimate or number that is exactly 0.")
    ratio = a / b
    # d(a/b) = (da - (a/b) db) / b: no square of b, which could underflow.
    return ratio, (psi_a - ratio * psi_b) / b


_OPERATIONS: Mapping[str, Callable[[Array, Array, Array, Array], tuple[Array, Array]]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
}


def numerical_jacobian(g: Callable[[Array], npt.ArrayLike], values: Array, std_errors: Array) -> Array:
    """Return the (q, p) matrix of central differences of ``g``, each step scaled to its own coordinate."""
    # The step follows the size of the estimate, but never less than a thousandth of its standard error:
    # an estimate of 1e-17 with standard error 1 is a zero, and g(x) = 1 + x must not lose it in rounding.
    size = np.maximum(np.abs(values), 1e-3 * std_errors)
    step = np.cbrt(np.finfo(float).eps) * np.where(size > 0, size, 1.0)
    columns = []
    for j in range(len(values)):
        up, down = values.copy(), values.copy()
        up[j], down[j] = values[j] + step[j], values[j] - step[j]
        columns.append((evaluate(g, up) - evaluate(g, down)) / (up[j] - down[j]))
    return np.stack(columns, axis=1)


def evaluate(g: Callable[[Array], npt.ArrayLike], values: Array) -> Array:
    """Return ``g(values)`` as a vector (q,)."""
    return np.atleast_1d(np.asarray(g(values.copy()), dtype=float))


# --- labels and settings -----------------------------------------------------------------------------------------


def combined_label(sign: str, left: str, right: str) -> str:
    """Return a label such as ``(a - b) / c``, with brackets only where they are needed.

    Examples
    --------
    >>> combined_label("/", "a - b", "c")
    '(a - b) / c'
    """
    left = f"({left})" if sign in "*/" and is_compound(left) else left
    wrap = right.startswith("-") or (sign != "+" and is_compound(right)) or (sign == "/" and _PRODUCT.search(right))
    return f"{left} {sign} {f'({right})' if wrap else right}"


def shared_settings(settings: Sequence[Mapping[str, Any]], rows: int) -> dict[str, Any]:
    """Return what several fits have in common, for the header of their combination."""
    first, *rest = settings
    common = {key: value for key, value in first.items() if all(_same(value, other.get(key)) for other in rest)}
    names = [str(s["estimator"]) for s in settings if "estimator" in s]
    if names:
        common["estimator"] = ", ".join(dict.fromkeys(names))
    # a note describes one fit; a warning about any of them concerns the combination
    given = [s.get("warnings", ()) for s in settings]
    lines = [line for value in given for line in ([value] if isinstance(value, str) else value)]
    if lines:
        common["warnings"] = list(dict.fromkeys(lines))
    common["rows"] = rows
    return common


def _same(left: object, right: object) -> bool:
    try:
        return bool(left == right)
    except ValueError:  # arrays compare elementwise
        return False


def is_compound(label: str) -> bool:
    """Whether a label is a sum, so that it needs brackets inside a product."""
    return _SUM.search(label) is not None


def is_ratio(label: str) -> bool:
    """Whether a label is a ratio of terms or an exponential, for which 1 is more often the question than 0.

    Examples
    --------
    >>> [is_ratio(label) for label in ("a / b", "a / 1000", "exp(log(a))", "log(a / b)", "(a / b) - c")]
    [True, False, True, False, False]
    """
    if label.startswith("exp("):
        return True
    depth = np.cumsum([(c == "(") - (c == ")") for c in label])
    over = [m for m in _OVER.finditer(label) if depth[m.start()] == 0]
    return bool(over) and not is_compound(label) and _NUMBER.fullmatch(label[over[-1].end() :]) is None


def _paired(left: Sequence[str], right: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of labels, a single one being paired with each of the others."""
    count = max(len(left), len(right))
    wide = [list(side) * count if len(side) == 1 else list(side) for side in (left, right)]
    return list(zip(*wide, strict=True))


def transformed_labels(g: Callable[..., Any], labels: Sequence[str], count: int) -> list[str]:
    """Return default labels of the ``count`` results of ``g``."""
    name = getattr(g, "__name__", "g")
    name = name if name.isidentifier() else "g"
    if count == len(labels):
        return [f"{name}({label})" for label in labels]
    whole = f"{name}({', '.join(labels)})"
    return [whole] if count == 1 else [f"{whole}[{i}]" for i in range(count)]
