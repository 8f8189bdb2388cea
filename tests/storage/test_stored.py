"""Every result comes back as its own class; nothing outside the table of classes is ever built."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import causalif as ci
from causalif._errors import InputError
from causalif.estimators.wcde.saved_sets import pack_sets, unpack_sets
from causalif.graphs import PDAG, sequential_sets
from causalif.storage import stored

pytestmark = pytest.mark.filterwarnings("ignore::causalif._errors.PositivityWarning")


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    c = rng.normal(size=n)
    a = (rng.random(n) < 1 / (1 + np.exp(-0.5 * c))).astype(int)
    m = 0.8 * a + 0.3 * c + rng.normal(size=n)
    return pd.DataFrame({"C": c, "A": a, "M": m, "Y": 0.4 * a + 0.8 * m + 0.4 * c + rng.normal(size=n)})


GRAPH = "C -> {A M Y}; A -> {M Y}; M -> Y"


@pytest.fixture(scope="module")
def results(data: pd.DataFrame) -> dict[str, Any]:
    dag = ci.parse_dag(GRAPH)
    posterior = ci.DAGPosterior.from_dags([dag, ci.parse_dag("C -> {A M Y}; A -> M -> Y")], [0.7, 0.3])
    columns = {"outcome": "Y", "treatment": "A", "learners": "linear"}
    return {
        "Estimate": ci.ATE(**columns, adjust=["C"]).fit(data),
        "MediationResult": ci.Mediation(**columns, mediators=["M"], adjust=["C"]).fit(data),
        "PathEffectResult": ci.PathEffect(**columns, dag=dag, path=("A", "M", "Y")).fit(data),
        "WCDEResult": ci.WCDE(**columns, dag=dag).fit(data),
        "DAGPosterior": posterior,
        "SigmaResult": ci.SIGMA(treatment="A", outcome="Y", posterior=posterior, learners="linear").fit(data),
        "Valuation": ci.KAIROS(progress=False).fit(data[50:], reference=data[:50], label="A"),
    }


KINDS = ["Estimate", "MediationResult", "PathEffectResult", "WCDEResult", "DAGPosterior", "SigmaResult", "Valuation"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_comes_back_as_its_own_class(results: dict[str, Any], kind: str, tmp_path: Path) -> None:
    results[kind].save(tmp_path / "result")
    back = ci.load(tmp_path / "result")
    assert type(back) is type(results[kind])
    assert type(back).__name__ == kind
    if kind != "Valuation":
        assert str(back.summary()) == str(results[kind].summary())
    assert repr(back) == repr(results[kind])
    back.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "result").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_must_be_there(results: dict[str, Any], kind: str, tmp_path: Path) -> None:
    result = results[kind]
    with pytest.raises(InputError, match=f"There is no folder '{tmp_path}/results': make it first"):
        result.save(tmp_path / "results" / "fit.causalif")
    with pytest.raises(InputError, match=f"'{tmp_path}' is a folder; add the name of a file"):
        result.save(tmp_path)
    (tmp_path / "results").write_text("")
    with pytest.raises(InputError, match=f"There is no folder '{tmp_path}/results'"):
        result.save(tmp_path / "results" / "fit.causalif")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_the_questions_of_each_class_are_still_answered(results: dict[str, Any], tmp_path: Path) -> None:
    for name, result in results.items():
        result.save(tmp_path / name)
    back = {name: ci.load(tmp_path / name) for name in results}
    share, again = (which["MediationResult"].share_mediated() for which in (results, back))
    assert (share.values[0], share.std_errors.iloc[0]) == (again.values[0], again.std_errors.iloc[0])
    assert dict(back["PathEffectResult"].questions) == dict(results["PathEffectResult"].questions)
    assert back["PathEffectResult"].types.equals(results["PathEffectResult"].types)
    assert back["WCDEResult"].by_mediator().equals(results["WCDEResult"].by_mediator())
    assert back["WCDEResult"].interaction_test().equals(results["WCDEResult"].interaction_test())
    assert back["WCDEResult"].sets.why_not({"C"}) == results["WCDEResult"].sets.why_not({"C"})
    for name in ("paths", "effects", "edges"):
        pd.testing.assert_frame_equal(getattr(back["SigmaResult"], name), getattr(results["SigmaResult"], name))
    assert back["SigmaResult"].paths.attrs == results["SigmaResult"].paths.attrs
    assert back["SigmaResult"].components("A -> Y").equals(results["SigmaResult"].components("A -> Y"))
    pd.testing.assert_frame_equal(back["SigmaResult"].to_frame(0.9), results["SigmaResult"].to_frame(0.9))
    assert back["SigmaResult"].estimate.cov.equals(results["SigmaResult"].estimate.cov)


def test_a_valuation_is_read_as_well(data: pd.DataFrame, tmp_path: Path) -> None:
    value = ci.KAIROS(precision="float64").fit(data.iloc[:60], reference=data.iloc[60:120])
    value.save(tmp_path / "values")
    back = ci.load(tmp_path / "values")
    assert type(back) is ci.Valuation
    pd.testing.assert_series_equal(back.values, value.values)


def test_each_class_reads_its_own_files_only(results: dict[str, Any], tmp_path: Path) -> None:
    results["DAGPosterior"].save(tmp_path / "graphs")
    with pytest.raises(InputError, match=r"holds a DAGPosterior, no Estimate\. Read it with causalif\.load"):
        ci.Estimate.load(tmp_path / "graphs")
    results["MediationResult"].save(tmp_path / "fit")
    assert type(ci.Estimate.load(tmp_path / "fit")).__name__ == "MediationResult"
    with pytest.raises(InputError, match="holds a MediationResult, no WCDEResult"):
        type(results["WCDEResult"]).load(tmp_path / "fit")
    with pytest.raises(InputError, match="no DAGPosterior"):
        ci.DAGPosterior.load(tmp_path / "fit")
    with pytest.raises(InputError, match="no SigmaResult"):
        type(results["SigmaResult"]).load(tmp_path / "fit")


# --- the table of classes -----------------------------------------------------------------------------------------


def test_every_name_of_the_table_is_a_class_that_can_be_saved() -> None:
    for name in stored.CLASSES:
        kind = stored._class(name)
        assert (kind.__name__, kind.__module__) == (name, stored.CLASSES[name])
        assert callable(kind._pack)
        assert callable(kind._unpack)


def test_a_class_outside_the_table_is_refused(tmp_path: Path) -> None:
    class Estimate:  # the name alone is not enough
        pass

    with pytest.raises(InputError, match="A Estimate cannot be saved; these can: Estimate, DAGPosterior"):
        stored.write(Estimate(), tmp_path / "x")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def changed(path: Path, change: Any) -> None:
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    header = json.loads(parts["header.json"])
    change(header)
    with zipfile.ZipFile(path, "w") as whole:
        for name, content in (parts | {"header.json": json.dumps(header).encode()}).items():
            whole.writestr(name, content)


@pytest.mark.parametrize("name", ["Popen", "subprocess.Popen", "os.system", "Stability", "", None, 3, ["Estimate"]])
def test_a_file_cannot_name_what_is_built(results: dict[str, Any], name: Any, tmp_path: Path) -> None:
    results["MediationResult"].save(tmp_path / "fit")
    changed(tmp_path / "fit", lambda header: header.update({"class": name}))
    with pytest.raises(InputError):
        ci.load(tmp_path / "fit")


@pytest.mark.parametrize(("kind", "other"), [("Estimate", 2), ("MediationResult", 1)])
def test_plain_estimates_keep_the_first_format(results: dict[str, Any], kind: str, other: int, tmp_path: Path) -> None:
    results[kind].save(tmp_path / "fit")
    with zipfile.ZipFile(tmp_path / "fit") as whole:
        assert json.loads(whole.read("header.json"))["format"] == 3 - other
    changed(tmp_path / "fit", lambda header: header.update(format=other))
    with pytest.raises(InputError, match="which `save` never writes"):
        ci.load(tmp_path / "fit")
    changed(tmp_path / "fit", lambda header: header.update(format=3))
    with pytest.raises(InputError, match="has file format 3, and this version reads 1 and 2"):
        ci.load(tmp_path / "fit")


@pytest.mark.parametrize("kind", ["SigmaResult", "DAGPosterior", "WCDEResult", "PathEffectResult"])
def test_a_file_with_another_class_in_it_is_refused(results: dict[str, Any], kind: str, tmp_path: Path) -> None:
    for other in stored.CLASSES:
        results[kind].save(tmp_path / "fit")
        changed(
            tmp_path / "fit",
            lambda header, name=other: header.update({"class": name, "format": 1 + (name != "Estimate")}),
        )
        if other != kind and not (kind == "PathEffectResult" and other in ("Estimate", "MediationResult")):
            with pytest.raises(InputError):
                ci.load(tmp_path / "fit")


def strings(value: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON tree, as the container and its key."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in strings(value[key])]


@pytest.mark.parametrize("kind", ["SigmaResult", "WCDEResult", "PathEffectResult"])
def test_a_garbled_header_is_refused_or_harmless(results: dict[str, Any], kind: str, tmp_path: Path) -> None:
    """Whatever stands in the header, loading ends in a result of a known class or in an InputError."""
    rng = np.random.default_rng(0)
    replacements = [None, -1, 10**30, "x", [], {}, [[]], {"kind": "flat"}, 0.5, True, "shared"]
    results[kind].save(tmp_path / "sound")
    whole, refused = (tmp_path / "sound").read_bytes(), 0
    for _ in range(60):

        def garble(header: dict[str, Any]) -> None:
            places = strings(header["fields"])
            container, key = places[rng.integers(len(places))]
            container[key] = replacements[rng.integers(len(replacements))]

        (tmp_path / "fit").write_bytes(whole)
        changed(tmp_path / "fit", garble)
        try:
            assert type(ci.load(tmp_path / "fit")).__name__ == kind
        except InputError:
            refused += 1
    assert refused > 10


# --- posteriors and sets ------------------------------------------------------------------------------------------


def members_of(path: Path, name: str) -> str:
    with zipfile.ZipFile(path) as whole:
        found = json.loads(whole.read("header.json"))["fields"][name]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("adjacency", lambda x: x + 1, "other entries than 0 and 1"),
        ("weights", lambda x: x * 2, "outside 0 and 1|sum to one"),
        ("weights", lambda x: x * np.nan, "outside 0 and 1"),
        ("adjacency", lambda x: x[:, :2], "shape"),
    ],
)
def test_a_posterior_that_is_none(results: dict[str, Any], name: str, array: Any, message: str, tmp_path: Path) -> None:
    import io

    path = tmp_path / "graphs"
    results["DAGPosterior"].save(path)
    member = members_of(path, name)
    with zipfile.ZipFile(path) as whole:
        parts = {key: whole.read(key) for key in whole.namelist()}
    stream = io.BytesIO()
    np.save(stream, array(np.load(io.BytesIO(parts[member]))))
    with zipfile.ZipFile(path, "w") as whole:
        for key, content in (parts | {member: stream.getvalue()}).items():
            whole.writestr(key, content)
    with pytest.raises(InputError, match=message):
        ci.load(path)


def test_a_posterior_found_in_data_comes_back(data: pd.DataFrame, tmp_path: Path) -> None:
    found = ci.LinearSEM(tiers=[["C"], ["A"], ["M"], ["Y"]], bag=3).fit(data.assign(A=data["A"] + 0.01 * data["C"]))
    found.save(tmp_path / "graphs")
    back = ci.load(tmp_path / "graphs")
    assert str(back) == str(found)
    assert dict(back.settings) == dict(found.settings)
    pd.testing.assert_frame_equal(back.paths("A", "Y"), found.paths("A", "Y"))
    pd.testing.assert_frame_equal(back.edge_probabilities, found.edge_probabilities)
    for name, table in found.diagnostics.items():
        pd.testing.assert_frame_equal(back.diagnostics[name], table)


def test_sets_of_every_kind_come_back() -> None:
    latent = ci.parse_dag("C -> {A Y}; A -> L -> M -> Y; A -> {M Y}; L <- U -> Y")
    steps = sequential_sets(latent, "A", "Y", ["C", "A", "L", "M", "Y"])
    again = unpack_sets(json.loads(json.dumps(pack_sets(steps))))
    assert (str(again), again.zero_by_graph, again.intermediate) == (
        str(steps),
        steps.zero_by_graph,
        steps.intermediate,
    )
    assert nx.utils.graphs_equal(again.dag, steps.dag)
    arrows = [("A", "M"), ("M", "Y"), ("A", "Y"), ("C", "A"), ("W", "A"), ("C", "Y"), ("W", "Y")]
    pdag = PDAG(directed=arrows, undirected=[("W", "C")], nodes=["Z"])
    sets = ci.adjustment_sets(pdag, treatment="A", outcome="Y", effect="wcde", observed=["A", "M", "Y", "C", "W"])
    back = unpack_sets(json.loads(json.dumps(pack_sets(sets))))
    assert (back.dag, back.dag.nodes, back.optimal) == (pdag, pdag.nodes, sets.optimal)
    assert str(back) == str(sets)
    listed = {"mediators": ("M",), "covariates": ("C",)}
    assert unpack_sets(json.loads(json.dumps(pack_sets(listed)))) == listed


def test_a_shift_is_defined_below_the_table_of_a_loaded_result_too(data: pd.DataFrame, tmp_path: Path) -> None:
    moved = data.assign(A=data["A"] + np.random.default_rng(1).normal(size=len(data)))
    dag = ci.parse_dag(GRAPH)
    asked = {"outcome": "Y", "treatment": "A", "learners": "linear"}
    for shift, words in ((0.5, "d(A) is the treatment plus 0.5,"), (-0.25, "d(A) is the treatment less 0.25,")):
        for fit in (
            ci.Mediation(**asked, mediators=["M"], adjust=["C"], shift=shift).fit(moved),
            ci.PathEffect(**asked, dag=dag, shift=shift).fit(moved),
        ):
            fit.save(tmp_path / "fit")
            assert words in " ".join(str(ci.load(tmp_path / "fit").summary()).split())
            assert words in " ".join(str(fit.summary()).split())
    assert "d(A)" not in str(ci.Mediation(**asked, mediators=["M"], adjust=["C"]).fit(data).summary())
