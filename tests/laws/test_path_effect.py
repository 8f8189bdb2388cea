"""Effects along paths keep their contract, and what a graph asks for is what its structural model implies."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from causalif.engine.estimand import FiniteLaw
from causalif.estimands.counterfactual import CounterfactualMean
from causalif.estimands.interventional import InterventionalMean, Segment
from causalif.estimands.mediation_functional import MediationMean
from causalif.estimands.mediation_parts import Arms, Independence
from causalif.estimands.path_effect import Combination, contrast
from causalif.estimands.shift_effect import OutcomeMean, Shift, ShiftedMean, ShiftedMediatorMean
from causalif.estimators.mediation.bridge import estimand_for
from causalif.estimators.mediation.columns import Columns, Levels
from causalif.graphs.mediation import edge_questions, path_question, total_question
from causalif.graphs.paths import causal_paths
from causalif.testing import check_estimand, derivative
from causalif.testing.derivative import random_law, saturated, spoil

TWO, BINARY = (-1.0, 2.0), (0.0, 1.0)


def mean(blocks, levels, count=2, **options):
    return MediationMean("y", "a", ("x",), blocks, levels, count, **options)


FUNCTIONALS = {
    "one arm": mean((), (1.0,)),
    "natural, mediators of the controls": mean((("m",),), (0.0, 1.0)),
    "natural, mediators of the treated": mean((("m",),), (1.0, 0.0)),
    "two blocks, 010": mean((("m",), ("k",)), (0.0, 1.0, 0.0)),
    "two blocks, 101": mean((("m",), ("k",)), (1.0, 0.0, 1.0)),
    "two blocks, 001": mean((("m",), ("k",)), (0.0, 0.0, 1.0)),
    "three levels, 021": mean((("m",), ("k",)), (0.0, 2.0, 1.0), 3),
    "three levels, 201": mean((("m",), ("k",)), (2.0, 0.0, 1.0), 3),
    "three blocks, 0101": mean((("m",), ("k",), ("j",)), (0.0, 1.0, 0.0, 1.0)),
    "no covariates": MediationMean("y", "a", (), (("m",),), (0.0, 1.0)),
}


@pytest.fixture
def small_step(monkeypatch):
    """The error of central differences falls with the square of the step."""
    monkeypatch.setattr(derivative, "STEP", 2e-6)


def law_for(estimand, seed, **values):
    names = str(estimand)
    wanted = {"y": TWO} | {name: BINARY for name in "mkjx" if f"'{name}'" in names} | values
    return random_law(estimand, seed, wanted)


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_mediation_functional_is_the_pathwise_derivative(name, small_step):
    estimand = FUNCTIONALS[name]
    report = check_estimand(estimand, law_for(estimand, 1), atol=5e-7)
    assert len(report.robustness) == len(estimand.blocks) + 2
    assert max(report.robustness) < 1e-9


@pytest.mark.parametrize("way", range(4))
def test_one_nuisance_less_than_declared_is_not_enough(way):
    """Of every way that is declared, each regression and each weight is needed, at some law."""
    estimand = FUNCTIONALS["two blocks, 010"]
    law = law_for(estimand, 1)
    eta, rows = saturated(estimand, law), law.table(("x", "m", "k"))
    for needed in estimand.robustness[way]:
        kept = estimand.robustness[way] - {needed}
        wrong = {name: f if name in kept else spoil(f, k) for k, (name, f) in enumerate(eta.items())}
        assert abs(law.expect(estimand.eif(rows, wrong)) - estimand.plug_in(law)[0]) > 1e-4


def test_without_mediators_it_is_the_counterfactual_mean():
    estimand = FUNCTIONALS["one arm"]
    other = CounterfactualMean("y", "a", ("x",), 1.0)
    law = law_for(estimand, 3)
    rows = law.table(("x",))
    assert np.allclose(estimand.eif(rows, saturated(estimand, law)), other.eif(rows, saturated(other, law)), atol=1e-13)


def test_equal_neighbours_are_one_block():
    law = law_for(FUNCTIONALS["two blocks, 001"], 3)
    split, whole = FUNCTIONALS["two blocks, 001"], mean((("m", "k"),), (0.0, 1.0))
    assert split.plug_in(law) == pytest.approx(whole.plug_in(law), abs=1e-13)
    rows = law.table(("x", "m", "k"))
    assert np.allclose(split.eif(rows, saturated(split, law)), whole.eif(rows, saturated(whole, law)), atol=1e-12)


# --- interventional analogues ----------------------------------------------------------------------------------------

M, K = Segment(("m",), ("k",)), Segment(("k",), ("m",))
ONE_OF_TWO, BOTH_OF_TWO = "through one of two (Vansteelandt and Daniel)", "through both (Lin and VanderWeele)"
PATHS = {
    ONE_OF_TWO: ((M,), ()),
    BOTH_OF_TWO: ((Segment(("m",), ()), K), ()),
    "another mediator before": ((M,), ("j",)),
    "two others": ((Segment(("m",), ("j",)), Segment(("k",), ("m", "j"))), ("j",)),
}


def drawn(name, active, reference, count=2):
    segments, before = PATHS[name]
    values = tuple((column, BINARY) for column in "jkm")
    return InterventionalMean("y", "a", ("x",), segments, before, active, reference, count, values=values)


def law_of_path(name, seed):
    """Binary columns, those that the path needs only."""
    segments, before = PATHS[name]
    return random_law(
        drawn(name, 1.0, 0.0),
        seed,
        {"y": TWO, "x": BINARY} | {c: BINARY for c in "mkj" if f"'{c}'" in str((segments, before))},
    )


@pytest.mark.parametrize(
    ("name", "levels"),
    [(name, (1.0, 0.0)) for name in PATHS] + [(name, (0.0, 0.0)) for name in (ONE_OF_TWO, BOTH_OF_TWO)],
)
def test_interventional_mean_is_the_pathwise_derivative(name, levels, small_step):
    estimand = drawn(name, *levels)
    report = check_estimand(estimand, law_of_path(name, 1), atol=5e-7)
    assert max(report.robustness) < 1e-9


@pytest.mark.parametrize("levels", [(1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("name", PATHS)
def test_errors_in_one_nuisance_are_of_second_order(name, levels):
    """Each nuisance alone can be bent by ε without moving E φ by more than about ε²: what cross-fitting relies on."""
    estimand, law = drawn(name, *levels), law_of_path(name, 1)
    eta, rows = saturated(estimand, law), law.table(("x",))
    theta = estimand.plug_in(law)[0]
    for bent in eta:
        moved = {
            key: (lambda asked, f=f: f(asked) * (1 + 1e-4 * np.cos(7 * f(asked)))) if key == bent else f
            for key, f in eta.items()
        }
        assert abs(law.expect(estimand.eif(rows, moved)) - theta) < 1e-7, bent


def test_interventional_mean_with_three_treatment_levels_and_values(small_step):
    three = (0.0, 1.0, 2.0)
    values = (("m", BINARY), ("k", three))
    estimand = InterventionalMean("y", "a", ("x",), PATHS[BOTH_OF_TWO][0], (), 2.0, 0.0, 3, values=values)
    check_estimand(estimand, law_for(estimand, 1, k=three), atol=1e-6)


def test_probabilities_and_density_ratios_are_the_same_weight():
    law = law_of_path(BOTH_OF_TWO, 4)
    parts = Arms("a"), 0.0, ("x",), ("k",), ("m",)
    found = []
    for weight in (Independence(*parts, BINARY), Independence(*parts)):
        named = Weight(weight)
        rows = law.table(("x",))
        found.append(weight(rows, saturated(named, law))[law.points["a"] == 0])
    assert np.allclose(*found, atol=1e-12)


@dataclass(frozen=True)
class Weight:
    """Just the nuisances of a weight."""

    weight: Independence

    def nuisances(self):
        """Return them."""
        return self.weight.specs()


def two_mediator_formula(law, a1, a1s, a2, a3, marginal=False):
    """E[Y | a3, m1, m2] averaged over p(m1 | a1) q(m2), q = Σ p(m2 | a2, m1') p(m1' | a1s), or p(m2 | a2), by loops."""
    p = law.points.assign(p=law.probabilities)
    total = 0.0
    for x in (0.0, 1.0):
        at = p[p["x"] == x]

        def share(rows, given):
            return rows["p"].sum() / given["p"].sum()

        def of_m(m, a, at=at, share=share):
            arm = at[at["a"] == a]
            return share(arm[arm["m"] == m], arm)

        def of_k(k, a, m=None, at=at, share=share):
            arm = at[at["a"] == a] if m is None else at[(at["a"] == a) & (at["m"] == m)]
            return share(arm[arm["k"] == k], arm)

        for m, k in itertools.product(BINARY, BINARY):
            cell = at[(at["a"] == a3) & (at["m"] == m) & (at["k"] == k)]
            q = of_k(k, a2) if marginal else sum(of_k(k, a2, other) * of_m(other, a1s) for other in BINARY)
            total += at["p"].sum() * (cell["p"] @ cell["y"]) / cell["p"].sum() * of_m(m, a1) * q
    return total


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_the_published_formulas_of_two_mediators(a, b):
    both, one = drawn(BOTH_OF_TWO, a, b), drawn(ONE_OF_TWO, a, b)
    law = law_of_path(BOTH_OF_TWO, 6)
    assert both.plug_in(law)[0] == pytest.approx(two_mediator_formula(law, b, a, b, b), abs=1e-13)
    assert one.plug_in(law)[0] == pytest.approx(two_mediator_formula(law, a, b, b, b, marginal=True), abs=1e-13)


# --- shifts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, -1.0])
@pytest.mark.parametrize(
    "build",
    [
        lambda shift: ShiftedMean("y", "a", ("x",), (), shift),
        lambda shift: ShiftedMean("y", "a", ("x",), ("m",), shift),
        lambda shift: ShiftedMean("y", "a", (), (), shift),
        lambda shift: ShiftedMediatorMean("y", "a", ("x",), ("m",), shift),
        lambda shift: ShiftedMediatorMean("y", "a", (), ("m",), shift),
    ],
    ids=["total", "direct", "total, no covariates", "first edge", "first edge, no covariates"],
)
def test_shifted_means_are_the_pathwise_derivative(build, size, small_step):
    estimand = build(Shift(size, 0.0, 3.0))
    report = check_estimand(estimand, law_for(estimand, 2, a=(0.0, 1.0, 2.0, 3.0)), atol=5e-7)
    assert max(report.robustness) < 1e-9


def test_shifts_of_a_discrete_treatment_are_sums_over_its_values():
    """E Σ_m μ(x, a, m) p(m | x, d(a)), by loops."""
    estimand = ShiftedMediatorMean("y", "a", ("x",), ("m",), Shift(1.0, 0.0, 3.0))
    law = law_for(estimand, 5, a=(0.0, 1.0, 2.0, 3.0))
    p = law.points.assign(p=law.probabilities)
    total = 0.0
    for x, a, m in itertools.product(BINARY, range(4), BINARY):
        here, there = (p[(p["x"] == x) & (p["a"] == level)] for level in (a, min(a + 1, 3)))
        cell = here[here["m"] == m]
        mu = (cell["p"] @ cell["y"]) / cell["p"].sum()
        total += here["p"].sum() * mu * there[there["m"] == m]["p"].sum() / there["p"].sum()
    assert estimand.plug_in(law)[0] == pytest.approx(total, abs=1e-13)


def test_combinations():
    shift = Shift(1.0, 0.0, 3.0)
    both, held = ShiftedMean("y", "a", ("x",), (), shift), ShiftedMean("y", "a", ("x",), ("m",), shift)
    effects = Combination((both, held, OutcomeMean("y")), ("total", "indirect"), ((1, 0, -1), (1, -1, 0)))
    check_estimand(effects, law_for(effects, 2, a=(0.0, 1.0, 2.0, 3.0)))
    natural = contrast("indirect", FUNCTIONALS["one arm"], FUNCTIONALS["natural, mediators of the controls"])
    assert len(check_estimand(natural, law_for(natural, 2)).robustness) >= 2


def test_an_effect_without_means_is_zero():
    nothing = Combination((), ("absent",), ((),))
    law = law_for(FUNCTIONALS["one arm"], 0)
    assert nothing.eif(law.table(("x",)), {}).shape == (len(law.points), 1)
    assert not nothing.eif(law.table(("x",)), {}).any()
    assert nothing.plug_in(law) == [0.0]


# --- planted mistakes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WithoutMediatorRatio(MediationMean):
    """Weights every step by the arm alone."""

    def weight(self, k, rows, eta):
        """Return 1(A = a) / π(a | X)."""
        return self._arms.inverse(self.levels[k - 1], self.adjust, rows, eta)


@dataclass(frozen=True)
class RatioUpsideDown(MediationMean):
    """Divides by the ratio of the mediators' densities."""

    def weight(self, k, rows, eta):
        """Return the weight with r inverted."""
        weight = self._arms.inverse(self.levels[k - 1], self.adjust, rows, eta)
        for ratio in self._ratios(k):
            weight = weight / ratio(rows, eta)
        return weight


