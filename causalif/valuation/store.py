"""A valuation as descriptions and plain arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from causalif import kernels
from causalif._errors import InputError
from causalif.storage.codec import Reader, Writer, from_json, to_json
from causalif.valuation.features import Encoder, to_numpy
from causalif.valuation.influence import Sums
from causalif.valuation.label_models import Fitted, KernelMean, LabelModel, Linear
from causalif.valuation.labels import LabelCoding
from causalif.valuation.state import Computing, Labelling, State

if TYPE_CHECKING:
    from causalif.valuation.valuation import Valuation

_KERNELS = ("Gaussian", "GaussianMixture", "Laplace", "Matern", "InverseMultiquadric", "Energy", "SameLabel")
_MODELS = {"KernelMean": KernelMean, "Linear": Linear}
_COMPUTING = ("precision", "device", "n_jobs", "progress")
_OF_TRAIN, _OF_REFERENCE = ("within", "cross", "weights"), ("reference_within", "reference_cross")
_OPTIONAL = ("codes", "reference_codes", "residuals")


# --- writing -----------------------------------------------------------------------------------------------------


def pack(value: Valuation, writer: Writer) -> dict[str, Any]:
    """Describe a valuation."""
    state, encoder = value.state, value.encoder
    optional = {name: getattr(state, name) for name in _OPTIONAL}
    return {
        "index": writer.index(value.index, "row labels"),
        "kind": value.kind,
        "weighting": to_json(value.weighting, "weighting"),
        "roles": to_json(asdict(value.roles), "roles"),
        "encoder": {
            "columns": to_json(encoder.columns, "names of columns"),
            "levels": to_json(tuple(encoder.levels.items()), "levels of categories"),
            "scale": encoder.scale,
            "center": writer.array(encoder.center),
            "unit": writer.array(encoder.unit),
            "exact": encoder.exact,
        },
        "kernel": _kernel(state.computing.kernel),
        "center": writer.array(state.computing.center),
        "computing": {name: to_json(getattr(state.computing, name), name) for name in _COMPUTING},
        "labelling": _labelling(state.labelling, writer),
        "points": writer.array(to_numpy(state.points)),
        "reference": writer.array(to_numpy(state.reference)),
        "sums": {name: writer.array(getattr(state.sums, name)) for name in (*_OF_TRAIN, *_OF_REFERENCE)},
        "at_zero": state.sums.at_zero,
        **{name: None if array is None else writer.array(array) for name, array in optional.items()},
    }


def _kernel(kernel: Any) -> dict[str, Any]:
    if isinstance(kernel, kernels.Product):
        return {"class": "Product", "features": _kernel(kernel.features), "labels": _kernel(kernel.labels)}
    if type(kernel).__name__ not in _KERNELS:
        raise InputError(f"The kernel {kernel!r} is not one of causalif.kernels and cannot be saved.")
    return {"class": type(kernel).__name__, "fields": to_json(asdict(kernel), "kernel")}


def _labelling(labelling: Labelling, writer: Writer) -> dict[str, Any]:
    model = labelling.model
    if isinstance(model, Fitted):
        raise InputError(
            f"A valuation whose label model is {type(model.model).__name__} cannot be saved without pickle. Fit with "
            'label_model="cme" or "classifier", or save the model by itself and `values` with `to_frame`.'
        )
    coding = None if labelling.coding is None else to_json(asdict(labelling.coding), "classes of the label")
    described = None if model is None else {
        "class": type(model).__name__,
        "arrays": {name: writer.array(x) for name, x in vars(model).items() if isinstance(x, np.ndarray)},
        "numbers": {name: x for name, x in vars(model).items() if isinstance(x, (bool, float))},
    }  # fmt: skip
    return {"spec": to_json(labelling.spec, "label_model"), "coding": coding, "model": described}


# --- reading -----------------------------------------------------------------------------------------------------


def unpack(given: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """Return the fields of a valuation."""
    from causalif.valuation.valuation import Roles

    n, m = reader.length(given["index"]), reader.shape(given["reference"])[0]
    lengths = dict.fromkeys(_OF_TRAIN, n) | dict.fromkeys(_OF_REFERENCE, m)
    about = given["encoder"]
    (width,) = reader.shape(about["center"])
    encoder = Encoder(from_json(about["columns"]), dict(from_json(about["levels"])), about["scale"],
                      _finite(reader, about["center"], width), _finite(reader, about["unit"], width),
                      about["exact"])  # fmt: skip
    d = reader.shape(given["points"])[1]
    state = State(
        computing=Computing(_kernel_from(given["kernel"]), _finite(reader, given["center"], d), **given["computing"]),
        labelling=_labelling_from(given["labelling"], reader, m),
        points=_finite(reader, given["points"], n, d),
        reference=_finite(reader, given["reference"], m, d),
        sums=Sums(**{name: _finite(reader, given["sums"][name], length) for name, length in lengths.items()},
                  at_zero=float(given["at_zero"])),
        **{name: None if given[name] is None else _finite(reader, given[name], m if name == "reference_codes" else n)
           for name in _OPTIONAL},
    )  # fmt: skip
    if not (state.sums.weights > 0).all():
        raise InputError("The file holds weights of rows that are not above zero.")
    return {
        "state": state,
        "encoder": encoder,
        "index": reader.index(given["index"], n),
        "weighting": from_json(given["weighting"]),
        "kind": given["kind"],
        "roles": Roles(**from_json(given["roles"])),
    }


def _finite(reader: Reader, name: str, *shape: int) -> npt.NDArray[Any]:
    """Return a stored array of this shape, all of it finite."""
    array = reader.array(name, shape, "fi")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds missing or infinite numbers.")
    return array


def _kernel_from(described: Mapping[str, Any]) -> Any:
    if described["class"] == "Product":
        return kernels.Product(_kernel_from(described["features"]), _kernel_from(described["labels"]))
    if described["class"] not in _KERNELS:
        raise InputError(f"The file asks for a kernel {described['class']!r}, which is not known.")
    return getattr(kernels, described["class"])(**from_json(described["fields"]))


def _labelling_from(given: Mapping[str, Any], reader: Reader, m: int) -> Labelling:
    coding = None if given["coding"] is None else LabelCoding(**from_json(given["coding"]))
    return Labelling(from_json(given["spec"]), coding, _model(given["model"], reader, m))


def _model(described: Mapping[str, Any] | None, reader: Reader, m: int) -> LabelModel | None:
    if described is None:
        return None
    arrays = {name: _finite(reader, at, *reader.shape(at)) for name, at in described["arrays"].items()}
    if len(arrays["held_out"]) != m:
        raise InputError("The file holds a label model of other reference rows.")
    made: LabelModel = _MODELS[described["class"]](**arrays, **described["numbers"])
    return made
