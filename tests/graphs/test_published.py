"""Four published networks.

Edge lists as in the BIF files of the Bayesian network repository of bnlearn, which pgmpy 1.1.2 carries
(pgmpy/utils/example_models): ASIA (Lauritzen and Spiegelhalter 1988), SACHS (Sachs et al. 2005), MILDEW (Jensen and
Jensen 1996) and ALARM (Beinlich et al. 1989). The two adjustment sets in MILDEW are those of Lin, Guo and Gan (2025).
"""

from __future__ import annotations

import networkx as nx
import pytest

from causalif._errors import NotIdentifiedError
from causalif.graphs import adjustment_sets, parse_dag

ASIA = """asia -> tub; smoke -> lung; smoke -> bronc; lung -> either; tub -> either; either -> xray; bronc -> dysp
either -> dysp"""
SACHS = """Erk -> Akt; PKA -> Akt; Mek -> Erk; PKA -> Erk; PKA -> Jnk; PKC -> Jnk; PKA -> Mek; PKC -> Mek; Raf -> Mek
PKA -> P38; PKC -> P38; PIP3 -> PIP2; Plcg -> PIP2; Plcg -> PIP3; PKC -> PKA; PKA -> Raf; PKC -> Raf"""
MILDEW = """foto_1 -> dm_1; lai_1 -> foto_1; temp_1 -> foto_1; straaling_1 -> foto_1; lai_0 -> lai_1; meldug_1 -> lai_1
foto_2 -> dm_2; dm_1 -> dm_2; lai_2 -> foto_2; temp_2 -> foto_2; straaling_2 -> foto_2; lai_1 -> lai_2
meldug_2 -> lai_2; middel_1 -> meldug_2; mikro_1 -> meldug_2; meldug_1 -> meldug_2; foto_3 -> dm_3; dm_2 -> dm_3
lai_3 -> foto_3; temp_3 -> foto_3; straaling_3 -> foto_3; lai_2 -> lai_3; meldug_3 -> lai_3; middel_2 -> meldug_3
mikro_2 -> meldug_3; meldug_2 -> meldug_3; foto_4 -> dm_4; dm_3 -> dm_4; lai_4 -> foto_4; temp_4 -> foto_4
straaling_4 -> foto_4; lai_3 -> lai_4; meldug_4 -> lai_4; middel_3 -> meldug_4; mikro_3 -> meldug_4
meldug_3 -> meldug_4; lai_1 -> mikro_1; temp_1 -> mikro_1; nedboer_1 -> mikro_1; lai_2 -> mikro_2; temp_2 -> mikro_2
nedboer_2 -> mikro_2; lai_3 -> mikro_3; temp_3 -> mikro_3; nedboer_3 -> mikro_3; dm_4 -> udbytte"""
ALARM = """LVFAILURE -> HISTORY; LVEDVOLUME -> CVP; LVEDVOLUME -> PCWP; HYPOVOLEMIA -> LVEDVOLUME
LVFAILURE -> LVEDVOLUME; HYPOVOLEMIA -> STROKEVOLUME; LVFAILURE -> STROKEVOLUME; ERRLOWOUTPUT -> HRBP; HR -> HRBP
ERRCAUTER -> HREKG; HR -> HREKG; ERRCAUTER -> HRSAT; HR -> HRSAT; ANAPHYLAXIS -> TPR; ARTCO2 -> EXPCO2
VENTLUNG -> EXPCO2; INTUBATION -> MINVOL; VENTLUNG -> MINVOL; FIO2 -> PVSAT; VENTALV -> PVSAT; PVSAT -> SAO2
SHUNT -> SAO2; PULMEMBOLUS -> PAP; INTUBATION -> SHUNT; PULMEMBOLUS -> SHUNT; INTUBATION -> PRESS
KINKEDTUBE -> PRESS; VENTTUBE -> PRESS; MINVOLSET -> VENTMACH; DISCONNECT -> VENTTUBE; VENTMACH -> VENTTUBE
INTUBATION -> VENTLUNG; KINKEDTUBE -> VENTLUNG; VENTTUBE -> VENTLUNG; INTUBATION -> VENTALV; VENTLUNG -> VENTALV
VENTALV -> ARTCO2; ARTCO2 -> CATECHOL; INSUFFANESTH -> CATECHOL; SAO2 -> CATECHOL; TPR -> CATECHOL; CATECHOL -> HR
HR -> CO; STROKEVOLUME -> CO; CO -> BP; TPR -> BP"""
NETWORKS = {"asia": (ASIA, 8, 8), "sachs": (SACHS, 11, 17), "mildew": (MILDEW, 35, 46), "alarm": (ALARM, 37, 46)}


@pytest.mark.parametrize("name", NETWORKS)
def test_sets_for_every_pair_meet_the_definitions(name, criterion):
    text, nodes, edges = NETWORKS[name]
    dag = parse_dag(text)
    assert (dag.number_of_nodes(), dag.number_of_edges()) == (nodes, edges)
    pairs = [(x, y) for x in dag for y in sorted(nx.descendants(dag, x))]
    for x, y in pairs[:: 1 + len(pairs) // 120]:
        sets = adjustment_sets(dag, x, y)
        assert sets.optimality == "proved"
        between = nx.descendants(dag, x) & (nx.ancestors(dag, y) | {y})
        banned = between.union({x}, *(nx.descendants(dag, v) for v in between))
        assert sets.optimal == {p for v in between for p in dag.pred[v]} - banned
        for z in (sets.optimal, sets.minimal, sets.minimum_cost):
            assert criterion(dag, {x}, y, z)
        assert not any(criterion(dag, {x}, y, sets.minimal - {v}) for v in sets.minimal)
        assert len(sets.minimum_cost) <= len(sets.minimal)
        direct = adjustment_sets(dag, x, y, "wcde")
        assert direct.optimal == set(dag.pred[y]) - {x}
        assert direct.is_valid(direct.minimal)
        assert direct.zero_by_graph is not dag.has_edge(x, y)


def test_mildew():
    total = adjustment_sets(parse_dag(MILDEW), "mikro_1", "meldug_4")
    assert total.optimal == set("lai_1 meldug_1 middel_1 middel_2 middel_3 nedboer_2 nedboer_3 temp_2 temp_3".split())
    direct = adjustment_sets(parse_dag(MILDEW), "mikro_1", "meldug_4", "wcde")
    assert direct.mediators == {"meldug_3", "mikro_3"}
    assert direct.covariates == {"middel_3"}
    assert direct.zero_by_graph
    assert "exactly zero by the graph" in str(direct)


def test_asia_without_mediators():
    total, direct = (adjustment_sets(parse_dag(ASIA), "either", "dysp", effect) for effect in ("total", "wcde"))
    assert total.optimal == direct.optimal == {"bronc"}
    assert direct.mediators == frozenset()
    assert "no mediator acts on the outcome: this is the total effect" in str(direct)
    small = [z for z in total.valid() if len(z) == 1]
    assert set(small) == {frozenset({"bronc"}), frozenset({"smoke"}), frozenset({"lung"})}


def test_sachs():
    dag = parse_dag(SACHS)
    assert adjustment_sets(dag, "PKC", "Akt").optimal == frozenset()
    direct = adjustment_sets(dag, "PKC", "Akt", "wcde")
    assert direct.mediators == {"Erk", "PKA"}
    assert direct.zero_by_graph
    with pytest.raises(NotIdentifiedError, match="Measure 'PKC'"):
        adjustment_sets(dag, "PKA", "Akt", observed=set(dag) - {"PKC"})
