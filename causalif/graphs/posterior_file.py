"""A posterior over DAGs as descriptions and plain arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif.storage.codec import Reader, Writer, from_json, to_json

if TYPE_CHECKING:
    from causalif.graphs.posterior import DAGPosterior

_NUMBERS = ("effective_sample_size", "log_evidence", "bound", "complete")
_OFF = 1e-6


def pack(posterior: DAGPosterior, writer: Writer) -> dict[str, Any]:
    """Describe a posterior."""
    optional = {"bags": posterior.bags, "edges": posterior.edges}
    return {
        "names": list(posterior.names),
        "adjacency": writer.array(posterior.adjacency),
        "weights": writer.array(posterior.weights.to_numpy(dtype=np.float64)),
        **{name: None if array is None else writer.array(array) for name, array in optional.items()},
        **{name: to_json(getattr(posterior, name), name) for name in _NUMBERS},
        "diagnostics": writer.frames(posterior.diagnostics, "diagnostics"),
        "settings": to_json(dict(posterior.settings), "settings"),
    }


def unpack(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """Return the fields of a posterior, checked."""
    names = fields["names"]
    if not isinstance(names, list) or not all(isinstance(x, str) for x in names) or len(set(names)) < len(names):
        raise InputError("The header does not hold a list of different names of nodes.")
    (u,), p = reader.shape(fields["weights"]), len(names)
    weights = reader.array(fields["weights"], (u,), "f")
    bags = fields["bags"]
    given = {
        "names": tuple(names),
        "adjacency": reader.array(fields["adjacency"], (u, p, p), "i"),
        "weights": pd.Series(weights, name="weight"),
        "bags": None if bags is None else reader.array(bags, (reader.shape(bags)[0], u), "f"),
        "edges": None if fields["edges"] is None else reader.array(fields["edges"], (p, p), "f"),
        **{name: from_json(fields[name]) for name in _NUMBERS},
        "diagnostics": reader.frames(fields["diagnostics"]),
        "settings": from_json(fields["settings"]),
    }
    _check(given)
    return given


def _check(given: Mapping[str, Any]) -> None:
    """Raise unless the numbers are those of a posterior."""
    weights, adjacency, size = (given[name] for name in ("weights", "adjacency", "effective_sample_size"))
    probable = [weights.to_numpy(), *(given[name] for name in ("bags", "edges") if given[name] is not None)]
    if not all(np.isfinite(x).all() and (x >= -_OFF).all() and (x <= 1 + _OFF).all() for x in probable):
        raise InputError("The file holds probabilities outside 0 and 1.")
    if not abs(weights.sum() - 1) <= _OFF or not isinstance(size, float) or not size > 0:
        raise InputError("The file holds weights that do not sum to one, or are worth no draws.")
    if not np.isin(adjacency, (0, 1)).all():
        raise InputError("The file holds an adjacency matrix with other entries than 0 and 1.")
    numbers = [given[name] for name in ("log_evidence", "bound")]
    if not all(x is None or isinstance(x, float) for x in numbers) or not isinstance(given["complete"], bool):
        raise InputError("The file holds text where a posterior has numbers.")
    if not isinstance(given["settings"], dict):
        raise InputError("The header does not hold a mapping of settings.")
