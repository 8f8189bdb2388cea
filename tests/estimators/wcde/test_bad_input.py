"""Every way to ask in vain gets a sentence."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalif import parse_dag
from causalif._errors import InputError, NotIdentifiedError, PositivityError
from causalif.datasets import simulate_wcde, simulate_wcde_continuous
from causalif.engine.linear import Logit
from causalif.estimators.wcde import WCDE

ROLES = {"outcome": "Y", "treatment": "A", "mediators": ["M1", "M2"], "adjust": ["C", "W"], "learners": "linear"}
CONTINUOUS = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "adjust": ["C"], "learners": "linear"}


@pytest.fixture
def data() -> pd.DataFrame:
    return simulate_wcde(600, random_state=1).data


@pytest.fixture
def continuous() -> pd.DataFrame:
    return simulate_wcde_continuous(600, random_state=1).data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mediators": ["M9"]}, r"`mediators\[0\]` names the column 'M9', which `data` does not have. It has"),
        ({"mediators": "M1"}, r"`mediators` must be a list of column names"),
        ({"mediators": ["M1", "M1"]}, "Column 'M1' is given twice"),
        ({"adjust": ["C", "M1"]}, "Column 'M1' is given twice"),
        ({"adjust": ["Z"]}, "`adjust` names the column 'Z'"),
        ({"treatment": "Q"}, "`treatment` names the column 'Q'"),
        ({"levels": (1, 1)}, "`levels` must be a pair"),
        ({"levels": (2, 0)}, "`levels` names \\[2\\]"),
        ({"clip": 0.7}, "`clip` must be a number"),
        ({"folds": 10_000}, "folds"),
        ({"learners": {"ratio": "auto"}}, "unknown names"),
        ({"mediator_law": "treated"}, "`mediator_law` must be"),
        ({"mediator_law": {}}, "`mediator_law` must be"),
        ({"mediator_law": 1}, "`mediator_law` must be"),
        ({"mediator_law": {"M1": 1}}, "must say how each mediator is set"),
        ({"mediator_law": {"M1": 1, "M2": 5}}, "sets 'M2' to 5, which no row has"),
        ({"mediator_law": {"M1": 1, "M2": {0: 0.5, 1: 0.6}}}, "add up to 1"),
        ({"mediator_law": {"M1": 1, "M2": {0: 1.5, 1: -0.5}}}, "between 0 and 1"),
    ],
)
def test_unusable_arguments(data, change, message):
    with pytest.raises(InputError, match=message):
        WCDE(**{**ROLES, **change}).fit(data)


def test_constant_mediator(data):
    with pytest.raises(InputError, match="`mediators` column 'M1' is constant"):
        WCDE(**ROLES).fit(data.assign(M1=1))


def test_missing_mediator_values(data):
    with pytest.raises(InputError, match=r"1 missing"):
        WCDE(**ROLES).fit(data.assign(M1=data["M1"].where(data.index != 3).astype(float)))


def test_mediator_that_repeats_a_covariate(data):
    with pytest.raises(InputError, match="`mediators` column 'M1' repeats the column 'C'"):
        WCDE(**ROLES).fit(data.assign(C=data["M1"]))


def test_mediator_level_never_seen_with_a_covariate(data):
    changed = data.assign(M2=np.where(data["C"] == 1, 0, data["M2"]))
    with pytest.raises(PositivityError, match=r"M2=1 never occurs among the \d+ rows with A = 1 and C = 1.*product"):
        WCDE(**ROLES).fit(changed)


def test_mediator_level_never_seen_in_an_arm(data):
    changed = data.assign(M1=np.where(data["A"] == 0, 0, data["M1"]))
    with pytest.raises(PositivityError, match=r"never occurs among the \d+ rows with A = 0"):
        WCDE(**ROLES).fit(changed)


def test_mediator_level_never_seen_with_a_pair_of_covariates(data):
    """Seen with either value of each, but not with both."""
    data = simulate_wcde(2_000, random_state=1).data
    changed = data.assign(M2=np.where((data["C"] == 1) & (data["W"] == 1), 0, data["M2"]))
    with pytest.raises(PositivityError, match=r"M2=1 never occurs among the \d+ rows with A = 1 and C = 1, W = 1"):
        WCDE(**ROLES).fit(changed)


def test_covariate_value_never_seen_in_an_arm(data):
    """No row of the arm has it, so no mediator value is seen there either."""
    changed = data[(data["A"] == 0) | (data["C"] == 0)]
    with pytest.raises(PositivityError, match="never occurs among the 0 rows with A = 1 and C = 1"):
        WCDE(**ROLES).fit(changed)


def test_the_remedy_is_one_that_exists(data):
    """Effects among the treated are another estimator's."""
    separated = data.assign(A=(data["C"] * 2 + data["W"] > 1) * 1)
    separated.loc[::97, "A"] = 1 - separated.loc[::97, "A"]
    with pytest.raises(PositivityError) as said:
        WCDE(**ROLES, clip=0.2).fit(separated)
    assert "among the treated" not in str(said.value)


def test_a_fixed_law_needs_only_its_own_values(data):
    changed = data.assign(M2=np.where(data["C"] == 1, 0, data["M2"]))
    WCDE(**ROLES, mediator_law={"M1": 1, "M2": 0}).fit(changed)


def test_continuous_mediator_that_follows_a_covariate(continuous):
    rng = np.random.default_rng(0)
    follows = continuous.assign(M=continuous["C"] + 0.01 * rng.normal(size=len(continuous)))
    with pytest.raises(PositivityError, match="mediators and covariates hardly ever occur in the combinations"):
        WCDE(**CONTINUOUS).fit(follows)