@dataclass(frozen=True)
class WithoutOthers(InterventionalMean):
    """Takes the law of the other mediators as known."""

    def eif(self, rows, eta):
        """Return φ less the terms of h."""
        inverse = self._arms.inverse(self.reference, self.adjust, rows, eta)
        m0 = self._finished(self._started(rows, eta), 0, eta)
        h = [self._others_fixed(j, rows, eta) for j, one in enumerate(self.segments) if one.others]
        return super().eif(rows, eta) - sum(inverse * (one - m0) for one in h)


@dataclass(frozen=True)
class WithoutStaying(ShiftedMean):
    """Forgets that rows near the end of the support stay."""

    def weight(self, rows, eta):
        """Return the density of moved rows alone."""
        return eta[self._rho](rows)


@dataclass(frozen=True)
class WithoutMoved(ShiftedMediatorMean):
    """Leaves out the law of the treatment."""

    def eif(self, rows, eta):
        """Return φ without the sum over where a row can have come from."""
        a, mu, m = rows[self.treatment], eta[self._mu], eta[self._m]
        earlier = mu(rows.assign(a=self.shift.back(a))) - m(rows)
        dropped = np.where(self.shift.reached(a), eta[self._ratios[0]](rows) * earlier, 0.0)
        return super().eif(rows, eta) - dropped


