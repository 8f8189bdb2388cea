"""Save and load a valuation as one file of plain arrays and JSON: nothing in it can be executed."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif import kernels
from causalif._errors import CausalifError, InputError
from causalif.storage.container import destination, replacing
from causalif.valuation.features import Encoder, to_numpy
from causalif.valuation.influence import Sums
from causalif.valuation.label_models import Fitted, KernelMean, LabelModel, Linear
from causalif.valuation.labels import LabelCoding
from causalif.valuation.state import Computing, Labelling, State

if TYPE_CHECKING:
    from causalif.valuation.valuation import Valuation

FORMAT = "causalif valuation 1"
_KERNELS = ("Gaussian", "GaussianMixture", "Laplace", "Matern", "InverseMultiquadric", "Energy", "SameLabel")
_MODELS = {"KernelMean": KernelMean, "Linear": Linear}
_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
           NotImplementedError, RuntimeError, OverflowError, MemoryError)  # fmt: skip


def save(value: Valuation, path: str | PathLike[str]) -> None:
    """Write a valuation; an existing file is replaced at once, or stays what it was."""
    target = destination(path)
    arrays, header = _packed(value)
    text = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)
    assert not any(np.asarray(part).dtype == object for part in arrays.values()), "objects would be pickled"
    members: dict[str, Any] = {"header": text, **arrays}
    with replacing(target) as stream:
        np.savez(stream, **members)


def load(path: str | PathLike[str]) -> Valuation:
    """Read a valuation; arrays of objects are refused, so that nothing is executed."""
    with open(path, "rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            raise InputError(f"{os.fspath(path)!r} is not a valuation file; only what `save` wrote can be loaded.")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as members:
                arrays = {name: members[name] for name in members.files}
            header = json.loads(arrays.pop("header").tobytes())
            if header["format"] != FORMAT:
                raise InputError(f"{os.fspath(path)!r} has format {header['format']!r}; this version reads {FORMAT!r}.")
            return _unpacked(header, arrays)
        except CausalifError:
            raise
        except _DAMAGE as error:
            raise InputError(
                f"{os.fspath(path)!r} is damaged or was not written by `save` ({type(error).__name__}: {error}). "
                "Restore it from a copy, or fit again."
            ) from error


def _packed(value: Valuation) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    state, encoder = value.state, value.encoder
    labelling, computing, model = state.labelling, state.computing, state.labelling.model
    if isinstance(model, Fitted):
        raise InputError(
            f"A valuation whose label model is {type(model.model).__name__} cannot be saved without pickle. Fit with "
            'label_model="cme" or "classifier", or save the model by itself and `values` with `to_frame`.'
        )
    arrays = {"center": computing.center, "encoder_center": encoder.center, "encoder_unit": encoder.unit,
              "points": to_numpy(state.points), "reference": to_numpy(state.reference)}  # fmt: skip
    arrays |= {f"sums_{f.name}": getattr(state.sums, f.name) for f in fields(Sums) if f.name != "at_zero"}
    optional = {"codes": state.codes, "reference_codes": state.reference_codes, "residuals": state.residuals}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    described = None
    if isinstance(model, (KernelMean, Linear)):
        named = {f.name: getattr(model, f.name) for f in fields(model)}
        arrays |= {f"model_{name}": x for name, x in named.items() if isinstance(x, np.ndarray)}
        described = {name: x for name, x in named.items() if isinstance(x, (bool, float))} | {
            "class": type(model).__name__
        }
    index, index_array = _index(value.index)
    header = {
        "format": FORMAT,
        "kernel": _kernel(computing.kernel),
        "computing": {name: getattr(computing, name) for name in ("precision", "device", "n_jobs", "progress")},
        "encoder": {"columns": None if encoder.columns is None else list(map(_plain, encoder.columns)),
                    "levels": [[_plain(name), *map(_plain, levels)] for name, levels in encoder.levels.items()],
                    "scale": encoder.scale, "exact": encoder.exact},
        "spec": labelling.spec,
        "coding": None if labelling.coding is None else asdict(labelling.coding)
        | {"levels": [_plain(level) for level in labelling.coding.levels]},
        "model": described,
        "at_zero": state.sums.at_zero,
        "index": index,
        "weighting": dict(value.weighting) if isinstance(value.weighting, Mapping) else value.weighting,
        "kind": value.kind,
        "roles": asdict(value.roles),
    }  # fmt: skip
    return arrays | index_array, header


def _unpacked(header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Valuation:
    from causalif.valuation.valuation import Roles, Valuation

    about, coding = header["encoder"], header["coding"]
    encoder = Encoder(None if about["columns"] is None else tuple(about["columns"]),
                      {name: tuple(levels) for name, *levels in about["levels"]}, about["scale"],
                      arrays["encoder_center"], arrays["encoder_unit"], about["exact"])  # fmt: skip
    labels = None if coding is None else LabelCoding(**(coding | {"levels": tuple(coding["levels"])}))
    computing = Computing(_kernel_from(header["kernel"]), arrays["center"], **header["computing"])
    sums = Sums(**{f.name: arrays[f"sums_{f.name}"] for f in fields(Sums) if f.name != "at_zero"},
                at_zero=float(header["at_zero"]))  # fmt: skip
    state = State(
        computing=computing,
        labelling=Labelling(header["spec"], labels, _model(header["model"], arrays)),
        points=arrays["points"],
        reference=arrays["reference"],
        sums=sums,
        **{name: arrays.get(name) for name in ("codes", "reference_codes", "residuals")},
    )
    index = _index_from(header["index"], arrays, len(state))
    if len(arrays["points"]) != len(state) or any(len(a) != len(state) for a in (sums.cross, sums.weights)):
        raise InputError("The arrays of the file do not fit together.")
    listed = header["roles"]["features"]
    roles = Roles(**(header["roles"] | {"features": None if listed is None else tuple(listed)}))
    weighting = tuple(header["weighting"]) if isinstance(header["weighting"], list) else header["weighting"]
    return Valuation(state, encoder, index, weighting, header["kind"], roles)


def _kernel(kernel: Any) -> dict[str, Any]:
    if isinstance(kernel, kernels.Product):
        return {"class": "Product", "features": _kernel(kernel.features), "labels": _kernel(kernel.labels)}
    if type(kernel).__name__ not in _KERNELS:
        raise InputError(f"The kernel {kernel!r} is not one of causalif.kernels and cannot be saved.")
    return {"class": type(kernel).__name__, "fields": {f.name: getattr(kernel, f.name) for f in fields(kernel)}}


def _kernel_from(described: Mapping[str, Any]) -> Any:
    if described["class"] == "Product":
        return kernels.Product(_kernel_from(described["features"]), _kernel_from(described["labels"]))
    if described["class"] not in _KERNELS:
        raise InputError(f"The file asks for a kernel {described['class']!r}, which is not known.")
    given = {name: tuple(x) if isinstance(x, list) else x for name, x in described["fields"].items()}
    return getattr(kernels, described["class"])(**given)


def _model(described: Mapping[str, Any] | None, arrays: Mapping[str, npt.NDArray[Any]]) -> LabelModel | None:
    if described is None:
        return None
    kind = _MODELS[described["class"]]
    given = {f.name: arrays[f"model_{f.name}"] for f in fields(kind) if f"model_{f.name}" in arrays}
    return kind(**given, **{name: x for name, x in described.items() if name != "class"})


def _plain(item: Any) -> Any:
    """A level or label as JSON holds it."""
    item = item.item() if isinstance(item, np.generic) else item
    if item is not None and not isinstance(item, (bool, int, float, str)):
        raise InputError(
            "Only numbers, text and bools can be saved as names of columns, row labels, classes or categories. Got "
            f"{item!r}; make them text before the fit, for instance with .astype(str)."
        )
    return item


def _index(index: pd.Index) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    if isinstance(index, pd.RangeIndex):
        return {"kind": "range", "range": [index.start, index.stop, index.step], "name": _plain(index.name)}, {}
    if index.nlevels == 1 and isinstance(index.dtype, np.dtype) and index.dtype.kind in "iufb":
        return {"kind": "numbers", "name": _plain(index.name)}, {"index": index.to_numpy()}
    if index.nlevels > 1:
        raise InputError("A valuation with an index of several levels cannot be saved; make it text first.")
    return {"kind": "list", "items": [_plain(item) for item in index], "name": _plain(index.name)}, {}


def _index_from(described: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], n: int) -> pd.Index:
    index: pd.Index
    if described["kind"] == "range":
        index = pd.RangeIndex(*described["range"])
    else:
        index = pd.Index(arrays["index"] if described["kind"] == "numbers" else described["items"])
    if len(index) != n:
        raise InputError(f"The file holds {n:,} rows and {len(index):,} row labels.")
    return index.rename(described["name"])