def test_continuous_mediators_cannot_be_fixed(continuous):
    with pytest.raises(InputError, match="discrete mediators only"):
        WCDE(**CONTINUOUS, mediator_law={"M": 0.0}).fit(continuous)


def test_some_continuous_mediators_have_no_curve(continuous):
    with pytest.raises(InputError, match="There is no curve"):
        WCDE(**CONTINUOUS, mediator_law="control").fit(continuous).by_mediator()
    two = continuous.assign(M2=continuous["M"] + np.random.default_rng(0).normal(size=600))
    with pytest.raises(InputError, match="There is no curve"):
        WCDE(**{**CONTINUOUS, "mediators": ["M", "M2"]}).fit(two).by_mediator()


def test_continuous_mediators_have_no_cell_probabilities(continuous):
    with pytest.raises(InputError, match="names 'mediator'"):
        WCDE(**{**CONTINUOUS, "learners": {"mediator": "linear"}}).fit(continuous)


@pytest.mark.parametrize(
    "classifier",
    [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression()), Logit()],
    ids=["logistic", "scaled logistic", "fast logistic"],
)
def test_linear_ratio_learners_are_refused(continuous, classifier):
    learners = {"outcome": "linear", "treatment": "linear", "density_ratio": classifier}
    with pytest.raises(InputError, match=r"interactions|linear in the columns"):
        WCDE(**{**CONTINUOUS, "learners": learners}).fit(continuous)


def test_additive_ratio_learners_are_refused(continuous):
    """No coefficient betrays it, but the ratio is 1 everywhere between correlated columns."""
    from sklearn.preprocessing import SplineTransformer

    additive = make_pipeline(SplineTransformer(n_knots=4), LogisticRegression(max_iter=1000))
    learners = {"outcome": "linear", "treatment": "linear", "density_ratio": additive}
    with pytest.raises(InputError, match="ratio 1 everywhere"):
        WCDE(**{**CONTINUOUS, "learners": learners}).fit(simulate_wcde_continuous(3000, random_state=1).data)


def test_no_splitting_needs_a_parametric_law_of_the_mediators(data):
    learners = {"outcome": "linear", "treatment": "linear"}
    with pytest.raises(InputError, match="Name a model for 'mediator'"):
        WCDE(**{**ROLES, "learners": learners}, folds=1).fit(data)


def test_three_levels_need_a_choice(data):
    with pytest.raises(InputError, match="Say which two to compare"):
        WCDE(**ROLES).fit(data.assign(A=np.arange(len(data)) % 3))


# --- graphs ----------------------------------------------------------------------------------------------------------

EDGES = [("C", "A"), ("C", "Y"), ("A", "M1"), ("M1", "Y"), ("A", "Y")]


def by_graph(data, edges, **options):
    return WCDE(outcome="Y", treatment="A", dag=nx.DiGraph(edges), learners="linear", **options).fit(data)


def test_graph_and_lists_exclude_each_other(data):
    with pytest.raises(InputError, match="Give either `dag`, or `mediators`"):
        by_graph(data, EDGES, mediators=["M1"])


def test_roles_must_be_nodes(data):
    with pytest.raises(InputError, match="`treatment` 'A' is not a node"):
        by_graph(data, [("C", "Y")])


def test_text_is_not_a_graph(data):
    with pytest.raises(InputError, match="text is read by"):
        WCDE(outcome="Y", treatment="A", dag="A -> Y", learners="linear").fit(data)


def test_columns_are_named_by_strings(data):
    numbers = {name: number for number, name in enumerate(data.columns)}
    graph = nx.DiGraph([(numbers[a], numbers[b]) for a, b in EDGES])
    with pytest.raises(InputError, match="must name a column by a string"):
        WCDE(outcome=numbers["Y"], treatment=numbers["A"], dag=graph).fit(data.rename(columns=numbers))


def test_cycles_are_shown(data):
    with pytest.raises(InputError, match="cycle"):
        by_graph(data, [*EDGES, ("Y", "C")])


def test_two_way_arrows_must_name_their_cause(data):
    with pytest.raises(InputError, match="U -> A; U -> B"):
        by_graph(data, [*EDGES, ("M1", "C"), ("C", "M1")])
    with pytest.raises(InputError, match="<->"):
        parse_dag("A -> M1 -> Y; M1 <-> Y")


def test_undirected_graphs_are_refused(data):
    with pytest.raises(InputError, match="edges have no direction"):
        WCDE(outcome="Y", treatment="A", dag=nx.Graph(EDGES), learners="linear").fit(data)


def test_graph_and_intermediate_exclude_each_other(data):
    with pytest.raises(InputError, match="Give either `dag`"):
        by_graph(data, EDGES, intermediate=["M2"])


def test_outcome_that_treatment_does_not_reach(data):
    with pytest.raises(InputError, match=r"must be an ancestor of `outcome`.*exactly zero"):
        by_graph(data, [("C", "A"), ("C", "Y")])


def test_latent_confounder_of_the_mediator(data):
    with pytest.raises(NotIdentifiedError, match="U"):
        by_graph(data, [*EDGES, ("U", "M1"), ("U", "Y")])


def test_columns_of_the_graph_that_the_data_lack_are_latent(data):
    with pytest.raises(NotIdentifiedError, match="C"):
        by_graph(data.drop(columns="C"), EDGES)
