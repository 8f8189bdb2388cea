"""Averaged effects as descriptions and plain arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif.estimators.sigma.averaging import SKIPPED, Answers
from causalif.graphs.posterior import DAGPosterior
from causalif.results import archive
from causalif.results.estimate import derive
from causalif.storage.codec import Reader, Writer, from_json, to_json

if TYPE_CHECKING:
    from causalif.estimators.sigma.result import SigmaResult

_FRAMES = ("paths", "effects", "edges")


def pack(result: SigmaResult, writer: Writer) -> dict[str, Any]:
    """Describe the result of `SIGMA`, its posterior included."""
    functionals, averaged = result.answers.functionals, result.estimate
    return {
        **{name: writer.frame(getattr(result, name), name) for name in _FRAMES},
        "paths_attrs": to_json(dict(result.paths.attrs), "paths.attrs"),
        "posterior": result.posterior._pack(writer),
        "answers": _pack_answers(result.answers, writer),
        "estimate": None if averaged is None else archive.packed(averaged, writer, functionals),
        "settings": to_json(dict(result.settings), "settings"),
        "diagnostics": writer.frames(result.diagnostics, "diagnostics"),
    }


def unpack(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """Return the fields of the result, checked."""
    frames = {name: reader.frame(fields[name]) for name in _FRAMES}
    frames["paths"].attrs.update(from_json(fields["paths_attrs"]))
    posterior = DAGPosterior._unpack(fields["posterior"], reader)
    answers = _unpack_answers(fields["answers"], reader)
    if answers.which.shape != (len(posterior.adjacency), len(frames["paths"]) + 1):
        raise InputError("The file holds answers to other questions than its graphs and paths ask.")
    beside = None if answers.functionals is None else vars(answers.functionals)
    averaged = fields["estimate"]
    return {
        **frames,
        "posterior": posterior,
        "answers": answers,
        "estimate": None if averaged is None else derive(**archive.unpacked(averaged, reader, beside)),
        "settings": from_json(fields["settings"]),
        "diagnostics": reader.frames(fields["diagnostics"]),
    }


def _pack_answers(answers: Answers, writer: Writer) -> dict[str, Any]:
    found = answers.functionals
    clusters = None if answers.clusters is None else pd.Series(answers.clusters)
    return {
        "functionals": None if found is None else archive.packed(found, writer),
        "kinds": list(answers.kinds),
        "which": writer.array(answers.which.astype(np.int64)),
        "weights": writer.array(answers.weights),
        "draws": to_json(answers.draws, "draws"),
        "rows": writer.index(answers.rows, "index"),
        "clusters": None if clusters is None else writer.column(clusters, "clusters"),
    }


def _unpack_answers(fields: Mapping[str, Any], reader: Reader) -> Answers:
    (graphs,) = reader.shape(fields["weights"])
    n, kinds = reader.length(fields["rows"]), fields["kinds"]
    found, clusters = fields["functionals"], fields["clusters"]
    which = reader.array(fields["which"], (graphs, reader.shape(fields["which"])[1]), "i").astype(np.intp)
    if not isinstance(kinds, list) or ((which < SKIPPED) | (which >= len(kinds))).any():
        raise InputError("The file asks for effects that it does not hold.")
    functionals = None if found is None else derive(**archive.unpacked(found, reader))
    if len(kinds) != (0 if functionals is None else functionals.p):
        raise InputError("The file does not say of what type each of its effects is.")
    return Answers(
        functionals=functionals,
        kinds=tuple(kinds),
        which=which,
        weights=reader.array(fields["weights"], (graphs,), "f"),
        draws=from_json(fields["draws"]),
        rows=reader.index(fields["rows"], n),
        clusters=None if clusters is None else reader.column(clusters, n).to_numpy(),
    )