PLANTED = [
    WithoutMediatorRatio("y", "a", ("x",), (("m",),), (0.0, 1.0)),
    RatioUpsideDown("y", "a", ("x",), (("m",),), (0.0, 1.0)),
    WithoutOthers("y", "a", ("x",), (Segment(("m",), ()), K), (), 1.0, 0.0, values=(("m", BINARY), ("k", BINARY))),
    WithoutStaying("y", "a", ("x",), (), Shift(1.0, 0.0, 3.0)),
    WithoutMoved("y", "a", ("x",), ("m",), Shift(1.0, 0.0, 3.0)),
]


@pytest.mark.parametrize("wrong", PLANTED, ids=lambda wrong: type(wrong).__name__)
def test_a_planted_wrong_influence_function_is_caught(wrong):
    values = {"a": (0.0, 1.0, 2.0, 3.0)} if hasattr(wrong, "shift") else {}
    with pytest.raises(AssertionError, match="pathwise derivative"):
        check_estimand(wrong, law_for(wrong, 2, **values))


# --- graphs: the edge g-formula by enumeration -----------------------------------------------------------------------


class Model:
    """A random structural model of binary nodes 0, 1, ..., one axis a node."""

    def __init__(self, dag, rng):
        self.dag, self.size, self.factors = dag, len(dag), {}
        for v in dag:
            one = rng.uniform(0.1, 0.9, size=[2 if u in dag.pred[v] else 1 for u in range(self.size)])
            self.factors[v] = np.concatenate([1 - one, one], axis=v)

    def law(self, names):
        """The observed law, on the names of the nodes."""
        joint = np.ones((2,) * self.size)
        for factor in self.factors.values():
            joint = joint * factor
        points = pd.DataFrame(list(itertools.product(BINARY, repeat=self.size)), columns=names)
        return FiniteLaw(points, joint.ravel())

    def joint(self, a, levels):
        """The law of all but node a when each child v of it sees the level levels[v]; the axis of a has length one."""
        out = np.ones((2,) * self.size)
        for v, factor in self.factors.items():
            if v != a:
                out = out * (np.take(factor, [int(levels[v])], axis=a) if a in self.dag.pred[v] else factor)
        return np.take(out, [0], axis=a) if out.shape[a] == 2 else out

    def mean(self, a, y, levels):
        """E[Y] under an edge intervention."""
        return float(np.take(self.joint(a, levels), 1, axis=y).sum())


