"""Rows, or whole clusters of rows, as the units that are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError


def read_units(clusters: Any, index: pd.Index) -> npt.NDArray[np.intp]:
    """Return the unit of each row: itself, or its cluster in order of appearance."""
    if clusters is None:
        return np.arange(len(index), dtype=np.intp)
    if isinstance(clusters, pd.Series):
        if not clusters.index.equals(index):
            if not clusters.index.is_unique or len(index.difference(clusters.index)):
                raise InputError("`clusters` given as a Series must have one label for every row of the fit.")
            clusters = clusters.reindex(index)
        clusters = clusters.to_numpy()
    labels = np.asarray(clusters)
    if labels.shape != (len(index),):
        raise InputError(
            f"`clusters` must hold one label for each of the {len(index):,} rows of the fit. Got shape {labels.shape}."
        )
    codes, names = pd.factorize(labels)
    if (codes < 0).any():
        raise InputError("`clusters` has missing labels; every row needs one.")
    if len(names) < 2:
        raise InputError("`clusters` has a single label; there is nothing to leave out.")
    return np.asarray(codes, dtype=np.intp)
