"""Several adjustment sets of one graph: what is estimated, tested, refused and said."""

from __future__ import annotations

import pickle

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import causalif as ci
from causalif._errors import IdentificationWarning, InputError, NotIdentifiedError, PositivityError, PositivityWarning
from causalif.estimators.compare_sets import compare_sets

TEXT = "{V C} -> A; {C A M1} -> M2; A -> M1; {C W M1 M2 A} -> Y"
LABELS = np.arange(3000) % 4


@pytest.fixture(scope="module")
def dag():
    return ci.parse_dag(TEXT)


@pytest.fixture(scope="module")
def table():
    return ci.datasets.simulate_wcde(3000, random_state=11).data


@pytest.fixture(scope="module")
def total(dag, table):
    return compare_sets(dag, table, "A", "Y", learners="linear", folds=LABELS)


def test_each_estimate_is_that_of_the_estimator(dag, table, total):
    for nodes, fit in total.estimates.items():
        one = ci.ATE(outcome="Y", treatment="A", adjust=sorted(nodes), learners="linear", folds=LABELS).fit(table)
        np.testing.assert_allclose(fit.params, one.params, rtol=1e-9)
        np.testing.assert_allclose(fit.std_errors, one.std_errors, rtol=1e-9)
    direct = compare_sets(dag, table, "A", "Y", "wcde", learners="linear", folds=LABELS)
    for nodes, fit in direct.estimates.items():
        held, others = direct.search.split(nodes)
        lists = {"mediators": sorted(held), "adjust": sorted(others)}
        one = ci.WCDE(outcome="Y", treatment="A", learners="linear", folds=LABELS, **lists).fit(table)
        np.testing.assert_allclose(fit.params["WCDE"], one.params["WCDE"], rtol=1e-9)
        np.testing.assert_allclose(fit.std_errors["WCDE"], one.std_errors["WCDE"], rtol=1e-9)


def test_named_sets_and_estimates_near_the_truth(total, dag, table):
    assert total.labels == (("optimal",), ("minimal", "minimum cost"), ("parents of A",), ("V, C, W",))
    assert total.names == ("optimal", "minimal", "parents of A", "V, C, W")
    assert total.sets["minimal"] == total.sets["minimum cost"] == {"C"}
    assert total["minimum cost"] is total["minimal"]
    assert total.sets["optimal"] == {"C", "W"}
    assert total.sets["parents of A"] == {"V", "C"}
    assert total["parents of A"] is total.estimates[frozenset({"V", "C"})]
    truth = ci.datasets.simulate_wcde(10).truth
    direct = compare_sets(dag, table, "A", "Y", "wcde", learners="linear")
    assert direct.sets["mediators and parents of A"] == {"M1", "M2", "V", "C"}
    for found, name in ((total, "ATE"), (direct, "WCDE")):
        for fit in found.fits:
            assert abs(fit.params[name] - truth[name]) < 4 * fit.std_errors[name]


def test_one_split_serves_all_sets(dag, table):
    """A set's estimate does not depend on what it is compared with, and two sets differ by less than by chance."""
    few = compare_sets(dag, table, "A", "Y", sets=[{"C"}], learners="linear")
    more = compare_sets(dag, table, "A", "Y", sets=[{"C", "V"}, {"C"}], learners="linear")
    for nodes in ({"C"}, {"C", "W"}):
        one, other = few.estimates[frozenset(nodes)], more.estimates[frozenset(nodes)]
        pd.testing.assert_frame_equal(one.influence, other.influence)
    assert few.differences.std_errors["C"] < 0.5 * few["C"].std_errors["ATE"]


