"""Save and load results as one file of JSON and plain arrays: nothing in it can be executed."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif.results import checks
from causalif.results.covariance import cluster_codes
from causalif.results.estimate import Estimate, derive
from causalif.storage import codec, stored

_ROWS = ("values", "influence_values", "labels", "index", "clusters")


def save(result: stored.Storable, path: str | PathLike[str]) -> None:
    """Write a result to one file.

    Parameters
    ----------
    result : Estimate, DAGPosterior or SigmaResult
        Everything is kept but the data and what refits it (`origin`). The results of causalif's estimators keep their
        class; a class of your own is kept as the class of causalif that it descends from.
    path : str or path
        Replaced at once when it exists: an interrupted save leaves the old file, or none.

    Raises
    ------
    InputError
        If an index, a setting or a table holds something other than numbers, text, dates, and bools.

    Notes
    -----
    The file holds 8 n p bytes of influence values, the index, and the tables.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2)), f"{folder}/fit.causalif")
    ...     load(f"{folder}/fit.causalif")
    Estimate(ATE = 2, std_error = 0.7071; n = 2)
    """
    stored.write(result, path)


def load(path: str | PathLike[str]) -> Any:
    """Read a result that `save` wrote, as the class that it was.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Estimate, DAGPosterior, SigmaResult or Valuation
        An Estimate comes as what the estimator returned, such as InvalidIVResult, without its data (`origin`): what
        needs them raises an InputError that says so.

    Raises
    ------
    InputError
        If the file is damaged, was not written by `save`, or comes from a newer version.

    Notes
    -----
    Nothing in the file is executed, and no more memory is used than a few times the size of the file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2)).save(f"{folder}/fit.causalif")
    ...     load(f"{folder}/fit.causalif")
    Estimate(ATE = 2, std_error = 0.7071; n = 2)
    """
    return stored.read(path)


# --- an estimate as descriptions and members ---------------------------------------------------------------------


def packed(estimate: Estimate, writer: codec.Writer, beside: Estimate | None = None) -> dict[str, Any]:
    """Describe an estimate; one on the rows of another, ``beside``, does not repeat them."""
    shared = beside is not None and _same_rows(estimate, beside)
    clusters = None if estimate.clusters is None else pd.Series(estimate.clusters)
    return {
        "labels": list(estimate.labels),
        "values": writer.array(estimate.values),
        "influence_values": writer.array(estimate.influence_values),
        "index": "shared" if shared else writer.index(estimate.index, "index"),
        "clusters": "shared" if shared else None if clusters is None else writer.column(clusters, "clusters"),
        "settings": codec.to_json(dict(estimate.settings), "settings"),
        "diagnostics": writer.frames(estimate.diagnostics, "diagnostics"),
        "splits": writer.optional_frame(estimate.splits, "splits"),
        "nuisances": writer.optional_frame(estimate.nuisances, "nuisances"),
    }


def unpacked(
    fields: Mapping[str, Any], reader: codec.Reader, beside: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the fields of an estimate, checked as when one is made."""
    labels = fields["labels"]
    if not isinstance(labels, list) or not isinstance(fields["settings"], dict):
        raise InputError("The header does not hold a list of labels and a mapping of settings.")
    index, clusters = _rows(fields, reader) if fields["index"] != "shared" else _shared(beside)
    given = {
        "values": reader.array(fields["values"], (len(labels),), "f"),
        "influence_values": reader.array(fields["influence_values"], (len(index), len(labels)), "f"),
        "labels": tuple(labels),
        "index": index,
        "clusters": clusters,
        "settings": codec.from_json(fields["settings"]),
        "diagnostics": reader.frames(fields["diagnostics"]),
        "splits": reader.optional_frame(fields["splits"]),
        "nuisances": reader.optional_frame(fields["nuisances"]),
    }
    # As in `derive`, a warning that the fit gave is not repeated.
    if clusters is not None:
        cluster_codes(clusters)
    return given | checks.checked(*(given[name] for name in _ROWS))


def pack_beside(estimate: Estimate | None, owner: Estimate, writer: codec.Writer) -> dict[str, Any] | None:
    """Describe an estimate that belongs to another one."""
    return None if estimate is None else packed(estimate, writer, owner)


def unpack_beside(fields: Mapping[str, Any] | None, owner: Mapping[str, Any], reader: codec.Reader) -> Estimate | None:
    """Return what `pack_beside` described, ``owner`` being the fields of the estimate it belongs to."""
    return None if fields is None else derive(**unpacked(fields, reader, owner))


def _same_rows(left: Estimate, right: Estimate) -> bool:
    if left.index is not right.index or (left.clusters is None) != (right.clusters is None):
        return False
    return left.clusters is None or right.clusters is None or np.array_equal(left.clusters, right.clusters)


def _shared(beside: Mapping[str, Any] | None) -> tuple[pd.Index, Any]:
    if beside is None:
        raise InputError("The file holds an estimate on the rows of another, and no other.")
    return beside["index"], beside["clusters"]


def _rows(fields: Mapping[str, Any], reader: codec.Reader) -> tuple[pd.Index, Any]:
    n = reader.length(fields["index"])
    clusters = fields["clusters"]
    return reader.index(fields["index"], n), None if clusters is None else reader.column(clusters, n).to_numpy()
