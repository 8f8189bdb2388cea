"""Effects averaged over graphs: against single graphs, hand-computed moments, and bad input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from causalif._errors import IdentificationWarning, InputError
from causalif.estimators.mediation import PathEffect
from causalif.estimators.sigma import SIGMA, SigmaResult
from causalif.estimators.sigma.averaging import ABSENT, SKIPPED, Answers
from causalif.graphs import parse_dag
from causalif.graphs.posterior import DAGPosterior
from causalif.results.estimate import Estimate

pytestmark = pytest.mark.filterwarnings("ignore::causalif._errors.PositivityWarning")
FULL = parse_dag("C -> {A L M Y}; A -> {L M Y}; L -> {M Y}; M -> Y")
NO_DIRECT = parse_dag("C -> {A L M Y}; A -> {L M}; L -> {M Y}; M -> Y")
NO_L_TO_Y = parse_dag("C -> {A L M Y}; A -> {L M Y}; L -> M; M -> Y")
ROLES: dict[str, Any] = {"treatment": "A", "outcome": "Y", "learners": "linear"}


def table(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    c = rng.normal(size=n)
    a = (rng.random(n) < 1 / (1 + np.exp(-0.5 * c))).astype(int)
    low = 0.7 * a + 0.5 * c + rng.normal(size=n)
    m = 0.4 * a + 0.5 * low + 0.3 * c + rng.normal(size=n)
    y = 0.4 * a + 0.5 * low + 0.8 * m + 0.4 * c + rng.normal(size=n)
    return pd.DataFrame({"C": c, "A": a, "L": low, "M": m, "Y": y}, index=[f"r{i}" for i in range(n)])


def posterior(*dags: nx.DiGraph, weights: list[float] | None = None) -> DAGPosterior:
    return DAGPosterior.from_dags(dags, weights or [1.0] * len(dags), effective_sample_size=float("inf"))


def answers(
    values: list[float], errors: list[float], which: list[list[int]], weights: list[float], draws: float = np.inf
) -> Answers:
    """Functionals with given standard errors on 200 rows."""
    rows = pd.RangeIndex(200)
    rng = np.random.default_rng(1)
    psi = rng.normal(size=(200, len(values)))
    psi -= psi.mean(axis=0)
    psi *= np.array(errors) * 200 / np.sqrt((psi**2).sum(axis=0))
    functionals = Estimate(values, psi, [str(j) for j in range(len(values))], rows)
    kinds = ("natural",) * len(values)
    return Answers(functionals, kinds, np.array(which), np.array(weights), draws, rows)


# --- averages -----------------------------------------------------------------------------------------------------


def test_two_components_give_the_moments_computed_by_hand() -> None:
    average = answers([1.0, 3.0], [0.1, 0.2], [[0], [1]], [0.75, 0.25], draws=50.0).average(0, "path", present=False)
    assert average is not None
    assert average.pooled.params.iloc[0] == pytest.approx(1.5)
    within, between = 0.75 * 0.01 + 0.25 * 0.04, 0.75 * 0.25 + 0.25 * 2.25
    assert average.variances() == pytest.approx((within, between, between / 50))
    assert average.std_error == pytest.approx(np.sqrt(within + between * 1.02))


def test_an_absent_path_is_an_exact_zero() -> None:
    one = answers([2.0], [0.1], [[0], [ABSENT]], [0.6, 0.4])
    marginal, present = one.average(0, "path", present=False), one.average(0, "path", present=True)
    assert marginal is not None
    assert present is not None
    assert marginal.pooled.params.iloc[0] == pytest.approx(1.2)
    assert marginal.variances()[:2] == pytest.approx((0.6 * 0.01, 0.6 * 0.64 + 0.4 * 1.44))
    assert (present.pooled.params.iloc[0], present.std_error, present.mass) == pytest.approx((2.0, 0.1, 0.6))
    assert marginal.interval(0.95, "mixture")[0] == 0.0, "the atom of the graphs without the path"
    assert (marginal.probability(1), marginal.probability(-1)) == pytest.approx((0.6, 0.0), abs=1e-12)


def test_graphs_that_answer_stand_in_for_skipped_ones() -> None:
    one = answers([2.0], [0.1], [[0], [ABSENT], [SKIPPED]], [0.3, 0.3, 0.4])
    average = one.average(0, "path", present=False)
    assert average is not None
    assert average.mass == pytest.approx(1.0)
    assert average.pooled.params.iloc[0] == pytest.approx(0.7 * 2.0)
    assert answers([2.0], [0.1], [[SKIPPED], [ABSENT]], [0.5, 0.5]).average(0, "path", present=False) is None


def test_mixture_and_normal_intervals_of_one_component_agree() -> None:
    average = answers([2.0], [0.1], [[0]], [1.0]).average(0, "path", present=False)
    assert average is not None
    assert average.interval(0.9, "mixture") == pytest.approx(average.interval(0.9, "normal"), rel=1e-9)


# --- one graph ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [("A", "Y"), ("A", "M", "Y"), ("A", "L", "Y")])
@pytest.mark.filterwarnings("ignore::causalif._errors.IdentificationWarning")
def test_one_graph_reproduces_the_plain_estimate(path: tuple[str, ...]) -> None:
    data = table()
    fit = SIGMA(**ROLES, posterior=posterior(FULL)).fit(data)
    plain = PathEffect(**ROLES, dag=FULL, path=path).fit(data)
    row = fit.effects[(fit.effects["path"] == " -> ".join(path)) & (fit.effects["scope"] == "marginal")].iloc[0]
    term = plain.labels[0]
    interval = plain.conf_int().loc[term]
    assert (row["estimate"], row["std_error"]) == pytest.approx((plain.params[term], plain.std_errors[term]), rel=1e-9)
    assert (row["conf_low"], row["conf_high"]) == pytest.approx((interval["lower"], interval["upper"]), rel=1e-6)
    assert (row["between"], row["monte_carlo"], row["structural_share"]) == (0.0, 0.0, 0.0)


def test_the_estimate_carries_the_total_variance() -> None:
    fit = SIGMA(**ROLES, posterior=posterior(FULL, NO_DIRECT, weights=[0.6, 0.4])).fit(table())
    marginal = fit.effects[fit.effects["scope"] == "marginal"]
    assert fit.estimate is not None
    assert fit.estimate.labels == tuple(marginal["path"])
    np.testing.assert_allclose(fit.estimate.std_errors, marginal["std_error"], rtol=1e-9)
    np.testing.assert_allclose(fit.estimate.params, marginal["estimate"], rtol=1e-9)
    assert fit.estimate.index.equals(table().index)


# --- several graphs -----------------------------------------------------------------------------------------------


def test_masses_and_types_are_told() -> None:
    fit = SIGMA(**ROLES, posterior=posterior(FULL, NO_L_TO_Y, weights=[0.7, 0.3])).fit(table())
    paths = fit.paths.set_index("path")
    assert paths.loc["A -> L -> M -> Y", ["identified_mass", "recanting_mass"]].tolist() == pytest.approx([0.3, 0.7])
    kinds = fit.effects[fit.effects["scope"] == "marginal"].set_index("path")["estimand"]
    assert kinds["A -> L -> M -> Y"] == "interventional or natural"
    assert kinds["A -> M -> Y"] == "natural"
    assert "A -> L -> M -> Y: 70%" in str(fit)


def test_many_graphs_collapse_to_few_functionals() -> None:
    """Edges that do not touch the question leave it the same; equal nuisances are fitted once."""
    other = FULL.copy()
    other.add_edges_from([("D", "E")])
    apart = FULL.copy()
    apart.add_nodes_from(["D", "E"])
    many = posterior(other, apart)
    data = table().assign(D=0.0, E=1.0)
    fit = SIGMA(**ROLES, posterior=many).fit(data)
    alone = SIGMA(**ROLES, posterior=posterior(FULL)).fit(data)
    assert fit.settings["functionals"] == alone.settings["functionals"] == 5
    assert len(fit.diagnostics["nuisances"]) == len(alone.diagnostics["nuisances"])


def test_skipping_and_rare_graphs() -> None:
    graphs = posterior(FULL, NO_L_TO_Y, weights=[0.7, 0.3])
    fit = SIGMA(**ROLES, posterior=graphs, on_recanting="skip").fit(table())
    assert fit.paths.set_index("path").loc["A -> L -> M -> Y", "skipped_mass"] == pytest.approx(0.7)
    nowhere = fit.effects.set_index("path").loc["A -> L -> Y"]
    assert (nowhere["estimand"], bool(np.isnan(nowhere["estimate"]))) == ("not identified", True)
    rare = SIGMA(**ROLES, posterior=posterior(FULL, NO_DIRECT, weights=[0.997, 0.003])).fit(table())
    assert rare.paths["skipped_mass"].max() == pytest.approx(0.003)
    assert rare.settings["functionals"] == 5


@pytest.mark.parametrize(
    ("options", "weights", "listed", "remedy"),
    [
        ({"on_recanting": "skip"}, [0.7, 0.3], {"A -> L -> M -> Y": "70.0%", "A -> L -> Y": "70.0%"}, "'bundle' has"),
        ({}, [0.997, 0.003], {"A -> L -> M -> Y": "0.3%"}, "`min_mass`, 0.005; a smaller `min_mass` has it"),
        ({}, [0.9996, 0.0004], {"A -> L -> M -> Y": "under 0.1%"}, "`min_mass`, 0.005; a smaller `min_mass` has it"),
        ({"min_mass": 0.001}, [0.997, 0.003], {}, ""),
    ],
)
def test_the_summary_says_what_was_left_out_and_which_argument_does_it(
    options: dict[str, Any], weights: list[float], listed: dict[str, str], remedy: str, tmp_path: Path
) -> None:
    fit = SIGMA(**ROLES, **options, posterior=posterior(FULL, NO_L_TO_Y, weights=weights)).fit(table())
    said = " ".join(str(fit).split())
    masses = ", ".join(f"{path} {mass}" for path, mass in listed.items())
    assert ("Not estimated" in said) == bool(listed)
    assert not listed or f"Not estimated in graphs of this posterior mass: {masses}. " in said
    assert remedy in said
    fit.save(tmp_path / "fit")
    assert str(SigmaResult.load(tmp_path / "fit")) == str(fit)
    older = replace(fit, settings={key: value for key, value in fit.settings.items() if key != "left_out"})
    assert ("posterior mass: " + masses + ". Look at `min_mass`" in " ".join(str(older).split())) == bool(listed)


def test_what_arguments_left_out_adds_up_to_the_skipped_mass() -> None:
    unconfounded = parse_dag("A -> {L M Y}; L -> {M Y}; M -> Y; C")  # adjusts for nothing, and recants as FULL does
    graphs = posterior(FULL, NO_L_TO_Y, unconfounded, weights=[0.7, 0.298, 0.002])
    fit = SIGMA(**ROLES, posterior=graphs, on_recanting="skip").fit(table())
    out = {argument: dict(masses) for argument, masses in fit.settings["left_out"].items()}
    assert out["on_recanting"] == pytest.approx({"A -> L -> M -> Y": 0.702, "A -> L -> Y": 0.702})
    assert out["min_mass"] == pytest.approx({"A -> M -> Y": 0.002, "A -> Y": 0.002, "total": 0.002})
    for path, mass in fit.paths.set_index("path")["skipped_mass"].items():
        assert sum(masses.get(path, 0.0) for masses in out.values()) == pytest.approx(mass)


def test_threshold_keeps_the_table_short() -> None:
    graphs = posterior(FULL, NO_DIRECT, weights=[0.1, 0.9])
    fit = SIGMA(**ROLES, posterior=graphs).fit(table())
    assert "A -> Y" not in set(fit.effects["path"])
    assert fit.sensitivity([0.05, 0.5])["paths"].tolist() == [4, 3]
    short = SIGMA(**ROLES, posterior=graphs, cutoff=2).fit(table())
    assert short.sensitivity([0.05, 0.5])["paths"].tolist() == [3, 2]
    assert fit.edges.set_index(["tail", "head"]).loc[("A", "Y"), "probability"] == pytest.approx(0.1)


def test_no_path_at_all_is_said() -> None:
    with pytest.warns(IdentificationWarning, match="No posterior graph has a directed path from A to Y"):
        fit = SIGMA(**ROLES, posterior=posterior(parse_dag("C -> A; C -> Y"))).fit(table())
    assert len(fit.paths) == 0
    assert fit.effects.set_index("scope").loc["marginal", ["estimate", "std_error"]].tolist() == [0.0, 0.0]
    assert "every effect is 0 by the graphs" in " ".join(str(fit).split())


@dataclass(frozen=True)
class Finder:
    """Stands for a SEM and remembers which rows it saw."""

    seen: list[pd.Index]

    def fit(self, data: pd.DataFrame) -> DAGPosterior:
        self.seen.append(data.index)
        assert "id" not in data.columns, "the cluster column is no node"
        return posterior(FULL)


def test_split_uses_separate_halves_and_keeps_clusters_whole() -> None:
    data = table(1200).assign(id=np.repeat(np.arange(400), 3))
    finder = Finder([])
    fit = SIGMA(**ROLES, posterior=finder, split=True, cluster="id").fit(data)
    assert fit.estimate is not None
    one, other = set(finder.seen[0]), set(fit.estimate.index)
    assert not one & other
    assert len(one | other) == 1200
    assert not set(data.loc[list(one), "id"]) & set(data.loc[list(other), "id"])


def test_polars_and_repeats_and_shift() -> None:
    pl = pytest.importorskip("polars")
    data = table()
    simple = posterior(parse_dag("C -> {A M Y}; A -> {M Y}; M -> Y"))
    one = SIGMA(**ROLES, posterior=simple).fit(data.reset_index(drop=True))
    again = SIGMA(**ROLES, posterior=simple).fit(pl.DataFrame(data.to_dict("list")))
    pd.testing.assert_frame_equal(one.effects, again.effects)
    repeated = SIGMA(**ROLES, posterior=simple, repeats=3).fit(data)
    assert repeated.estimate is not None
    dose = data.assign(A=data["A"] + np.random.default_rng(3).normal(size=len(data)))
    shifted = SIGMA(**ROLES, posterior=simple, shift=0.5).fit(dose)
    assert set(shifted.effects["path"]) == {"A -> M -> Y", "A -> Y", "total"}


def test_tables_and_plots() -> None:
    pytest.importorskip("matplotlib")
    fit = SIGMA(**ROLES, posterior=posterior(FULL, NO_DIRECT, weights=[0.6, 0.4])).fit(table())
    assert "structural" in fit.summary(scope="present").to_markdown()
    wide, narrow = fit.to_frame(0.99), fit.to_frame(0.5)
    assert (wide["conf_high"] - wide["conf_low"] >= narrow["conf_high"] - narrow["conf_low"]).all()
    assert fit.components("A -> Y")["mass"].tolist() == pytest.approx([0.6, 0.4])
    for kind in ("effects", "stability", "graph"):
        assert fit.plot(kind).has_data() or kind == "graph"


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posterior": FULL}, r"`posterior` must be a DAGPosterior, or a SEM .* Got DiGraph.*from_dags"),
        ({"posterior": posterior(FULL), "split": True}, r"`split=True` finds graphs in one half .* must be a SEM"),
        ({"posterior": posterior(FULL), "min_stability": 1.2}, r"`min_stability` must be a number between 0 and 1"),
        ({"posterior": posterior(FULL), "interval": "exact"}, r"`interval` must be one of 'mixture', 'normal'"),
        ({"posterior": posterior(FULL), "outcome": "Z"}, r"`outcome` 'Z' is not a node of the graphs"),
        ({"posterior": posterior(FULL), "outcome": "y"}, r"`outcome` 'y' is not a node .*\. Did you mean 'Y'\?"),
        (
            {"posterior": posterior(FULL), "treatment": "Y", "outcome": "A"},
            r"`outcome` 'A' is an ancestor of `treatment` 'Y' with posterior probability 1.00. Exchange them",
        ),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SIGMA(**{**ROLES, **options}).fit(table())


def test_unknown_component_and_missing_column() -> None:
    fit = SIGMA(**ROLES, posterior=posterior(NO_DIRECT)).fit(table())
    with pytest.raises(InputError, match="`path` 'A -> Y' was not estimated"):
        fit.components(("A", "Y"))
    with pytest.raises(InputError, match="M"):
        SIGMA(**ROLES, posterior=posterior(FULL)).fit(table().drop(columns="M"))


# --- columns that are more, or less, than one column of numbers ---------------------------------------------------


def test_a_repeated_covariate_is_adjusted_for_under_either_name() -> None:
    data = table().rename(columns={"C": "x1"}).assign(x2=lambda frame: frame["x1"])
    one, other = parse_dag("x1 -> {A M Y}; A -> {M Y}; M -> Y; x2"), parse_dag("x2 -> {A M Y}; A -> {M Y}; M -> Y; x1")
    with pytest.warns(match="repeats"):
        fit = SIGMA(**ROLES, posterior=posterior(one, other)).fit(data)
    answers_ = fit.components("total")["estimate"]
    assert answers_.max() - answers_.min() < 1e-9


def test_codes_that_the_model_reads_as_categories_are_categories_here() -> None:
    rng = np.random.default_rng(0)
    g = rng.integers(0, 4, 1500)
    a = (rng.random(1500) < np.array([0.2, 0.7, 0.3, 0.8])[g]).astype(int)
    y = 0.5 * a + np.array([0.0, 3.0, 0.5, 4.0])[g] + rng.normal(size=1500)
    graphs = posterior(parse_dag("g -> {A Y}; A -> Y"))
    known = replace(graphs, settings={**graphs.settings, "kinds": {"g": "categorical", "A": "binary"}})
    fit = SIGMA(**ROLES, posterior=known).fit(pd.DataFrame({"g": g, "A": a, "Y": y}))
    row = fit.effects[fit.effects["path"] == "A -> Y"].iloc[0]
    assert abs(row["estimate"] - 0.5) < 4 * row["std_error"]


def test_a_shift_leaves_out_the_graphs_that_it_cannot_answer() -> None:
    data = table()
    data["A"] = data["C"] * 0.5 + np.random.default_rng(2).normal(size=len(data))
    simple = parse_dag("C -> {A L M Y}; A -> {M Y}; M -> Y; L -> Y")
    fit = SIGMA(**ROLES, posterior=posterior(simple, FULL, weights=[0.8, 0.2]), shift=0.5).fit(data)
    assert fit.paths.set_index("path").loc["A -> M -> Y", "skipped_mass"] == pytest.approx(0.2)
    assert "A -> L -> M -> Y 20.0%. What they ask for has no answer with `shift`; two" in " ".join(str(fit).split())
    assert np.isfinite(fit.effects.set_index(["path", "scope"]).loc[("A -> M -> Y", "marginal"), "estimate"])


def test_split_checks_the_cluster_column() -> None:
    with pytest.raises(InputError, match="`cluster` names the column 'idd'"):
        SIGMA(**ROLES, posterior=Finder([]), split=True, cluster="idd").fit(table().assign(id=1))