def test_differences_are_the_algebra_of_estimates(total):
    first, *others = [fit["ATE"] for fit in total.fits]
    assert total.differences.labels == total.names[1:]
    for name, other in zip(total.names[1:], others, strict=True):
        apart = other - first
        assert total.differences.params[name] == pytest.approx(apart.values[0], rel=1e-12)
        assert total.differences.std_errors[name] == pytest.approx(apart.std_errors.iloc[0], rel=1e-12)
    psi = np.column_stack([fit.influence_values[:, 0] for fit in total.fits])
    d = np.array([fit.values[0] for fit in total.fits])
    contrast = np.column_stack([-np.ones(3), np.eye(3)])
    v = contrast @ (psi.T @ psi) @ contrast.T / len(psi) ** 2
    wald = float(contrast @ d @ np.linalg.solve(v, contrast @ d))
    assert total.agreement.df == 3
    assert total.agreement.statistic == pytest.approx(wald, rel=1e-8)
    assert total.agreement.p_value == pytest.approx(stats.chi2.sf(wald, 3), rel=1e-8)
    assert total.agreement.null == "all valid sets give the same effect"


def test_the_table(total):
    frame = total.to_frame(0.9)
    assert list(frame["set"]) == list(total.names)
    assert list(frame["members"])[:2] == [("C", "W"), ("C",)]
    pd.testing.assert_series_equal(
        frame["estimate"], pd.Series([f.params["ATE"] for f in total.fits]), check_names=False
    )
    assert np.allclose(frame["difference"][1:], total.differences.values)
    assert frame.loc[0, ["difference", "difference_std_error", "difference_p_value"]].isna().all()
    half = stats.norm.ppf(0.95) * frame["std_error"]
    assert np.allclose(frame["conf_high"] - frame["estimate"], half)


def test_what_is_said(total):
    text = " ".join(str(total).split())
    assert "total effect of A on Y" in text
    assert "minimal (also minimum cost): C." in text
    assert "the optimal set (proved)" in text
    assert "Do not pick a set by its estimate or its standard error" in text
    assert "Test that all valid sets give the same effect: chi2(3)" in text
    assert "sets can share a bias" in text
    assert repr(total) == str(total)
    assert "<table" in total._repr_html_()
    assert "tabular" in total.to_latex()
    assert "optimal" in total.to_markdown()


def test_a_wrong_graph_is_found_out(dag, table):
    wrong = table.assign(Y=table["Y"] + 0.5 * table["V"])  # V acts on the outcome, which the graph denies
    found = compare_sets(dag, wrong, "A", "Y", learners="linear")
    assert found.agreement.p_value < 1e-6
    assert "speaks against the graph" in " ".join(str(found).split())


def test_sets_that_are_alike_are_not_tested_against_each_other(table):
    dag = ci.parse_dag("C -> {A Y}; A -> Y; W -> Y; I -> C; {A W} -> K")
    data = table.assign(I=np.random.default_rng(0).normal(size=len(table)))
    found = compare_sets(dag, data, "A", "Y", sets=[{"C", "W", "I"}, {"C"}, {"C", "I"}], learners="linear")
    assert found.tested == ("C",)
    assert found.agreement.df == 1
    frame = found.to_frame().set_index("set")
    assert np.isnan(frame.loc["C, W, I", "difference_p_value"])
    assert frame.loc["C, W, I", "difference_std_error"] > 0
    alone = compare_sets(dag, data, "A", "Y", sets=[{"C", "W", "I"}], learners="linear")
    assert alone.agreement is None
    assert "their agreement tests nothing" in " ".join(str(alone).split())
    chosen = compare_sets(dag, data, "A", "Y", learners="linear")
    assert not any("I" in nodes for nodes in chosen.sets.values())


def test_differences_that_follow_from_one_another_count_once(dag, table):
    """A copied column brings no difference of its own, whatever the graph says of it."""
    twin = table.assign(T=table["W"])
    graph = ci.parse_dag(TEXT + "; T -> Y")
    with pytest.warns(ci._errors.DesignWarning):
        found = compare_sets(graph, twin, "A", "Y", sets=[{"C", "W"}, {"C", "T"}, {"C"}], learners="linear")
    assert found.differences.p == 3
    assert found.agreement.df == 1


def test_a_single_set():
    data = pd.DataFrame({"A": np.tile([0, 1], 100), "Y": np.random.default_rng(0).normal(size=200)})
    found = compare_sets(nx.DiGraph([("A", "Y")]), data, "A", "Y", learners="linear")
    assert found.labels == (("optimal", "minimal", "minimum cost", "parents of A"),)
    assert found.sets["minimal"] == frozenset()
    assert found.differences is None
    assert "no variable" in str(found)
    assert found.to_frame().shape == (1, 9)


