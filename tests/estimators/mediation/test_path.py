"""Effects along paths: the right functional, types in words, many questions in one fit, refusals."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from causalif._errors import IdentificationWarning, InputError, NotIdentifiedError
from causalif.engine.crossfit import cross_fit
from causalif.engine.problem import Plan, Problem
from causalif.estimators.mediation import Mediation, PathEffect
from causalif.estimators.mediation.bridge import Asker, estimand_for, fit_questions
from causalif.estimators.mediation.columns import read_columns, read_exposure
from causalif.graphs.mediation import edge_questions, path_question, total_question

sys.path.insert(0, str(Path(__file__).parents[2] / "coverage"))

from study_mediation import DAG, LEARNERS, SHIFT, continuous, sem2, study

CLIPPED = pytest.mark.filterwarnings("ignore::causalif._errors.PositivityWarning")


def fit(data, path=None, **options):
    options = {"dag": DAG, "learners": "linear"} | options
    return PathEffect(outcome="Y", treatment="A", path=path, **options).fit(data)


@CLIPPED
def test_a_direct_path_is_the_direct_effect():
    data = sem2(1000, 0)
    one = fit(data, ("A", "Y"))
    other = Mediation(outcome="Y", treatment="A", mediators=["L", "M"], adjust=["C"], learners="linear").fit(data)
    assert one.params["A -> Y"] == pytest.approx(other.params["direct"], abs=1e-10)
    assert one.std_errors["A -> Y"] == pytest.approx(other.std_errors["direct"], abs=1e-10)
    assert one.types.to_dict() == {"A -> Y": "natural"}


@CLIPPED
def test_the_decomposition_adds_up_row_by_row():
    found = fit(sem2(1000, 0))
    assert list(found.params.index) == ["A -> L ~> Y", "A -> M -> Y", "A -> Y", "interaction", "total"]
    psi = found.influence
    assert np.allclose(psi.iloc[:, :4].sum(axis=1), psi["total"], atol=1e-9)
    assert found.types["A -> L ~> Y"] == "bundle"


@CLIPPED
def test_a_recanting_path_says_what_it_became():
    data = sem2(1000, 0)
    with pytest.warns(IdentificationWarning, match="A -> L -> Y begins with the same edge.*analogue"):
        found = fit(data, ("A", "L", "M", "Y"), learners=LEARNERS["quadratic"])
    term = "A -> L -> M -> Y (interventional)"
    assert found.types.to_dict() == {term: "interventional"}
    assert abs(found.params[term] - 0.28) < 4 * found.std_errors[term]
    with pytest.warns(IdentificationWarning, match="whole bundle"):
        bundle = fit(data, ("A", "L", "M", "Y"), on_recanting="bundle")
    assert abs(bundle.params.iloc[0] - 0.63) < 4 * bundle.std_errors.iloc[0]
    with pytest.raises(NotIdentifiedError, match="not identified") as refused:
        fit(data, ("A", "L", "M", "Y"), on_recanting="skip")
    assert refused.value.witness == ("A", "L", "Y")


@CLIPPED
@pytest.mark.filterwarnings("ignore::causalif._errors.IdentificationWarning")
def test_interventional_effect_of_binary_mediators_by_both_routes():
    """Probabilities of values, and classified density ratios, against the sum over the law that drew the data."""
    rng = np.random.default_rng(5)
    n = 6000
    p_l, p_m = {0: 0.3, 1: 0.7}, {(a, k): 0.2 + 0.2 * a + 0.35 * k for a, k in itertools.product((0, 1), (0, 1))}
    a = rng.integers(0, 2, n)
    ell = (rng.random(n) < np.where(a == 1, p_l[1], p_l[0])) * 1
    m = (rng.random(n) < 0.2 + 0.2 * a + 0.35 * ell) * 1
    y = a + ell + m + ell * m + rng.normal(size=n)
    data = pd.DataFrame({"A": a, "L": ell, "M": m, "Y": y})
    dag = nx.DiGraph([("A", "L"), ("A", "M"), ("L", "M"), ("A", "Y"), ("L", "Y"), ("M", "Y")])

    def mean(first):
        """L at 0; M drawn from p(m | 0, L') with L' at the level first."""
        q = sum(p_m[0, k] * (p_l[first] if k else 1 - p_l[first]) for k in (0, 1))
        return sum(
            (k + j + k * j) * (p_l[0] if k else 1 - p_l[0]) * (q if j else 1 - q)
            for k, j in itertools.product((0, 1), (0, 1))
        )

    truth = mean(1) - mean(0)
    by_values = fit(data, ("A", "L", "M", "Y"), dag=dag, learners=LEARNERS["quadratic"] | {"mediator": "linear"})
    names = by_values.diagnostics["nuisances"].index
    assert any(name.startswith("P(M=1|A=0") for name in names)
    assert abs(by_values.values[0] - truth) < 3.5 * by_values.moments.std_errors[0]
    jittered = data.assign(M=data["M"] + 1e-9 * rng.normal(size=n))
    by_ratio = fit(jittered, ("A", "L", "M", "Y"), dag=dag, learners=LEARNERS["quadratic"])
    assert any(name.startswith("ratio(M") for name in by_ratio.diagnostics["nuisances"].index)
    assert abs(by_ratio.values[0] - truth) < 3.5 * by_ratio.moments.std_errors[0]


# --- many questions --------------------------------------------------------------------------------------------------


def asked():
    questions = [*edge_questions(DAG, "A", "Y").values(), total_question(DAG, "A", "Y")]
    paths = [("A", "L", "M", "Y"), ("A", "L", "Y"), ("A", "M", "Y")]
    return questions + [path_question(DAG, "A", "Y", path) for path in paths]


@CLIPPED
def test_many_questions_at_once_are_the_same_as_one_by_one():
    columns = read_columns(sem2(500, 1), "Y", "A", ["L", "M"], ["C"])
    exposure, plan = read_exposure(columns, None, None), Plan("linear", folds=3, strata=("A",))
    together = fit_questions(asked(), columns, exposure, plan)
    for j, question in enumerate(asked()):
        alone = cross_fit([estimand_for(question, columns, exposure)], columns.table, plan)
        if question.kind == "interventional":  # classifiers of dealt rows are seeded by their place
            continue
        assert together.values[j] == pytest.approx(alone.values[0], abs=1e-10)
        assert np.allclose(together.influence[:, j], alone.influence[:, 0], atol=1e-9)


def test_hundreds_of_questions_share_their_nuisances():
    columns = read_columns(sem2(500, 1), "Y", "A", ["L", "M"], ["C"])
    asker = Asker(columns, read_exposure(columns, None, None))
    many = [mean for _ in range(50) for question in asked() for _, mean in asker.means_of(question)]
    distinct = list(dict.fromkeys(many))
    assert len(distinct) < 12
    problem = Problem.of(distinct, Plan("linear"))
    assert len(problem.nodes) < sum(len(mean.nuisances()) for mean in distinct)
    assert len(problem.nodes) < 40


def test_absent_paths_are_exactly_zero():
    columns = read_columns(sem2(300, 1), "Y", "A", ["L", "M"], ["C"])
    exposure, plan = read_exposure(columns, None, None), Plan("linear", folds=3)
    absent = path_question(nx.DiGraph([("A", "L"), ("L", "Y"), ("C", "M")]), "A", "Y", ("A", "L", "M", "Y"))
    assert absent.kind == "absent"
    alone = fit_questions([absent], columns, exposure, plan)
    assert alone.values[0] == 0.0
    assert not alone.influence.any()
    both = fit_questions([absent, total_question(DAG, "A", "Y")], columns, exposure, plan)
    assert both.values[0] == 0.0
    assert both.values[1] != 0.0
    with pytest.raises(InputError, match="at least one question"):
        fit_questions([], columns, exposure, plan)


# --- shifts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["control", "treated"])
def test_paths_of_a_continuous_treatment(reference):
    data = continuous(2000, 3)
    dag = nx.DiGraph([("C", "A"), ("C", "M"), ("C", "Y"), ("A", "M"), ("A", "Y"), ("M", "Y")])
    moved = SHIFT * (data["A"] + SHIFT <= data["A"].max()).mean()
    for path, slope in ((("A", "M", "Y"), 0.48), (("A", "Y"), 0.4)):
        found = fit(data, path, dag=dag, shift=SHIFT, reference=reference)
        assert abs(found.values[0] - slope * moved) < 3.5 * found.moments.std_errors[0]


def test_a_shift_cannot_follow_an_edge_below_another_mediator():
    data = sem2(400, 0).assign(A=np.random.default_rng(0).normal(size=400))
    with pytest.raises(NotIdentifiedError, match="L, which the treatment acts on too, comes before"):
        fit(data, ("A", "M", "Y"), shift=0.5)
    with pytest.raises(NotIdentifiedError, match="not available with a shift"):
        fit(data, ("A", "L", "M", "Y"), shift=0.5)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dag": nx.DiGraph([("Y", "A")])}, "no directed path from 'A' to 'Y'"),
        ({"path": ("A", "C", "Y")}, "lacks one of its edges"),
        ({"path": ("A", "Q", "Y")}, "not a node"),
        ({"dag": "A -> Y"}, "networkx.DiGraph"),
        ({"dag": nx.DiGraph([("A", "Q"), ("Q", "Y")]), "path": ("A", "Q", "Y"), "on_recanting": "bundle"}, None),
        ({"dag": nx.DiGraph([("A", "Q"), ("Q", "Y"), ("A", "Y")]), "path": ("A", "Y")}, "does not have"),
        ({"dag": nx.DiGraph([("A", "L"), ("L", "A")])}, "no directed cycle"),
        ({"path": ("A", "Y"), "adjust": "some"}, "`adjust` must be one of"),
        ({"path": ("A", "Y"), "learners": "cubic"}, "`learners` must be"),
    ],
)
@CLIPPED
def test_unusable_arguments(options, message):
    data = sem2(300, 0)
    if message is None:  # the only path is the total effect, for which its mediator is not needed
        assert fit(data, **options).types.iloc[0] == "natural"
        return
    with pytest.raises(InputError, match=message):
        fit(data, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("effects", "draws"), [("natural", 200), ("overlap", 100), ("shift", 100)])
def test_coverage(effects, draws):
    """Bias within four Monte Carlo errors, standard errors within a quarter, coverage in the binomial band."""
    table = study(effects, "quadratic" if effects != "shift" else "linear", 1000, draws)
    assert table["bias / MC error"].abs().max() < 4
    assert table["SE / SD"].between(0.8, 1.35).all()
    assert (table["coverage"] >= 0.95 - 3.3 * np.sqrt(0.95 * 0.05 / draws)).all()
