import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from causalif._errors import DataWarning, InputError
from causalif.kernels import Gaussian, block
from causalif.valuation.label_models import fit_label_model, ridge_solution
from causalif.valuation.labels import LabelCoding, fit_coding


def test_codes_are_positions_and_come_back():
    coding = fit_coding(np.array(["b", "a", "c"]), np.array(["a", "c"]), "auto")
    assert coding == LabelCoding("classes", ("a", "b", "c"), 3)
    codes = coding.codes(np.array(["c", "a"]), "train")
    assert codes.tolist() == [2.0, 0.0]
    assert coding.decoded(codes).tolist() == ["c", "a"]


def test_numbers_are_standardised_on_the_reference():
    coding = fit_coding(np.array([1.5, 3.5]), np.array([9.0]), "auto")
    assert (coding.center, coding.unit) == (2.5, 1.0)
    assert coding.codes(np.array([9.0]), "train").tolist() == [6.5]
    assert coding.decoded(np.array([6.5])).tolist() == [9.0]
    with pytest.raises(InputError, match=r"must hold numbers\. Got"):
        coding.codes(np.array(["x"]), "batch")


def test_integers_and_floats_of_one_value_are_one_class():
    coding = fit_coding(np.array([0, 1]), np.array([1.0, 0.0]), "auto")
    assert coding.codes(np.array([1.0, 0.0]), "train").tolist() == [1.0, 0.0]


def test_a_class_without_reference_rows_is_never_predicted():
    with pytest.warns(DataWarning, match="'z'"):
        coding = fit_coding(np.array(["a", "b"]), np.array(["a", "z"]), "classes")
    predicted = np.array([[0.9, 0.1], [0.6, 0.4]])
    residuals = coding.residuals(coding.codes(np.array(["a", "z"]), "train"), predicted)
    np.testing.assert_allclose(residuals, np.sqrt([0.1**2 + 0.1**2, 0.6**2 + 0.4**2 + 1]))


def test_promoted_classes_move_to_the_front():
    coding = LabelCoding("classes", ("a", "x", "y", "z"), 1)
    grown, moved = coding.promoted(np.array(["y", "a"]))
    assert grown == LabelCoding("classes", ("a", "y", "x", "z"), 2)
    assert moved.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("ridge", [1e-4, 1e-1])
def test_residuals_without_a_row_are_those_of_a_fit_without_it(ridge):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(25, 2)), rng.normal(size=(25, 3))
    gram = block(x, x, Gaussian(1.0))
    coefficients, held = ridge_solution(gram, y, ridge)
    np.testing.assert_allclose((gram + 25 * ridge * np.eye(25)) @ coefficients, y, atol=1e-9)
    for i in (0, 11, 24):
        keep = np.arange(25) != i
        fit = np.linalg.solve(gram[np.ix_(keep, keep)] + 25 * ridge * np.eye(24), y[keep])
        np.testing.assert_allclose(held[i], y[i] - gram[i, keep] @ fit, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_default_classifier_predicts_what_scikit_learn_does(classes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = np.digitize(x[:, 0], np.linspace(-0.5, 0.5, classes - 1)).astype(float)
    coding = LabelCoding("classes", tuple(range(classes)), classes)
    model = fit_label_model("classifier", Gaussian(1.0), x, y, coding, np.zeros(3))
    direct = LogisticRegression(max_iter=1000).fit(x, y)
    np.testing.assert_allclose(model.predict(x), direct.predict_proba(x), atol=1e-10)
    assert model.held_out.shape == (60,)


def test_a_reference_too_large_for_kernel_regression():
    coding = LabelCoding("classes", (0, 1), 2)
    x = np.zeros((3, 1))
    from causalif.valuation import label_models

    before, label_models.MOST_REFERENCE = label_models.MOST_REFERENCE, 2
    try:
        with pytest.raises(InputError, match=r"takes at most 2 rows\. Got 3"):
            fit_label_model("cme", Gaussian(1.0), x, np.zeros(3), coding, np.zeros(1))
    finally:
        label_models.MOST_REFERENCE = before


def test_classes_of_several_types_come_back_as_they_were():
    labels = np.array([1, "a", 1, True], dtype=object)
    coding = fit_coding(labels, labels, "auto")
    assert coding.decoded(coding.codes(labels, "train")).tolist() == [1, "a", 1, True]


def test_times_and_many_numbers_kept_as_text_are_no_classes():
    texts = np.array([str(i) for i in range(40)])
    with pytest.raises(InputError, match="holds 40 different numbers as text, such as '0'"):
        fit_coding(texts, texts, "auto")
    assert fit_coding(texts, texts, "classes").known == 40
    assert fit_coding(texts[:20], texts[:20], "auto").kind == "classes"
    with pytest.raises(InputError, match="Convert times to numbers"):
        fit_coding(texts[:2], np.array([1, 2], dtype="m8[D]"), "auto")
    with pytest.warns(DataWarning, match='pass label_type="numbers"'):
        fit_coding(np.array([1, 2]), np.array([1, 3]), "auto")


def test_labels_of_which_the_reference_has_none_are_refused():
    with pytest.raises(InputError, match=r"No row of `train` has a label .* Got '0' in `train`, .* 0, 1; write both"):
        fit_coding(np.array([0, 1]), np.array(["0", "1"], dtype=object), "classes")
    with pytest.warns(DataWarning, match="Is 'Yes' the 'yes' of the reference"):
        fit_coding(np.array(["no", "yes"]), np.array(["no", "Yes"]), "classes")