def test_given_sets_keep_their_names_and_the_optimal_one_comes_first(dag, table):
    found = compare_sets(
        dag, table, "A", "Y", sets={"mine": ["C"], "yours": ("C", "W"), "wide": {"C", "V", "W"}}, learners="linear"
    )
    assert found.labels == (("optimal", "yours"), ("mine",), ("wide",))


def test_the_limit(dag, table):
    assert len(compare_sets(dag, table, "A", "Y", limit=2, learners="linear").names) == 2
    with pytest.raises(InputError, match="`limit` must be a whole number"):
        compare_sets(dag, table, "A", "Y", limit=0)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([{"C", "M1"}], "{'C', 'M1'} is not: 'M1' lies on a causal path: A -> M1 -> Y"),
        ({"mine": {"W"}}, "mine is not: The path A <- C -> Y is open given this set"),
        ([{"C", "U"}], "`nodes` must name nodes of the graph. 'U'"),
        ({"C", "W"}, r"`sets` must hold sets of nodes. Got '[CW]' instead: put a single set in a list, .*\{'[CW]'\}"),
        ("C", "`sets` must map names to sets"),
        (3, "Got 3 instead"),
        ([3], "`sets` must hold sets of nodes. Got 3"),
        ({"optimal": {"C"}}, "must have names that differ"),
    ],
)  # fmt: skip
def test_bad_sets(dag, table, sets, message):
    with pytest.raises(InputError, match=message):
        compare_sets(dag, table, "A", "Y", sets=sets, learners="linear")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dag": TEXT}, "text is read by causalif.parse_dag. Got str"),
        ({"data": [1, 2]}, "`data` must be a pandas or polars DataFrame. Got list"),
        ({"treatment": 3}, "must name one column by a string. Got 3 instead.*relabel_nodes"),
        ({"treatment": ["A", "V"]}, "must name one column by a string"),
        ({"outcome": "Z"}, "`outcome` names 'Z', which is not a column"),
        ({"effect": "direct"}, "`effect` must be one of"),
        ({"treatment": "Y", "outcome": "C"}, "the effect is exactly zero"),
        ({"learners": {"nonsense": "auto"}}, "learners"),
        ({"levels": (2, 0)}, "`levels` names"),
        ({"costs": {"C": -1}}, "`costs` must be positive"),
        ({"folds": 1}, "folds=1"),
    ],
)
def test_bad_arguments(dag, table, change, message):
    arguments = {"dag": dag, "data": table, "treatment": "A", "outcome": "Y"} | change
    with pytest.raises(InputError, match=message):
        compare_sets(**arguments)


def test_columns_that_are_missing_or_latent(dag, table):
    with pytest.raises(NotIdentifiedError, match="Measure 'C'"):
        compare_sets(dag, table.drop(columns="C"), "A", "Y")
    with pytest.raises(InputError, match="'W' is not observed"):
        compare_sets(dag, table.drop(columns="W"), "A", "Y", sets=[{"C", "W"}], learners="linear")
    hidden = ci.parse_dag(TEXT + "; W [latent]")
    found = compare_sets(hidden, table, "A", "Y", learners="linear")
    assert found.sets["optimal"] == found.sets["minimal"] == {"C"}
    assert found.search.optimality == "proved"


def test_sets_without_overlap_are_skipped_and_the_optimal_one_must_have_it(table):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"C": rng.normal(size=800), "R": rng.random(800) < 0.5})
    data["A"] = data["R"].to_numpy() * 1
    data["Y"] = data["A"] + data["C"] + rng.normal(size=800)
    dag = ci.parse_dag("R -> A; C -> Y; A -> Y")
    with pytest.warns(PositivityWarning, match="The set 'R, C' has no estimate"):
        found = compare_sets(dag, data, "A", "Y", sets=[{"R", "C"}, set()], learners="linear")
    assert found.names == ("optimal", "no variable")
    assert list(found.skipped) == ["R, C"]
    assert "R, C: no estimate." in " ".join(str(found).split())
    confounded = ci.parse_dag("R -> {A Y}; A -> Y")
    with pytest.raises(PositivityError, match=r"With the optimal set \(R\)"):
        compare_sets(confounded, data, "A", "Y", learners="linear")


