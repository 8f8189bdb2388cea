"""The fast linear path: least squares, ridge and logistic regression for all folds from one pass over the rows."""

from causalif.engine.linear.fits import (
    OLS,
    PENALTIES,
    LinearFit,
    Logit,
    Ridge,
    least_squares_folds,
    logistic_folds,
    ridge_folds,
)

__all__ = ["OLS", "PENALTIES", "LinearFit", "Logit", "Ridge", "least_squares_folds", "logistic_folds", "ridge_folds"]
