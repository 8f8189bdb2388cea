"""Data valuation by the influence of every row on the distance to a clean reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array, one_of
from causalif.kernels import RadialKernel
from causalif.valuation.choose import choose_kernel, joint_kernel, tell_extreme, tell_overlap
from causalif.valuation.features import fit_encoder
from causalif.valuation.inputs import Rows, is_mask, is_name, read_rows, split_reference
from causalif.valuation.label_models import check_label_model
from causalif.valuation.labels import LabelCoding, fit_coding
from causalif.valuation.state import Computing, Labelling, start
from causalif.valuation.valuation import Roles, Valuation
from causalif.valuation.weighting import check_weighting


@dataclass(frozen=True, kw_only=True)
class KAIROS:
    r"""What every train row is worth, by its influence on the maximum mean discrepancy to a clean reference.

    .. math:: v_i = -2 a (g_i - \bar g) - b (\rho_i - \bar \rho), \qquad
        g_i = \frac1N \sum_j k(x_i, x_j) - \frac1M \sum_l k(x_i, r_l), \qquad
        \rho_i = |\psi(y_i) - m_P(x_i)|,

    the influence of the row on :math:`-a\,\mathrm{MMD}^2 - b\,E|\psi(Y) - m_P(X)|`, exactly. High is good. Only
    the N + M kernel sums are kept, never a matrix.

    Parameters
    ----------
    kernel : {"gaussian", "laplace", "matern", "inverse_multiquadric", "energy"} or kernel
        k, default "gaussian"; or a kernel of `causalif.kernels` with its bandwidth.
    bandwidth : "median", ("median", factor), float or list of float
        Default ("median", 0.5): half the median distance between reference rows. A list makes a mixture of Gaussians.
        Frozen at the fit.
    scale : {"reference", "rows"} or None
        "reference" (default) standardises every feature on the reference; "rows" brings rows to length one, for
        embeddings; None leaves features as they are.
    label_model : {"cme", "classifier", "joint"}, scikit-learn estimator, or None
        How the label of a row is judged. "cme" (default): kernel ridge regression of one-hot classes, or of the
        standardised number, on the reference, of at most 8,000 rows. "classifier": logistic or ridge regression, as
        published. "joint": no label component; a product kernel of features and label, which finds wrong labels far
        worse. None ignores labels. An estimator is cloned, and ``random_state`` parameters that are unset become 0.
    label_type : {"auto", "classes", "numbers"}
        "auto" (default) reads text, bools and up to 30 different whole numbers as classes; the result's `settings` say
        what was read.
    weighting : {"reference", "paper"}, pair or mapping
        (a, b). "reference" (default): both components in units of their standard deviation over held-out reference
        rows, the label counting twice. "paper": the published 0.97 and 0.03. Or numbers (feature, label).
    kind : {"influence", "leave_one_out"}
        Default "influence", free of the sample size; "leave_one_out" is the exact change of the distance when the row
        is removed, about influence over N.
    precision : {"float32", "float64", "tf32", "bfloat16"}
        Type of the kernel tiles, default "float32"; sums are float64. The last two need a GPU.
    device : str
        "auto" (default), "cpu", "cuda"; see `causalif.kernels.row_sums`.
    n_jobs : int, optional
        Threads; no digit depends on them.
    random_state : int, Generator or None
        Draws the pairs of rows for the median distance, default 0.
    progress : bool, default True
        Show a bar on long work in a terminal.

    Notes
    -----
    A value says how a row moves the train rows towards the law of the reference, not that a model will be better
    without it. The feature component cannot see wrong labels; the label component of "cme" is low also far from every
    reference row, where no class is predicted and any label is a surprise. The size of the reference limits what can be
    seen: with few rows the witness is smooth noise shared by neighbours. Isolated noisy rows are found better by
    `Valuation.companions`, copies planted in one place better by the values. Equal rows get equal values and no value
    depends on the order of rows. Cost: d (N²/2 + N M) multiplications and half as many exponentials per feature,
    M³ for the label model; memory O((N + M) d).

    References
    ----------
    Zhu, Wang, Zhao and others (2025), KAIROS: scalable model-agnostic data valuation, NeurIPS; arXiv 2506.23799.
    Gretton et al. (2012), JMLR 13, 723-773, equation 5.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.datasets import load_iris
    >>> frame = load_iris(as_frame=True).frame
    >>> clean, train = frame.iloc[::3], frame.drop(frame.index[::3])
    >>> train.loc[[1, 2, 4], "target"] = 2
    >>> value = KAIROS(progress=False).fit(train, reference=clean, label="target")
    >>> sorted(value.suggest_removal(rate=0.03))
    [1, 2, 4]
    >>> list(value.components)
    ['feature', 'label']
    """

    kernel: str | RadialKernel = "gaussian"
    bandwidth: Any = ("median", 0.5)
    scale: Literal["reference", "rows"] | None = "reference"
    label_model: Any = "cme"
    label_type: Literal["auto", "classes", "numbers"] = "auto"
    weighting: str | tuple[float, float] | Mapping[str, float] = "reference"
    kind: Literal["influence", "leave_one_out"] = "influence"
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = "float32"
    device: str = "auto"
    n_jobs: int | None = None
    random_state: int | np.random.Generator | None = 0
    progress: bool = True

    def fit(
        self,
        train: Any,
        *,
        reference: Any,
        label: Any = None,
        reference_label: Any = None,
        weights: Any = None,
        features: Sequence[str] | None = None,
    ) -> Valuation:
        """Value every train row.

        Parameters
        ----------
        train : DataFrame, or array or tensor of shape (N, d)
            Rows to value; text and categorical columns become indicators. Never changed.
        reference : DataFrame, array or tensor of M rows; or booleans of shape (N,); or str
            Clean rows from the law that the train rows should have: a second table, or which rows of ``train``, as a
            mask or as the name of a boolean column. Those rows are then not valued.
        label : str, int or array of shape (N,), optional
            Column of both tables, or labels of the train rows. None values features alone.
        reference_label : array of shape (M,), optional
            Labels of the reference rows, where ``label`` is an array.
        weights : str, int or array of shape (N,), optional
            Row weights above zero; ones by default.
        features : list of str, optional
            Columns to look at; all but label and weights by default.

        Returns
        -------
        Valuation
            `values`, `components`, `witness`, `pvalues`, and what can be done with them.

        Raises
        ------
        InputError
            On unusable options or data, each with the remedy.

        Warns
        -----
        DataWarning
            If train rows are copies of reference rows, if the reference lacks a class or a category, if a category has
            very many levels, if the kernel cannot tell rows apart, on half-precision input.
        """
        self._check()
        train, reference, label, reference_label, weights = _parted(train, reference, label, reference_label, weights)
        rows = read_rows("train", train, label=label, weights=weights, features=features)
        clean = _read_reference(reference, reference_label, weights, features, labelled=rows.labels is not None)
        if (rows.frame is None) != (clean.frame is None):
            raise InputError("`train` and `reference` must both be DataFrames, or both arrays or tensors.")
        exact = self.precision == "float64"
        encoder = fit_encoder(clean.features, rows.features, self.scale, exact)
        x, r = encoder(rows.features, "train"), encoder(clean.features, "reference")
        coding, codes, reference_codes = self._coded(rows, clean)
        kernel: Any = choose_kernel(self.kernel, self.bandwidth, r, self.random_state)
        center = np.asarray(r.mean(0).cpu() if hasattr(r, "cpu") else r.mean(axis=0), dtype=np.float64)
        if coding is not None and reference_codes is not None and self.label_model == "joint":
            kernel = joint_kernel(kernel, coding, reference_codes, self.random_state)
            center = np.r_[center, 0.0]
        computing = Computing(kernel, center, self.precision, self.device, self.n_jobs, self.progress)
        labelling = Labelling(self.label_model if coding is not None else None, coding)
        tell_overlap(x, r, codes, reference_codes)
        mass = np.ones(len(rows.index)) if rows.weights is None else rows.weights
        state = start(computing, labelling, x, codes, r, reference_codes, mass)
        _tell_single(len(state))
        tell_extreme(kernel, state.sums)
        roles = Roles(
            label=label if is_name(label) else None,
            weights=weights if is_name(weights) else None,
            features=None if features is None else tuple(features),
        )
        value = Valuation(state, encoder, rows.index, self.weighting, self.kind, roles, rows.frame)
        value.values  # noqa: B018 - what cannot be weighted is refused here, not later
        return value

    def _check(self) -> None:
        check_label_model(self.label_model)
        check_weighting(self.weighting)
        one_of("scale", self.scale, ("reference", "rows", None))
        one_of("label_type", self.label_type, ("auto", "classes", "numbers"))
        one_of("kind", self.kind, ("influence", "leave_one_out"))

    def _coded(self, rows: Rows, clean: Rows) -> tuple[LabelCoding | None, Array | None, Array | None]:
        if self.label_model is None or rows.labels is None or clean.labels is None:
            if self.label_model == "joint":
                raise InputError('label_model="joint" needs a `label`.')
            return None, None, None
        coding = fit_coding(clean.labels, rows.labels, self.label_type)
        return coding, coding.codes(rows.labels, "train"), coding.codes(clean.labels, "reference")


def _parted(train: Any, reference: Any, label: Any, reference_label: Any, weights: Any) -> tuple[Any, ...]:
    """Train and reference rows as two tables, whether or not they came as one."""
    if reference is None:
        raise InputError("`reference` must be given: clean rows, or which rows of `train` are clean.")
    if is_mask(reference):
        given = reference_label
        train, reference, label, reference_label, weights = split_reference(train, reference, label, weights)
        if given is not None:
            raise InputError("`reference_label` is not needed where `reference` marks rows of `train`.")
        for name, rows in (("reference", reference), ("train", train)):
            if len(rows) == 0:
                raise InputError(f"`reference` marks {'no' if name == 'reference' else 'every'} row of `train`.")
        return train, reference, label, reference_label, weights
    return train, reference, label, label if is_name(label) else reference_label, weights


def _read_reference(reference: Any, label: Any, weights: Any, features: Any, *, labelled: bool) -> Rows:
    if labelled and label is None:
        raise InputError("`reference_label` must be given where `label` is an array.")
    ignored = [weights] if is_name(weights) else []
    return read_rows("reference", reference, label=label if labelled else None, features=features, ignored=ignored)


def _tell_single(n: int) -> None:
    if n == 1:
        tell("`train` has a single row: its value is zero, as there is nothing to compare it with. Use `score` of a "
             "larger fit to value one row.", DataWarning)  # fmt: skip
