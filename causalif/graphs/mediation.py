"""From a graph and one of its causal paths to the question that data can answer about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import networkx as nx

from causalif._errors import InputError
from causalif._validate import one_of
from causalif.graphs.dag import Node
from causalif.graphs.path_frame import Draws, Frame, Kind, Path, PathQuestion, Reference, Setting

Recanting: TypeAlias = Literal["interventional", "bundle", "skip"]

__all__ = [
    "Draws",
    "Kind",
    "PathQuestion",
    "Recanting",
    "Reference",
    "Setting",
    "edge_questions",
    "path_question",
    "total_question",
]


def path_question(
    dag: nx.DiGraph,
    treatment: Node,
    outcome: Node,
    path: Any,
    reference: Reference = "control",
    on_recanting: Recanting = "interventional",
    adjust: str | Collection[Node] = "dag",
) -> PathQuestion:
    r"""Return what can be asked about the effect along a path, or a set of paths.

    With a set of paths active and everything else at the control level, the effect is
    :math:`E[Y(\Pi\ \text{at}\ a, \text{rest}\ a^*)] - E[Y(a^*)]` (``reference="control"``), or
    :math:`E[Y(a)] - E[Y(\Pi\ \text{at}\ a^*, \text{rest}\ a)]` (``"treated"``).

    Parameters
    ----------
    dag : networkx.DiGraph
        Acyclic, without hidden common causes; not changed.
    treatment, outcome : node
        The ends.
    path : sequence of nodes, or collection of such sequences
        From treatment to outcome.
    reference : {"control", "treated"}
        The level of everything off the path.
    on_recanting : {"interventional", "bundle", "skip"}
        What to ask for when the natural effect is not identified: its analogue with independent draws, the effect of
        all paths that begin with the same edges, or nothing.
    adjust : {"dag", "optimal", "all_pretreatment"} or collection of nodes
        Covariates: non-descendants of the treatment among the parents of treatment, outcome and mediators ("dag"); the
        same less the parents of the treatment as such, which lowers the variance ("optimal"); all non-descendants;
        or a list, which must contain the "optimal" ones.

    Returns
    -------
    PathQuestion
        ``kind`` is "absent" when an edge of the path is missing.

    Raises
    ------
    InputError
        If the graph has a cycle, the path does not run from treatment to outcome, a node is unknown or an option is.

    Notes
    -----
    The natural effect of a set of paths is identified exactly when for every child of the treatment either all or none
    of the paths through it belong to the set (the recanting witness criterion; Avin, Shpitser and Pearl 2005). Paths
    are counted, not listed: time grows with nodes times edges.

    The interventional analogue needs one path A -> v_1 -> ... -> v_k -> Y. Node v_1 is drawn given its ancestors, these
    at the reference level and the edge A -> v_1 active; v_(j+1) is drawn given v_j and, independently, its other
    parents at the reference level; Y arises in the same way (Lin and VanderWeele 2017; for k = 1 the indirect effect
    of Vansteelandt and Daniel 2017).

    Examples
    --------
    >>> dag = nx.DiGraph([("A", "L"), ("L", "M"), ("A", "M"), ("M", "Y"), ("A", "Y")])
    >>> path_question(dag, "A", "Y", ("A", "M", "Y")).plus
    Setting(blocks=(('L',), ('M',)), active=(False, True, False))
    >>> dag.add_edge("L", "Y")
    >>> path_question(dag, "A", "Y", ("A", "L", "M", "Y")).kind
    'interventional'
    """
    one_of("reference", reference, ("control", "treated"))
    one_of("on_recanting", on_recanting, ("interventional", "bundle", "skip"))
    frame = Frame.of(dag, treatment, outcome)
    paths = _read_paths(path, treatment, outcome)
    base = PathQuestion(treatment, outcome, "absent", reference=reference, label=_label(paths))
    ids = [frame.numbers(one) for one in paths]
    if not all(frame.has(one) for one in ids):
        return replace(base, reference="control")
    base = replace(base, adjust=frame.covariates(adjust))
    first = {one[1] for one in ids}
    torn = next((c for c in sorted(first) if sum(one[1] == c for one in ids) < frame.routes[c]), None)
    if torn is None:
        return frame.natural(base, first)
    base = replace(base, witness=frame.witness(torn, ids))
    if on_recanting == "skip":
        return replace(base, kind="skipped", reference="control")
    if on_recanting == "bundle":
        return replace(frame.natural(base, first), kind="bundle")
    return frame.interventional(base, ids)


def edge_questions(
    dag: nx.DiGraph,
    treatment: Node,
    outcome: Node,
    reference: Reference = "control",
    adjust: str | Collection[Node] = "dag",
) -> Mapping[Node, PathQuestion]:
    """Return one question for each first edge: the effect of all paths that begin with it.

    Parameters
    ----------
    dag, treatment, outcome, reference, adjust
        As in :func:`path_question`.

    Returns
    -------
    dict from child of the treatment to PathQuestion
        In the order of the graph; always identified, empty without causal path.

    Raises
    ------
    InputError
        As :func:`path_question`.

    Examples
    --------
    >>> dag = nx.DiGraph([("A", "L"), ("L", "M"), ("M", "Y"), ("A", "Y")])
    >>> [question.label for question in edge_questions(dag, "A", "Y").values()]
    ['A -> L -> M -> Y', 'A -> Y']
    """
    one_of("reference", reference, ("control", "treated"))
    frame = Frame.of(dag, treatment, outcome)
    if not frame.first:
        return {}
    base = PathQuestion(treatment, outcome, "natural", frame.covariates(adjust), reference=reference)
    return {
        frame.graph.nodes[c]: frame.natural(
            replace(base, label=frame.bundle_label(c)), {c}, "natural" if frame.routes[c] == 1 else "bundle"
        )
        for c in frame.first
    }


def total_question(
    dag: nx.DiGraph, treatment: Node, outcome: Node, adjust: str | Collection[Node] = "dag"
) -> PathQuestion:
    """Return the question for the total effect.

    Parameters
    ----------
    dag, treatment, outcome, adjust
        As in :func:`path_question`.

    Returns
    -------
    PathQuestion
        "absent" when the outcome does not descend from the treatment.

    Raises
    ------
    InputError
        As :func:`path_question`.

    Examples
    --------
    >>> total_question(nx.DiGraph([("C", "A"), ("C", "Y"), ("A", "Y")]), "A", "Y").adjust
    ('C',)
    """
    frame = Frame.of(dag, treatment, outcome)
    base = PathQuestion(treatment, outcome, "absent", label="total")
    if not frame.first:
        return base
    on, off = Setting((), (True,)), Setting((), (False,))
    return replace(base, kind="total", adjust=frame.covariates(adjust), plus=on, minus=off)


def _read_paths(path: Any, treatment: Node, outcome: Node) -> tuple[Path, ...]:
    """Return the distinct paths, each from treatment to outcome."""
    if isinstance(path, str) or not isinstance(path, Collection) or not path:
        raise InputError(
            f"`path` must be a sequence of nodes such as ({treatment!r}, ..., {outcome!r}), or a collection of them. "
            f"Got {path!r} instead."
        )
    several = all(isinstance(one, (tuple, list)) for one in path)
    paths = tuple(dict.fromkeys(tuple(one) for one in (path if several else [path])))
    for one in paths:
        if len(one) < 2 or one[0] != treatment or one[-1] != outcome or len(set(one)) < len(one):
            raise InputError(
                f"`path` must run from the treatment {treatment!r} to the outcome {outcome!r} and visit no node twice. "
                f"Got {one!r} instead."
            )
    return paths


def _label(paths: Sequence[Path]) -> str:
    return " + ".join(" -> ".join(map(str, path)) for path in paths)
