"""The result of a fit: values, influence values and rows, and the algebra on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.results import algebra, checks, plots, report, simultaneous, wald
from causalif.results.covariance import Moments, cluster_codes, critical_value, moments, two_sided_p, warn_few_clusters
from causalif.storage import stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalif.storage.codec import Reader, Writer

E = TypeVar("E", bound="Estimate")
Bootstrap = Literal["gaussian", "rademacher", "wild_cluster"]
Contrast = wald.Contrast


@dataclass(frozen=True, eq=False)
class Origin:
    """What an estimate was computed from, so that it can be refitted; kept in memory only."""

    estimator: Any
    data: Any

    def __post_init__(self) -> None:
        """Keep the frame as it is now, whatever columns the caller adds to it later."""
        if isinstance(self.data, pd.DataFrame):
            object.__setattr__(self, "data", self.data.copy(deep=False))


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    r"""Estimates with their influence values, from which every statement about uncertainty follows.

    .. math:: \hat\theta - \theta \approx \frac1n \sum_i \psi_i, \qquad
        \widehat{\operatorname{cov}}(\hat\theta) = \frac{1}{n^2} \sum_i \psi_i \psi_i^\top

    Parameters
    ----------
    values : array of shape (p,)
        Estimates, in the units of the estimand.
    influence_values : array of shape (n, p)
        Centred influence values, taken without a copy. Weighted fits multiply row i by w_i / mean(w); cluster sums
        are taken here.
    labels : sequence of p str
        Unique names of the terms.
    index : pandas.Index of length n
        Index of the rows of the data. Combining estimates matches rows by it.
    clusters : array of shape (n,), optional
        Cluster label of each row. With clusters, covariances are sums over clusters times G / (G - 1), intervals and
        p-values use Student's t with G - 1 degrees of freedom.
    settings : mapping, optional
        What the summary's header prints, such as ``estimator``, ``outcome``, ``folds``; ``notes`` and ``warnings``
        are lists of sentences for its foot.
    diagnostics : mapping of str to DataFrame, optional
        Named tables.
    splits : DataFrame, optional
        One row per (repeat, term): columns ``repeat``, ``term``, ``estimate``, ``std_error``.
    nuisances : DataFrame, optional
        Out-of-fold predictions that were used.
    origin : Origin, optional
        Estimator and data. Dropped by pickle and `save`.

    Raises
    ------
    InputError
        If shapes disagree, labels repeat, a number is missing or infinite, or the influence values are not centred.

    Notes
    -----
    Assumes that rows (or clusters) are independent and that the estimator behaves like the mean of its influence
    values, which holds as the sample grows. Results are immutable and compared by identity. Two tables that merely
    share default row numbers 0, 1, 2, ... are taken to hold the same rows when their estimates are combined: give
    unrelated tables distinct indexes.

    References
    ----------
    van der Vaart (1998), Asymptotic Statistics, sections 3.1 (delta method) and 25.3 (influence functions).

    Examples
    --------
    >>> effect = Estimate([2.0, 1.0], [[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]], ("E[Y(1)]", "E[Y(0)]"),
    ...                   pd.RangeIndex(4))
    >>> effect.std_errors["E[Y(1)]"].round(4)
    np.float64(0.3536)
    >>> effect["E[Y(1)]"] / effect["E[Y(0)]"]
    Estimate(E[Y(1)] / E[Y(0)] = 2, std_error = 1.458; n = 4)
    >>> print(effect.test({"E[Y(1)]": 1, "E[Y(0)]": -1}))
    H0: E[Y(1)] - E[Y(0)] = 0
    chi2(1) = 1.6, p = 0.206
    >>> effect.pvalues_adjusted("holm").round(4).tolist(), effect.to_frame(level=0.9)["conf_low"].round(4).tolist()
    ([0.0, 0.1573], [1.4185, -0.1631])
    >>> print(effect.summary().title)
    Estimate
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     effect.save(f"{folder}/effect.causalif")
    ...     Estimate.load(f"{folder}/effect.causalif")
    Estimate(2 terms; n = 4)
    """

    values: Array
    influence_values: Array
    labels: tuple[str, ...]
    index: pd.Index
    clusters: npt.NDArray[np.generic] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    splits: pd.DataFrame | None = None
    nuisances: pd.DataFrame | None = None
    origin: Origin | None = None

    # numpy scalars must leave arithmetic to this class
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        """Check the fields, and make the arrays read-only."""
        checked = checks.checked(self.values, self.influence_values, tuple(self.labels), self.index, self.clusters)
        self.__dict__.update(checked, settings=dict(self.settings), diagnostics=dict(self.diagnostics))
        if checked["clusters"] is not None:
            warn_few_clusters(cluster_codes(checked["clusters"])[1])

    # --- the numbers ---------------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.index)

    @property
    def p(self) -> int:
        """Number of terms."""
        return len(self.labels)

    @cached_property
    def moments(self) -> Moments:
        """Standard errors, correlations and degrees of freedom as plain arrays."""
        return moments(self.influence_values, self.clusters)

    @property
    def params(self) -> pd.Series:
        """Estimates, a Series of length p."""
        return self._series(self.values, "estimate")

    @property
    def std_errors(self) -> pd.Series:
        """Standard errors, a Series of length p."""
        return self._series(self.moments.std_errors, "std_error")

    @property
    def cov(self) -> pd.DataFrame:
        """Covariance matrix of the estimates, (p, p)."""
        return pd.DataFrame(self.moments.covariance, index=list(self.labels), columns=list(self.labels))

    @property
    def statistics(self) -> pd.Series:
        """Estimate over standard error, NaN where the standard error is 0."""
        se = self.moments.std_errors
        with np.errstate(over="ignore"):
            ratio = np.divide(self.values, se, out=np.full(self.p, np.nan), where=se > 0)
        return self._series(ratio, "statistic")

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of the terms being 0, NaN where the standard error is 0."""
        return self._series(two_sided_p(self.statistics.to_numpy(), self.moments.df), "p_value")

    @property
    def influence(self) -> pd.DataFrame:
        """Influence values, (n, p), on the index of the data."""
        return pd.DataFrame(self.influence_values, index=self.index, columns=list(self.labels), copy=False)

    def _series(self, numbers: Array, name: str) -> pd.Series:
        return pd.Series(numbers, index=list(self.labels), name=name)

    # --- inference -----------------------------------------------------------------------------------------------

    def conf_int(
        self,
        level: float = 0.95,
        joint: bool = False,
        bootstrap: Bootstrap = "gaussian",
        draws: int = 100_000,
        random_state: int | np.random.Generator = 0,
    ) -> pd.DataFrame:
        """Confidence intervals, one term at a time or for all terms at once.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.
        joint : bool, default False
            If True, all intervals cover together with probability ``level`` (sup-t bands).
        bootstrap : {"gaussian", "rademacher", "wild_cluster"}, default "gaussian"
            How the joint critical value is found; see `causalif.results.simultaneous.critical_value_joint`.
        draws : int, default 100_000
            Number of draws for the joint critical value.
        random_state : int or Generator, default 0
            Source of randomness of those draws.

        Returns
        -------
        DataFrame of shape (p, 2)
            Columns ``lower`` and ``upper``.

        Raises
        ------
        InputError
            If ``level`` is not a probability or ``bootstrap`` does not suit the estimate.

        Notes
        -----
        A term with standard error 0 has an interval of length 0. With one term, joint and pointwise intervals agree.

        Examples
        --------
        >>> Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2)).conf_int().round(3)
             lower  upper
        ATE  0.614  3.386
        """
        if joint:
            critical: npt.ArrayLike = simultaneous.critical_value_joint(
                self.influence_values, self.clusters, self.moments, level, bootstrap, draws, random_state
            )
        else:
            critical = critical_value(level, self.moments.df)
        half = np.asarray(critical) * self.moments.std_errors
        return pd.DataFrame({"lower": self.values - half, "upper": self.values + half}, index=list(self.labels))

    def pvalues_adjusted(
        self,
        method: Literal["holm", "romano_wolf"] = "romano_wolf",
        draws: int = 100_000,
        random_state: int | np.random.Generator = 0,
    ) -> pd.Series:
        """Two-sided p-values that hold for all terms together; see `causalif.results.simultaneous.adjusted_p`.

        Parameters
        ----------
        method : {"holm", "romano_wolf"}, default "romano_wolf"
            "romano_wolf" uses the joint law of the statistics and is never larger, up to simulation error.
        draws : int, default 100_000
            Number of draws of the joint law.
        random_state : int or Generator, default 0
            Source of randomness of those draws.

        Returns
        -------
        Series of length p
        """
        adjusted = simultaneous.adjusted_p(self.statistics.to_numpy(), self.moments, method, draws, random_state)
        return self._series(adjusted, f"p_value_{method}")

    def test(self, contrast: Contrast, null: float | Sequence[float] = 0.0) -> wald.WaldTest:
        """Wald test of linear statements about the terms; see `causalif.results.wald.wald_test`.

        Parameters
        ----------
        contrast : str, sequence of str, mapping of str to float, or array of shape (q, p)
            One term, several terms (each tested), one combination given by its coefficients, or a matrix of them.
        null : float or sequence of q floats, default 0.0
            What the combinations equal under the null hypothesis.

        Returns
        -------
        WaldTest
            Statistic, degrees of freedom, p-value, and the null hypothesis in words.
        """
        return wald.wald_test(self, contrast, null)

    # --- algebra -------------------------------------------------------------------------------------------------

    def __getitem__(self, key: str | Sequence[str]) -> Estimate:
        """Return the named term, or terms, as an estimate of its own."""
        wanted = [key] if isinstance(key, str) else list(key)
        if not wanted:
            raise InputError("Name at least one term to select.")
        missing = [label for label in wanted if label not in self.labels]
        if missing:
            raise InputError(f"No term named {missing[0]!r}. The terms are: {', '.join(map(repr, self.labels))}.")
        at = [self.labels.index(label) for label in wanted]
        kept = {f.name: getattr(self, f.name) for f in fields(Estimate)}
        splits = None if self.splits is None else self.splits[self.splits["term"].isin(wanted)]
        return derive(**kept | checks.terms(self.values[at], self.influence_values[:, at], wanted) | {"splits": splits})

    def __iter__(self) -> Iterator[str]:
        return iter(self.labels)

    def __contains__(self, label: object) -> bool:
        return label in self.labels

    def __add__(self, other: Estimate | float) -> Estimate:
        return _binary("+", self, other)

    def __radd__(self, other: float) -> Estimate:
        return _binary("+", other, self)

    def __sub__(self, other: Estimate | float) -> Estimate:
        return _binary("-", self, other)

    def __rsub__(self, other: float) -> Estimate:
        return _binary("-", other, self)

    def __mul__(self, other: Estimate | float) -> Estimate:
        return _binary("*", self, other)

    def __rmul__(self, other: float) -> Estimate:
        return _binary("*", other, self)

    def __truediv__(self, other: Estimate | float) -> Estimate:
        return _binary("/", self, other)

    def __rtruediv__(self, other: float) -> Estimate:
        return _binary("/", other, self)

    def __neg__(self) -> Estimate:
        names = [f"-({x})" if algebra.is_compound(x) else f"-{x}" for x in self.labels]
        return self._with(-self.values, -self.influence_values, names)

    def log(self) -> Estimate:
        r"""Natural logarithm of every term, by the delta method.

        .. math:: \log\hat\theta, \qquad \psi / \hat\theta

        Returns
        -------
        Estimate
            With p terms.

        Raises
        ------
        InputError
            If a term is not positive.

        Notes
        -----
        The way to an interval and a p-value of a ratio: ``(a / b).log()`` is 0 where the ratio is 1, and the ends of
        its interval, exponentiated, are those of the ratio. They are never negative, and those of b / a are their
        reciprocals; the interval of ``a / b`` itself has neither property.

        Examples
        --------
        >>> means = Estimate([4.0, 2.0], [[1.0, 0.0], [-1.0, 0.0]], ["a", "b"], pd.RangeIndex(2))
        >>> logged = (means["a"] / means["b"]).log()
        >>> np.exp(logged.conf_int()).round(3)
                    lower  upper
        log(a / b)  1.414  2.828
        """
        if np.any(self.values <= 0):
            bad = self.labels[int(np.argmax(self.values <= 0))]
            raise InputError(
                f"Only positive estimates have a logarithm; {bad!r} is {self.params[bad]:g}. Select positive "
                "terms first, as in fit[[...]].log()."
            )
        names = [f"log({x})" for x in self.labels]
        return self._with(np.log(self.values), self.influence_values / self.values, names)

    def exp(self) -> Estimate:
        """Exponential of every term, by the delta method.

        Returns
        -------
        Estimate
        """
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.exp(self.values)
            return self._with(value, self.influence_values * value, [f"exp({x})" for x in self.labels])

    def transform(
        self,
        g: Callable[[Array], npt.ArrayLike],
        jacobian: npt.ArrayLike | Callable[[Array], npt.ArrayLike] | None = None,
        labels: Sequence[str] | None = None,
    ) -> Estimate:
        r"""Any smooth function of the terms, by the delta method.

        .. math:: g(\hat\theta) - g(\theta) \approx \frac1n \sum_i J \psi_i, \qquad J = \partial g / \partial \theta

        Parameters
        ----------
        g : callable
            Takes the estimates (p,) and returns a number or a vector (q,).
        jacobian : array of shape (q, p) or callable returning one, optional
            Derivative of ``g``. By default central differences, each step scaled to its own term.
        labels : sequence of q str, optional
            Names of the results.

        Returns
        -------
        Estimate
            With q terms.

        Raises
        ------
        InputError
            If shapes disagree or ``g`` or its derivative is not finite at the estimates.

        Notes
        -----
        Assumes that ``g`` is differentiable and nearly linear over a few standard errors. Cost: 2 p calls of ``g``
        without a jacobian, and n p q multiplications.

        References
        ----------
        van der Vaart (1998), Asymptotic Statistics, theorem 3.1.

        Examples
        --------
        >>> means = Estimate([4.0, 2.0], [[1.0, 0.0], [-1.0, 0.0]], ["a", "b"], pd.RangeIndex(2))
        >>> means.transform(lambda t: t[0] / t[1], labels=["a / b"])
        Estimate(a / b = 2, std_error = 0.3536; n = 2)
        """
        with np.errstate(all="ignore"):
            value = algebra.evaluate(g, self.values)
            if jacobian is None:
                matrix = algebra.numerical_jacobian(g, self.values, self.moments.std_errors)
            else:
                given = jacobian(self.values.copy()) if callable(jacobian) else jacobian
                matrix = np.atleast_2d(np.asarray(given, dtype=float))
            checks.check_jacobian(value, matrix, self.p)
            psi = self.influence_values @ matrix.T
        return self._with(value, psi, labels or algebra.transformed_labels(g, self.labels, len(value)))

    def _with(self, values: Array, influence: Array, labels: Sequence[str]) -> Estimate:
        """Return other terms on the same rows; tables and origin belong to the old terms and are left behind."""
        rows = {"index": self.index, "clusters": self.clusters, "settings": self.settings}
        return derive(**checks.terms(values, influence, labels), **rows)

    # --- reports and files ---------------------------------------------------------------------------------------

    def to_frame(self, level: float = 0.95, joint: bool = False) -> pd.DataFrame:
        """One row per term: term, estimate, std_error, statistic, p_value, conf_low, conf_high.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.
        joint : bool, default False
            Whether the intervals hold for all terms together.

        Returns
        -------
        DataFrame
        """
        return report.frame(self, level, joint)

    def summary(self, level: float = 0.95, joint: bool = False) -> report.Table:
        """Table whose ``str()`` is text and which notebooks show as HTML.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.
        joint : bool, default False
            Whether the intervals hold for all terms together.

        Returns
        -------
        Table
            With ``to_latex`` and ``to_markdown``.
        """
        return report.summary(self, level, joint)

    def to_latex(self, level: float = 0.95, joint: bool = False) -> str:
        """LaTeX source of the summary; needs the booktabs package.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.
        joint : bool, default False
            Whether the intervals hold for all terms together.

        Returns
        -------
        str
        """
        return self.summary(level, joint).to_latex()

    def to_markdown(self, level: float = 0.95, joint: bool = False) -> str:
        """Markdown source of the summary.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.
        joint : bool, default False
            Whether the intervals hold for all terms together.

        Returns
        -------
        str
        """
        return self.summary(level, joint).to_markdown()

    def plot(self, ax: Axes | None = None, level: float = 0.95, joint: bool = False) -> Axes:
        """Forest plot of the terms; see `causalif.results.plots.forest`.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.
        joint : bool, default False
            Whether the intervals hold for all terms together.

        Returns
        -------
        Axes
        """
        return plots.forest(self, ax=ax, level=level, joint=joint)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything but `origin` to one file; see `causalif.results.archive.save`.

        Parameters
        ----------
        path : str or path
            Replaced at once when it exists.
        """
        stored.write(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read an estimate that `save` wrote, as the class that it was; see `causalif.results.archive.load`.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        Estimate
            Without `origin`.
        """
        return stored.read_as(path, cls)

    def _pack(self, writer: Writer) -> dict[str, Any]:
        from causalif.results import archive  # archive builds Estimates

        return archive.packed(self, writer)

    @classmethod
    def _unpack(cls, fields: Mapping[str, Any], reader: Reader) -> Self:
        from causalif.results import archive  # archive builds Estimates

        return assembled(cls, archive.unpacked(fields, reader))

    def __getstate__(self) -> dict[str, Any]:
        """Fields without the origin, which may hold the whole data set."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"origin": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the fields, with arrays read-only again."""
        for array in (state["values"], state["influence_values"], state["clusters"]):
            if array is not None:
                array.flags.writeable = False
        self.__dict__.update(state)

    def __repr__(self) -> str:
        terms = f"{self.p} terms"
        if self.p == 1:
            terms = f"{self.labels[0]} = {self.values[0]:.4g}, std_error = {self.moments.std_errors[0]:.4g}"
        return f"{type(self).__name__}({terms}; n = {self.n:,})"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def concat(estimates: Sequence[Estimate] | Mapping[str, Estimate]) -> Estimate:
    """Stack the terms of several estimates, with their joint covariance, matching rows by index.

    Parameters
    ----------
    estimates : sequence of Estimate, or mapping of str to Estimate
        With a mapping, labels become ``"name: term"``.

    Returns
    -------
    Estimate
        All terms, on the union of all rows.

    Raises
    ------
    InputError
        If labels repeat, an index repeats, or only some estimates are clustered.

    Notes
    -----
    Each column enters as psi N / n_j on its own rows and 0 elsewhere, so that covariances are exactly the sums over
    shared rows of psi_1 psi_2 / (n_1 n_2). Memory: N times the number of terms.

    Examples
    --------
    >>> a = Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.Index(["x", "y"]))
    >>> b = Estimate([1.0], [[1.0], [-1.0]], ["ATE"], pd.Index(["y", "z"]))
    >>> concat({"first": a, "second": b}).cov
                 first: ATE  second: ATE
    first: ATE         0.50        -0.25
    second: ATE       -0.25         0.50
    """
    items: list[Estimate] = list(estimates.values()) if isinstance(estimates, Mapping) else list(estimates)
    if not items or not all(isinstance(item, Estimate) for item in items):
        raise InputError("`concat` takes at least one Estimate, in a list or in a mapping from names.")
    return derive(**algebra.concatenated(items, list(estimates) if isinstance(estimates, Mapping) else None))


def _binary(sign: str, left: Estimate | float, right: Estimate | float) -> Estimate:
    if not all(isinstance(x, Estimate) or checks.is_number(x) for x in (left, right)):
        return NotImplemented
    return derive(**algebra.combined(sign, left, right))


def derive(**given: Any) -> Estimate:
    """Build an Estimate from parts that were checked before; a warning given once is not repeated."""
    return assembled(Estimate, given)


def assembled(kind: type[E], given: Mapping[str, Any]) -> E:
    """Build an Estimate, or a descendant with its own fields, as `derive` does."""
    made = object.__new__(kind)
    empty: dict[str, Any] = {
        "settings": {},
        "diagnostics": {},
        "clusters": None,
        "splits": None,
        "nuisances": None,
        "origin": None,
    }
    made.__dict__.update(empty | dict(given))
    return made