def marginal(joint, *nodes):
    others = tuple(v for v in range(joint.ndim) if v not in nodes)
    return joint.sum(axis=others, keepdims=True)


def interventional_truth(model, a, y, path, covariates, active, reference):
    """Draw the nodes of a path one by one, under edge and node interventions of the model itself."""
    everywhere = dict.fromkeys(model.dag.succ[a], reference)
    base = model.joint(a, everywhere)
    between = nx.descendants(model.dag, a) & nx.ancestors(model.dag, y)
    x = tuple(covariates)
    p_x = marginal(base, *x)
    drawn = marginal(model.joint(a, everywhere | {path[1]: active}), *x, path[1]) / p_x
    for v, u in itertools.pairwise(path[1:]):
        others = tuple((set(model.dag.pred[u]) & between) - {v})
        step = marginal(base, *x, v, *others, u) / marginal(base, *x, v, *others)
        drawn = marginal_over(drawn * (marginal(base, *x, *others) / p_x) * step, {*x, u})
    return float(np.take(p_x * drawn, 1, axis=y).sum())


def marginal_over(values, kept):
    return values.sum(axis=tuple(v for v in range(values.ndim) if v not in kept and values.shape[v] > 1), keepdims=True)


def random_question(seed):
    """A random graph of four to six nodes with its model, ends, observed law and columns."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4, 7))
    dag = nx.DiGraph()
    dag.add_nodes_from(range(size))
    dag.add_edges_from(pair for pair in itertools.combinations(range(size), 2) if rng.random() < 0.7)
    a, y = int(rng.integers(2)), int(size - 1 - rng.integers(2))
    names = [f"v{v}" for v in range(size)]
    model = Model(dag, rng)
    law = model.law(names)
    others = {name: (name,) for name in names if name not in (names[a], names[y])}
    columns = Columns(law.table(()), names[y], names[a], others)
    return nx.relabel_nodes(dag, dict(enumerate(names))), model, a, y, law, columns, rng


BOTH = Levels(1.0, 0.0, 2, ("1", "0"))


def natural_truth(model, a, y, active, reference):
    """The effect of switching some first edges."""
    children = list(model.dag.succ[a])
    off = float(reference == "treated")
    switched = {v: 1.0 - off if v in active else off for v in children}
    effect = model.mean(a, y, switched) - model.mean(a, y, dict.fromkeys(children, off))
    return effect if reference == "control" else -effect


@pytest.mark.parametrize("reference", ["control", "treated"])
@pytest.mark.parametrize("seed", range(60))
def test_graph_and_path_lead_to_the_right_functional(seed, reference):
    dag, model, a, y, law, columns, rng = random_question(seed)
    ends = (columns.treatment, columns.outcome)
    rule = ["dag", "optimal", "all_pretreatment"][seed % 3]
    every = list(causal_paths(dag, *ends))
    for path in every:
        question = path_question(dag, *ends, path, reference, adjust=rule)
        found = estimand_for(question, columns, BOTH).plug_in(law)[0]
        ids = [int(node[1:]) for node in path]
        if question.kind == "natural":
            truth = natural_truth(model, a, y, {ids[1]}, reference)
        else:
            on = float(reference == "control")
            covariates = [int(node[1:]) for node in question.adjust]
            one, other = (interventional_truth(model, a, y, ids, covariates, level, 1.0 - on) for level in (1.0, 0.0))
            truth = one - other
        assert found == pytest.approx(truth, abs=1e-12), (path, question)
        bundle = path_question(dag, *ends, path, reference, "bundle", rule)
        found = estimand_for(bundle, columns, BOTH).plug_in(law)[0]
        assert found == pytest.approx(natural_truth(model, a, y, {ids[1]}, reference), abs=1e-12)
    if every:
        some = [path for path in every if rng.random() < 0.5] or every
        question = path_question(dag, *ends, some, reference, "bundle", rule)
        truth = natural_truth(model, a, y, {int(path[1][1:]) for path in some}, reference)
        assert estimand_for(question, columns, BOTH).plug_in(law)[0] == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_first_edges_and_the_total(seed):
    dag, model, a, y, law, columns, _ = random_question(seed)
    ends = (columns.treatment, columns.outcome)
    children = set(model.dag.succ[a])
    total = estimand_for(total_question(dag, *ends), columns, BOTH).plug_in(law)[0]
    assert total == pytest.approx(natural_truth(model, a, y, children, "control"), abs=1e-12)
    for child, question in edge_questions(dag, *ends).items():
        truth = natural_truth(model, a, y, {int(child[1:])}, "control")
        assert estimand_for(question, columns, BOTH).plug_in(law)[0] == pytest.approx(truth, abs=1e-12)


def test_the_random_graphs_have_all_that_is_tested():
    kinds: dict[tuple[str, int], int] = {}
    for seed in range(60):
        dag, *_, columns, _ = random_question(seed)
        for path in causal_paths(dag, columns.treatment, columns.outcome):
            question = path_question(dag, columns.treatment, columns.outcome, path)
            size = len(question.plus.blocks) if question.plus else len(question.draws.path)
            kinds[question.kind, size] = kinds.get((question.kind, size), 0) + 1
    assert min(kinds[key] for key in [("natural", 1), ("natural", 2), ("interventional", 1)]) >= 10
    assert min(kinds[key] for key in [("interventional", 2), ("interventional", 3)]) >= 5
