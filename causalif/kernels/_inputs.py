"""Reading what the callers of kernel sums pass: rows, weights, centre, device, precision, threads."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array, one_of
from causalif.kernels._compiled import gaussian_sums
from causalif.kernels.base import Kernel, Product, RadialKernel

PRECISIONS = ("float32", "float64", "tf32", "bfloat16")
ON_CPU = ("numpy", "compiled")
BACKENDS = ("auto", *ON_CPU, "torch", "triton")
# Multiplications from which asking the driver for a GPU, and importing torch, is worth a thought: seconds on one core.
WORTH_A_GPU = 1e12
ROWS_FOR_THE_CENTER = 1000


@dataclass(frozen=True)
class Place:
    """Where the sums are computed.

    Parameters
    ----------
    backend : {"numpy", "compiled", "torch", "triton"}
        The code that runs.
    device : str
        "cpu", "cuda" or "cuda:1", as torch calls them.
    """

    backend: str
    device: str


def is_tensor(x: object) -> bool:
    """Whether this is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def read_rows(name: str, x: Any) -> Any:
    """Return a two-dimensional array or tensor of finite numbers, without a copy where the numbers allow it."""
    if hasattr(x, "__cuda_array_interface__") and not is_tensor(x):
        import torch

        x = torch.as_tensor(x, device="cuda")
    if is_tensor(x):
        return _read_tensor(name, x.detach())
    rows = np.asarray(x)
    if rows.ndim != 2 or rows.shape[1] == 0 or rows.dtype.kind not in "fiub":
        raise InputError(
            f"`{name}` must be numbers of shape (n, d), d at least 1. Got {rows.dtype} of shape {rows.shape}; "
            "reshape a single feature to (n, 1), encode text as numbers."
        )
    if rows.dtype == np.float16:
        _tell_upcast(name, "float16")
        rows = rows.astype(np.float32)
    elif rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float64)
    finite = np.isfinite(rows)
    if not finite.all():
        _refuse_missing(name, np.flatnonzero(~finite.all(axis=1)), np.flatnonzero(~finite.all(axis=0)))
    return rows


def _read_tensor(name: str, x: Any) -> Any:
    import torch

    if x.ndim != 2 or x.shape[1] == 0 or x.is_complex():
        raise InputError(f"`{name}` must be numbers of shape (n, d), d at least 1. Got {x.dtype} of {tuple(x.shape)}.")
    if x.dtype in (torch.float16, torch.bfloat16):
        _tell_upcast(name, str(x.dtype).removeprefix("torch."))
        x = x.to(torch.float32)
    elif x.dtype not in (torch.float32, torch.float64):
        x = x.to(torch.float64)
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        bad_rows, bad_columns = (~finite.all(dim=1)).nonzero(), (~finite.all(dim=0)).nonzero()
        _refuse_missing(name, bad_rows.flatten().cpu().numpy(), bad_columns.flatten().cpu().numpy())
    return x


def _tell_upcast(name: str, dtype: str) -> None:
    tell(
        f"`{name}` is {dtype}, with about three digits; it is read as float32, which does not bring lost digits back.",
        DataWarning,
    )


