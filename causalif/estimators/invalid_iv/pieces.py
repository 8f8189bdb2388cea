"""What every route of `InvalidIVATE` hands over to the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from causalif._validate import Array
from causalif.engine.crossfit import CrossFit
from causalif.engine.folds import Folds


@dataclass(frozen=True, eq=False)
class Pieces:
    """Coordinates with influence values, uncentred φ of the effect, nuisances, tables.

    Parameters
    ----------
    values, influence, labels
        Estimates (p,), influence values (n, p), names; the first coordinate is the effect.
    phi : ndarray of shape (n,)
        Uncentred influence values of the effect.
    score : ndarray of shape (n,)
        Uncentred influence values of the variance shift.
    nuisances : DataFrame
        Predictions per row.
    folds : tuple of Folds
        Sample splits, one per repeat.
    se_source : str
        How the standard error of the effect arises.
    fits : CrossFit, optional
        Where clipped rows are counted.
    splits : DataFrame, optional
        Estimates of every repeat.
    tables, notes, warned
        Further diagnostics, sentences, and warnings that were issued.
    first_step : callable, optional
        For a basis (n, k), what the estimation of the nuisances adds to the influence of Σ basis·φ / n, shape (n, k);
        absent where φ is orthogonal to it.
    """

    values: Array
    influence: Array
    labels: tuple[str, ...]
    phi: Array
    score: Array
    nuisances: pd.DataFrame
    folds: tuple[Folds, ...]
    se_source: str
    fits: CrossFit | None = None
    splits: pd.DataFrame | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    first_step: Callable[[Array], Array] | None = None


def of_crossfit(result: CrossFit, se_source: str, notes: tuple[str, ...] = ()) -> Pieces:
    """Return the pieces of one cross-fit whose first coordinate is the effect."""
    return Pieces(
        values=result.values,
        influence=result.influence,
        labels=result.labels,
        phi=np.ascontiguousarray(result.phi[:, 0]),
        score=np.ascontiguousarray(result.phi[:, result.labels.index("denominator")]),
        nuisances=result.nuisances,
        folds=result.folds,
        se_source=se_source,
        fits=result,
        splits=result.splits,
        tables={"nuisances": result.fits},
        notes=notes,
    )
