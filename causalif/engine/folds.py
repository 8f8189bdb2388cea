"""Sample splits: stratified, by cluster, repeated or supplied; a printable value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import whole_number

FoldIds = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Folds:
    """The fold of every row.

    Parameters
    ----------
    ids : ndarray of int, shape (n,)
        Fold numbers 0, ..., k − 1; a single fold means that nuisances are fitted and evaluated on the same rows.
    described : str
        How the folds were made, for printing.
    """

    ids: FoldIds
    described: str = "supplied"

    @property
    def k(self) -> int:
        """Number of folds."""
        return int(self.ids.max()) + 1

    def order(self, visit: FoldIds) -> FoldIds:
        """Return the positions that sort the rows ``visit`` by fold, in the order of the visit within each."""
        narrow = self.ids[visit].astype(np.int16 if self.k < 2**15 else np.intp)  # short integers are sorted by radix
        return np.argsort(narrow, kind="stable")

    def __str__(self) -> str:
        """Return one line such as ``5 folds of 1,855 rows, stratified``."""
        if self.k == 1:
            return "no splitting (nuisances fitted and evaluated on the same rows)"
        sizes = np.bincount(self.ids)
        rows = f"{sizes.min():,}" if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,}"
        return f"{self.k} folds of {rows} rows, {self.described}"


def split(
    n: int,
    k: int,
    rng: np.random.Generator,
    strata: npt.NDArray[Any] | None = None,
    clusters: npt.NDArray[Any] | None = None,
) -> Folds:
    """Deal ``n`` rows at random into ``k`` folds, evenly within strata, as far as clusters kept whole allow it."""
    if k == 1:
        return Folds(np.zeros(n, dtype=np.intp), "no splitting")
    if clusters is not None:
        groups = np.zeros(n) if strata is None else strata
        return Folds(_deal_clusters(clusters, groups, k, rng), "clusters kept whole")
    if n < k:
        raise InputError(f"`folds` must be at most the number of rows. Got {k} folds for {n} rows.")
    order = rng.permutation(n)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    ids = np.empty(n, dtype=np.intp)
    ids[order] = np.arange(n) % k
    return Folds(ids, "at random" if strata is None else "stratified")


def _deal_clusters(clusters: npt.NDArray[Any], strata: npt.NDArray[Any], k: int, rng: np.random.Generator) -> FoldIds:
    """Give each cluster, largest first, to the fold with the fewest rows of its strata, of these to the smallest."""
    codes, labels = pd.factorize(clusters)
    if len(labels) < k:
        raise InputError(f"`folds` must be at most the number of clusters. Got {k} folds for {len(labels)} clusters.")
    groups, levels = pd.factorize(strata, sort=True)
    counts = np.bincount(codes * len(levels) + groups, minlength=len(labels) * len(levels)).reshape(len(labels), -1)
    shares, sizes = counts / counts.sum(axis=0), counts.sum(axis=1)
    shuffled = rng.permutation(len(sizes))
    fold_of = np.empty(len(sizes), dtype=np.intp)
    filled = np.zeros((k, len(levels)))
    for cluster in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        alike, rows = filled @ shares[cluster], filled @ counts.sum(axis=0)
        fold_of[cluster] = np.lexsort((rows, alike))[0]
        filled[fold_of[cluster]] += shares[cluster]
    return fold_of[codes]


def read_folds(folds: object, index: pd.Index, clusters: npt.NDArray[Any] | None) -> Folds | int:
    """Return a number of folds as it is, and user-supplied fold labels as `Folds` in the row order of ``index``."""
    if isinstance(folds, Folds):
        folds = folds.ids
    if isinstance(folds, (int, np.integer)) or not hasattr(folds, "__len__"):
        return whole_number("folds", folds, 1)
    if isinstance(folds, pd.Series):
        if not folds.index.equals(index):
            if not folds.index.is_unique or len(index.difference(folds.index)):
                raise InputError("`folds` given as a Series must have one fold label for every row label of `data`.")
            folds = folds.reindex(index)
        folds = folds.to_numpy()
    labels = np.asarray(folds)
    if labels.shape != (len(index),):
        raise InputError(
            f"`folds` must be a number or one label per row. Got shape {labels.shape} for {len(index)} rows."
        )
    ids, names = pd.factorize(labels, sort=True)
    if (ids < 0).any():
        raise InputError("`folds` has missing labels; every row needs a fold.")
    if clusters is not None:
        pairs = pd.DataFrame({"cluster": clusters, "fold": ids}).drop_duplicates()
        if pairs["cluster"].duplicated().any():
            raise InputError("`folds` splits clusters; rows of one cluster must share a fold.")
    if len(names) < 2:
        raise InputError("`folds` has a single label. Pass folds=1 to fit and evaluate on the same rows.")
    return Folds(ids.astype(np.intp))
