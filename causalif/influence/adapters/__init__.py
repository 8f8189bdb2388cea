"""From fitted things of several packages to subjects that rows can be left out of."""

from __future__ import annotations

from typing import Any

from causalif._errors import InputError
from causalif.influence.estimate_subject import EstimateSubject
from causalif.influence.refit import Refit
from causalif.influence.subject import ModelSubject
from causalif.results.estimate import Estimate

Fitted = Any


def adapt(
    fitted: Fitted, data: Any = None, clusters: Any = None, curvature: str = "observed", refit: Refit | None = None
) -> EstimateSubject | ModelSubject:
    """Return the subject behind a causalif Estimate, a statsmodels result or a scikit-learn fit."""
    if isinstance(fitted, Estimate):
        from causalif.influence.adapters.estimate import adapt_estimate

        return adapt_estimate(fitted, data, clusters, refit)
    if refit is not None:
        raise InputError("`refit` is for causalif Estimates; other fits are fitted again by their own package.")
    package = type(fitted).__module__.split(".", maxsplit=1)[0]
    if package == "statsmodels":
        from causalif.influence.adapters.statsmodels import adapt_statsmodels

        return adapt_statsmodels(fitted, data, clusters, curvature)
    if package == "sklearn":
        from causalif.influence.adapters.sklearn import adapt_sklearn

        return adapt_sklearn(fitted, data, clusters)
    raise InputError(
        "`fitted` must be a causalif Estimate, a statsmodels result or a fitted scikit-learn estimator. Got "
        f"{type(fitted).__name__} instead."
    )
