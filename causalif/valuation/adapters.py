"""Values in the interfaces of other data-valuation packages, without importing them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array
from causalif.valuation.inputs import is_tensor
from causalif.valuation.valuation import Valuation


class OpenDataVal:
    """A configured `KAIROS` as an evaluator of opendataval: the validation rows are the reference.

    Parameters
    ----------
    estimator : KAIROS
        Anything whose ``fit(train, reference=, label=, reference_label=)`` returns a `Valuation`.
    embedding_model : object, optional
        With ``predict``, applied to the rows first.

    Notes
    -----
    It has the methods that opendataval's experiments call and needs no prediction model; one that is passed is kept for
    those experiments. Register it with ``DataEvaluator.register(OpenDataVal)`` where instances are checked.

    References
    ----------
    Jiang, Liang, Zou and Kwon (2023), OpenDataVal: a unified benchmark for data valuation, NeurIPS 36.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.estimators.kairos import KAIROS
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(60, 2)), np.eye(2)[np.arange(60) % 2]
    >>> evaluator = OpenDataVal(KAIROS(progress=False)).input_data(x[:40], y[:40], x[40:], y[40:])
    >>> evaluator.train_data_values().evaluate_data_values().shape
    (40,)
    >>> from types import SimpleNamespace
    >>> fetcher = SimpleNamespace(datapoints=(x[:40], y[:40], x[40:], y[40:]))
    >>> other = OpenDataVal(KAIROS(progress=False)).train(fetcher)
    >>> bool((other.data_values == evaluator.data_values).all())
    True
    """

    def __init__(self, estimator: Any, embedding_model: Any = None) -> None:
        self.estimator = estimator
        self.embedding_model = embedding_model
        self.pred_model: Any = None
        self.metric: Any = None
        self.valuation: Valuation | None = None

    def __repr__(self) -> str:
        return f"OpenDataVal({self.estimator!r})"

    def input_model(self, pred_model: Any) -> OpenDataVal:
        """Keep a prediction model for the experiments; values do not depend on it.

        Parameters
        ----------
        pred_model : object
            Cloned where it can be.

        Returns
        -------
        OpenDataVal
        """
        self.pred_model = pred_model.clone() if hasattr(pred_model, "clone") else pred_model
        return self

    def input_metric(self, metric: Any) -> OpenDataVal:
        """Keep a metric for the experiments; values do not depend on it.

        Parameters
        ----------
        metric : object
            Kept as it is.

        Returns
        -------
        OpenDataVal
        """
        self.metric = metric
        return self

    def input_model_metric(self, pred_model: Any, metric: Any) -> OpenDataVal:
        """Keep a prediction model and a metric.

        Parameters
        ----------
        pred_model : object
            Cloned where it can be.
        metric : object
            Kept as it is.

        Returns
        -------
        OpenDataVal
        """
        return self.input_model(pred_model).input_metric(metric)

    def input_data(self, x_train: Any, y_train: Any, x_valid: Any, y_valid: Any) -> OpenDataVal:
        """Take rows and labels.

        Parameters
        ----------
        x_train, y_train : array or tensor
            Train rows and their labels: one-hot rows, class numbers, or one column of numbers.
        x_valid, y_valid : array or tensor
            Validation rows and labels, the reference.

        Returns
        -------
        OpenDataVal
        """
        self.x_train, self.y_train, self.x_valid, self.y_valid = x_train, y_train, x_valid, y_valid
        self.valuation = None
        self.__dict__.pop("data_values", None)
        return self

    def input_fetcher(self, fetcher: Any) -> OpenDataVal:
        """Take rows and labels from a fetcher.

        Parameters
        ----------
        fetcher : object
            With ``datapoints``: train rows and labels, validation rows and labels.

        Returns
        -------
        OpenDataVal
        """
        x_train, y_train, x_valid, y_valid, *_ = fetcher.datapoints
        return self.input_data(x_train, y_train, x_valid, y_valid)

    def setup(self, fetcher: Any, pred_model: Any = None, metric: Any = None) -> OpenDataVal:
        """Take rows, model and metric.

        Parameters
        ----------
        fetcher : object
            With ``datapoints``: train rows and labels, validation rows and labels.
        pred_model : object, optional
            Cloned where it can be.
        metric : object, optional
            Kept as it is.

        Returns
        -------
        OpenDataVal
        """
        return self.input_fetcher(fetcher).input_model_metric(pred_model, metric)

    def train(self, fetcher: Any, pred_model: Any = None, metric: Any = None, *args: Any, **kwargs: Any) -> OpenDataVal:
        """Take everything and compute the values.

        Parameters
        ----------
        fetcher : object
            With ``datapoints``: train rows and labels, validation rows and labels.
        pred_model : object, optional
            Cloned where it can be.
        metric : object, optional
            Kept as it is.
        *args, **kwargs : object
            Passed on to `train_data_values`.

        Returns
        -------
        OpenDataVal
        """
        return self.setup(fetcher, pred_model, metric).train_data_values(*args, **kwargs)

    def train_data_values(self, *args: Any, **kwargs: Any) -> OpenDataVal:
        """Compute the values.

        Parameters
        ----------
        *args, **kwargs : object
            Training options of other evaluators, not needed here.

        Returns
        -------
        OpenDataVal
        """
        train, valid = (_flat(self._embedded(x)) for x in (self.x_train, self.x_valid))
        self.valuation = self.estimator.fit(
            train, reference=valid, label=_labels(self.y_train), reference_label=_labels(self.y_valid)
        )
        return self

    def evaluate_data_values(self) -> Array:
        """Return one value per train row, high is good.

        Returns
        -------
        array of shape (N,)

        Raises
        ------
        InputError
            Before `train_data_values`.
        """
        if self.valuation is None:
            raise InputError("Call `train_data_values` before asking for values.")
        return self.valuation.values.to_numpy()

    @cached_property
    def data_values(self) -> Array:
        """The values, kept."""
        return self.evaluate_data_values()

    def _embedded(self, x: Any) -> Any:
        return x if self.embedding_model is None else self.embedding_model.predict(x)


def _flat(x: Any) -> Any:
    rows = x if is_tensor(x) else np.asarray(x)
    return rows.reshape(len(rows), -1)


def _labels(y: Any) -> npt.NDArray[Any]:
    labels = np.asarray(y.detach().cpu() if is_tensor(y) else y)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return labels.argmax(axis=1)
    return labels.reshape(len(labels))