def _refuse_missing(name: str, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> None:
    raise InputError(
        f"`{name}` must be finite. Got missing or infinite values in {len(rows):,} rows (the first is row {rows[0]}), "
        f"in columns {', '.join(map(str, columns[:5]))}{', ...' if len(columns) > 5 else ''}; remove or fill them."
    )


def read_weights(name: str, weights: Any, n: int) -> Array | None:
    """Return weights as an array of shape (n, k)."""
    if weights is None:
        return None
    values = np.asarray(weights.detach().cpu() if is_tensor(weights) else weights)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiub" or len(values) != n:
        raise InputError(
            f"`{name}` must be numbers of shape ({n},) or ({n}, k). Got {values.dtype} of shape {values.shape}."
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"`{name}` must be finite. Got missing or infinite values.")
    return values[:, None] if values.ndim == 1 else values


def read_center(center: Any, rows: Any) -> Array:
    """Return the centre as given, or the medians of some rows, in float64."""
    d = rows.shape[1]
    if center is None:
        if len(rows) == 0:
            return np.zeros(d)
        some = rows[:: -(-len(rows) // ROWS_FOR_THE_CENTER)]
        return np.asarray(np.median(some.cpu().numpy() if is_tensor(some) else some, axis=0), dtype=np.float64)
    values = np.asarray(center.detach().cpu() if is_tensor(center) else center, dtype=np.float64)
    if values.shape != (d,) or not np.isfinite(values).all():
        raise InputError(f"`center` must be {d} finite numbers, one per column. Got shape {values.shape}.")
    return values


def check_kernel(kernel: Kernel, d: int) -> None:
    """Raise unless this is a kernel that fits ``d`` columns."""
    if not isinstance(kernel, (RadialKernel, Product)):
        raise InputError(f"`kernel` must be a kernel of causalif.kernels such as Gaussian(1.0). Got {kernel!r}.")
    if isinstance(kernel, Product) and kernel.columns >= d:
        raise InputError(
            f"`kernel` takes the last {kernel.columns} of the columns as labels, which must leave at least one "
            f"feature. Got {d} columns."
        )


@cache
def thread_pools() -> ThreadpoolController:
    """Return the thread pools of numpy and scipy; looking for them reads the memory map, which takes milliseconds."""
    return ThreadpoolController()


def thread_count(n_jobs: int | None) -> int:
    """Return the number of threads; None takes as many as BLAS is set to use, which OMP_NUM_THREADS limits too."""
    if n_jobs is None:
        pools = thread_pools().select(user_api="blas").lib_controllers
        return max((pool.num_threads for pool in pools), default=1)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise InputError(
            f"`n_jobs` must be a whole number other than 0, or None; -1 uses every core. Got {n_jobs!r} instead."
        )
    return int(effective_n_jobs(int(n_jobs)))


def find_place(device: Any, backend: str, precision: str, rows: list[Any], work: float) -> Place:
    """Return where to compute: on the tensors' own device, or on a GPU where the work is long enough to matter."""
    one_of("backend", backend, BACKENDS)
    one_of("precision", precision, PRECISIONS)
    tensors = [str(x.device) for x in rows if is_tensor(x)]
    wanted = str(device)
    if wanted == "auto":
        wanted = tensors[0] if tensors else "cuda" if _worth_a_gpu(backend, work) and cuda_count() else "cpu"
    if len(set(tensors)) > 1:
        raise InputError(f"`A` and `B` must be on one device. Got tensors on {' and '.join(sorted(set(tensors)))}.")
    _check_device(wanted)
    if backend == "auto":
        backend = _best_on_cpu() if wanted == "cpu" else "triton" if _has_triton() else "torch"
    if backend in ON_CPU and wanted != "cpu":
        raise InputError(f'`backend` must be "torch" or "triton" on {wanted}. Got "{backend}", which runs on "cpu".')
    if backend == "compiled" and gaussian_sums() is None:
        raise InputError(
            '`backend` must be another one here, such as "auto". Got "compiled", which needs a C compiler when '
            "causalif is installed, and a processor with AVX2 or NEON."
        )
    if precision in ("tf32", "bfloat16") and wanted == "cpu" and backend != "triton":
        raise InputError(
            f'`precision` must be "float32" or "float64" on the processor. Got {precision!r}, which needs a GPU.'
        )
    return Place(backend, wanted)


def _best_on_cpu() -> str:
    return "numpy" if gaussian_sums() is None else "compiled"


def _worth_a_gpu(backend: str, work: float) -> bool:
    return backend in ("torch", "triton") or (backend == "auto" and work > WORTH_A_GPU)


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise InputError(f'`device` must be "auto", "cpu", "cuda" or "cuda:0". Got {device!r} instead.')
    if kind == "cuda" and cuda_count() <= int(number or 0):
        raise InputError(
            f"`device` must be one that torch can use. Got {device!r}, and torch finds {cuda_count()} CUDA devices; "
            'install a CUDA build of torch and a driver, or pass device="cpu".'
        )


def cuda_count() -> int:
    """Return the number of usable CUDA devices; torch is imported only where a driver is installed."""
    if "torch" not in sys.modules and not _has_driver():
        return 0
    try:
        import torch
    except ImportError:
        return 0
    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _has_driver() -> bool:
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def _has_triton() -> bool:
    from importlib.util import find_spec

    return find_spec("triton") is not None
