from types import SimpleNamespace

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.estimators.kairos import KAIROS
from causalif.valuation import OpenDataVal


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 2, 3))
    return x[:60], np.eye(2)[(x[:60, 0, 0] > 0).astype(int)], x[60:], np.eye(2)[(x[60:, 0, 0] > 0).astype(int)]


def test_the_calls_of_an_experiment():
    torch = pytest.importorskip("torch")
    x, y, r, yr = (torch.tensor(part, dtype=torch.float32) for part in rows())
    fetcher = SimpleNamespace(datapoints=(x, y, r, yr, None, None), one_hot=True)
    model = SimpleNamespace(clone=lambda: "a copy")
    evaluator = OpenDataVal(KAIROS(progress=False)).train(fetcher, model, metric=None, batch_size=32, epochs=2)
    assert evaluator.pred_model == "a copy"
    direct = KAIROS(progress=False).fit(x.reshape(60, 6), reference=r.reshape(30, 6), label=y.argmax(1).numpy(),
                                        reference_label=yr.argmax(1).numpy())  # fmt: skip
    np.testing.assert_array_equal(evaluator.data_values, direct.values)
    assert evaluator.data_values is evaluator.data_values
    assert "KAIROS(" in repr(evaluator)


def test_new_data_forget_old_values():
    x, y, r, yr = rows()
    evaluator = OpenDataVal(KAIROS(progress=False)).input_data(x, y, r, yr).train_data_values()
    first = evaluator.data_values
    evaluator.input_data(x[:40], y[:40], r, yr)
    with pytest.raises(InputError, match="Call `train_data_values`"):
        evaluator.evaluate_data_values()
    assert len(evaluator.train_data_values().data_values) == 40 != len(first)


def test_embeddings_come_first():
    x, y, r, yr = rows()
    sees = SimpleNamespace(predict=lambda part: part[:, 0])
    evaluator = OpenDataVal(KAIROS(progress=False), embedding_model=sees).input_data(x, y, r, yr).train_data_values()
    assert evaluator.valuation.encoder.width == 3