def test_an_effect_that_is_zero_by_the_graph(table):
    dag = ci.parse_dag("A -> M1; C -> {A Y}; M1 -> Y; W -> Y")
    with pytest.warns(IdentificationWarning, match="0 by the graph itself, with every set"):
        found = compare_sets(dag, table, "A", "Y", "wcde", sets=[{"M1", "C"}], learners="linear")
    assert found.names == ("optimal", "M1, C")


def test_clusters_weights_and_repeated_row_names(dag, table):
    data = table.assign(town=np.arange(3000) // 60, w=1.0 + table["W"])
    data.index = pd.Index(np.zeros(3000, dtype=int))
    found = compare_sets(dag, data, "A", "Y", learners="linear", cluster="town", weights="w")
    assert found.agreement.distribution == "F(3, 49)"
    assert found.differences.clusters is not None
    assert found.fits[0].settings["weights"] == "w"


def test_other_frames_graphs_and_generators(dag, table):
    polars = pytest.importorskip("polars")
    plain = compare_sets(dag, table, "A", "Y", sets=[{"C"}], learners="linear", random_state=5)
    other = compare_sets(dag, polars.from_pandas(table), "A", "Y", sets=[{"C"}], learners="linear", random_state=5)
    np.testing.assert_allclose(plain.to_frame()["estimate"], other.to_frame()["estimate"], rtol=1e-12)
    drawn = [
        compare_sets(dag, table, "A", "Y", learners="linear", random_state=np.random.default_rng(3)) for _ in range(2)
    ]
    assert drawn[0].agreement == drawn[1].agreement
    partial = ci.parse_dag("V -> A; C -> A; A -> Y; C -- W; C -> Y; W -> Y")
    found = compare_sets(partial, table, "A", "Y", learners="linear")
    assert found.sets["optimal"] == {"C", "W"}


def test_a_comparison_survives_pickling(total):
    again = pickle.loads(pickle.dumps(total))
    assert again.sets == total.sets
    assert again.agreement == total.agreement
    pd.testing.assert_frame_equal(again.to_frame(), total.to_frame())
    with pytest.raises(InputError, match="No set named 'none'"):
        total["none"]


def test_the_plot(total):
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, axes = plt.subplots(1, 2)
    ax = total.plot(ax=axes[1])
    assert ax is axes[1]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(total.names)
    assert ax.get_title() == "ATE by adjustment set"
    figure.canvas.draw()
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "term"), [("total", "ATE"), ("wcde", "WCDE")])
def test_the_test_of_agreement_has_its_size(dag, effect, term, capsys):
    """Rejection of a right graph at 5%, over 400 draws; binomial error of 5% is 1.1%."""
    rejected, estimates, errors = 0, [], []
    for seed in range(400):
        simulated = ci.datasets.simulate_wcde(2000, random_state=90_000 + seed)
        found = compare_sets(dag, simulated.data, "A", "Y", effect, learners="linear", progress=False)
        rejected += found.agreement.p_value < 0.05
        estimates.append([fit.params[term] for fit in found.fits])
        errors.append([fit.std_errors[term] for fit in found.fits])
    spread = np.std(estimates, axis=0)
    bias = (np.mean(estimates, axis=0) - simulated.truth[term]) / (spread / 20)
    ratio = np.mean(errors, axis=0) / spread
    with capsys.disabled():
        print(f"\n{effect}: rejects {rejected / 400:.3f}; bias in MC errors {bias.round(2)}; se/sd {ratio.round(3)}")
    assert 0.02 <= rejected / 400 <= 0.09
    assert (np.abs(bias) < 3).all()
    assert ((ratio > 0.9) & (ratio < 1.1)).all()
