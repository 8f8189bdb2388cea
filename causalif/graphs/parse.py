"""Text to graph: arrows, chains, groups, and the text format of dagitty."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx

from causalif._errors import InputError
from causalif.graphs.dag import read_graph
from causalif.graphs.pdag import PDAG

_TOKEN = re.compile(
    r"""(?P<space>[^\S\n]+|//[^\n]*|\#[^\n]*)
    |(?P<end>[;\n])
    |(?P<comma>,)
    |(?P<circle>@-[@>-]|<-@|--@|(?<=[^\s;{}][^\S\n])(?:o-[o>-]|<-o|--o)(?=\s))
    |(?P<arrow><->|<-|->|--|→|←)
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<attributes>\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])
    |(?P<mark>[{}=])
    |(?P<name>(?!-)(?:[^\s{}\[\];,="<>→←\-]|-(?![->]))+)""",
    re.VERBOSE,
)
_BLOCKS = ("dag", "pdag", "digraph")
_DOT_DEFAULTS = ("node", "edge", "graph")
_LATENT = re.compile(r"(?:^|[\[,\s])(latent|unobserved)\s*(=\s*true\s*)?(?=[,\]\s])")
_CIRCLE = (
    "Marks with circles stand for a graph in which common causes are left out (a PAG), which is not understood here: "
    'write "->" where the direction is known, "--" where it is not, and name common causes.'
)
_HINT = 'Write edges as "A -> B", chains as "A -> B -> C", groups as "{A B} -> Y", apart by ";" or line ends.'


def parse_dag(text: str) -> nx.DiGraph | PDAG:
    """Read a graph from text.

    Parameters
    ----------
    text : str
        Edges ``A -> B`` or ``B <- A``, chains ``A -> B -> C``, groups ``{A B} -> Y``, single nodes, apart by ``;``
        or line ends. Names that hold spaces or arrows stand in double quotes. ``#`` and ``//`` start a comment.
        The text format of dagitty (``dag { ... }``, ``pdag { ... }``) and plain DOT (``digraph { ... }``) are read too;
        their coordinates and other attributes are passed over, but for ``latent``. ``A -- B`` is an edge whose
        direction is unknown.

    Returns
    -------
    networkx.DiGraph or PDAG
        A PDAG if the text has an undirected edge. Nodes are strings in order of appearance; a node that the text marks
        ``[latent]`` carries the attribute ``latent=True``, which :func:`adjustment_sets` heeds when ``observed`` is
        not given.

    Raises
    ------
    InputError
        If the text cannot be read, the graph has a directed cycle, or an edge ``A <-> B`` stands for a common cause
        that has no name.

    Notes
    -----
    Time grows with the length of the text. Marks with circles, as in PAGs, are refused.

    References
    ----------
    Textor et al. (2016), Int. J. Epidemiology 45, the dagitty format.

    Examples
    --------
    >>> dag = parse_dag("C -> {A Y}; A -> M -> Y")
    >>> list(dag.edges)
    [('C', 'A'), ('C', 'Y'), ('A', 'M'), ('M', 'Y')]
    >>> parse_dag('dag { A [exposure, pos="0,1"] ; U [latent] ; A <- U -> Y }').nodes["U"]
    {'latent': True}
    >>> parse_dag("A -- B; B -> C").directed
    frozenset({('B', 'C')})
    """
    if not isinstance(text, str):
        raise InputError(f"`text` must be a string. Got a {type(text).__name__} instead. {_HINT}")
    reader = _Reader(_tokens(text))
    reader.read()
    for left, right in reader.undirected:
        if left == right:
            raise InputError(f"`text` has an edge from {left!r} to itself. Remove it.")
    return _partly_directed(reader) if reader.undirected else _directed(reader)


def _directed(reader: _Reader) -> nx.DiGraph:
    dag = nx.DiGraph()
    dag.add_nodes_from(reader.nodes)
    dag.add_nodes_from(reader.latent, latent=True)
    dag.add_edges_from(reader.directed)
    read_graph(dag)
    return dag


def _partly_directed(reader: _Reader) -> PDAG:
    if reader.latent:
        raise InputError(
            f"`text` marks {sorted(reader.latent)} as latent in a graph with undirected edges. "
            "These say which graphs fit the observed nodes; leave latent nodes out."
        )
    return PDAG(reader.directed, reader.undirected, reader.nodes)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> list[_Token]:
    found, at, line = [], 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            shown = text[at:].split("\n", maxsplit=1)[0][:30]
            raise InputError(f"`text` cannot be read on line {line}, from {shown!r} on. {_HINT}")
        kind, piece = str(match.lastgroup), match.group()
        if kind == "circle":
            raise InputError(f"`text` has the edge mark {piece!r} on line {line}. {_CIRCLE}")
        if kind == "quoted":
            piece = re.sub(r"\\(.)", r"\1", piece[1:-1])
        if kind != "space":
            found.append(_Token("name" if kind == "quoted" else kind, piece, line))
        line += match.group().count("\n")
        at = match.end()
    return found


@dataclass
class _Reader:
    """Walks over the tokens once and collects nodes and edges."""

    tokens: list[_Token]
    at: int = 0
    block: bool = False
    nodes: dict[str, None] = field(default_factory=dict)
    latent: dict[str, None] = field(default_factory=dict)
    directed: list[tuple[str, str]] = field(default_factory=list)
    undirected: list[tuple[str, str]] = field(default_factory=list)

    def read(self) -> None:
        """Read the whole text."""
        self.skip_ends()
        self.open_block()
        while self.skip_ends():
            if self.block and self.peek("mark", "}"):
                self.at += 1
                self.block = False
                if self.skip_ends():
                    self.fail("text after the closing brace")
                return
            self.statement()
        if self.block:
            raise InputError('`text` opens a block and never closes it. Add the missing "}".')
        if not self.nodes:
            raise InputError(f"`text` has no node. {_HINT}")

    def skip_ends(self) -> bool:
        """Pass over separators; tell whether anything is left."""
        while self.peek("end"):
            self.at += 1
        return self.at < len(self.tokens)

    def peek(self, kind: str, text: str | None = None, ahead: int = 0) -> bool:
        """Tell whether a token of this kind comes next."""
        token = self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None
        return token is not None and token.kind == kind and text in (None, token.text)

    def take(self) -> str:
        """Return the text of the next token and pass it."""
        self.at += 1
        return self.tokens[self.at - 1].text

    def fail(self, what: str) -> None:
        """Raise, naming the line."""
        token = self.tokens[min(self.at, len(self.tokens) - 1)]
        raise InputError(f"`text` cannot be read on line {token.line}, near {token.text!r}: {what}. {_HINT}")

    def open_block(self) -> None:
        """Read ``dag {``, ``dag "name" {`` and the like, if the text starts so."""
        start = self.at
        words = []
        while self.peek("name"):
            words.append(self.take())
        if not words or not self.peek("mark", "{"):
            self.at = start
            return
        kind = words[1 if words[0] == "strict" and len(words) > 1 else 0]
        if kind not in _BLOCKS:
            self.fail(f"a block of kind {kind!r} is not known; those known are {', '.join(_BLOCKS)}")
        self.at += 1
        self.block = True

    def statement(self) -> None:
        """Read one chain of nodes or groups with its arrows."""
        if self.block and self.skip_setting():
            return
        groups: list[list[str]] = [self.group()]
        arrows: list[str] = []
        self.skip_attributes(groups[0])
        while self.peek("arrow"):
            arrows.append(self.take())
            while self.peek("end", "\n"):
                self.at += 1
            groups.append(self.group())
            self.skip_attributes([])
        for arrow, (left, right) in zip(arrows, pairwise(groups), strict=True):
            self.connect(left, arrow, right)
        if self.peek("comma"):
            self.fail("a comma stands between the names of a group only")
        if not self.block and (self.peek("name") or self.peek("mark", "{")):
            self.fail('two names with no arrow between them; a name with spaces needs quotes, "like this"')

    def skip_setting(self) -> bool:
        """Pass over ``bb="0,0,1,1"`` and ``node [shape=box]``."""
        if self.peek("name") and self.peek("mark", "=", ahead=1):
            self.at += 3
            return True
        if self.peek("attributes", ahead=1) and any(self.peek("name", word) for word in _DOT_DEFAULTS):
            self.at += 2
            return True
        return False

    def skip_attributes(self, owners: list[str]) -> None:
        """Pass over ``[pos="0,1"]``, noting who is latent."""
        while self.peek("attributes"):
            if _LATENT.search(re.sub(r'"[^"]*"', "", self.take())):
                self.latent.update(dict.fromkeys(owners))

    def group(self) -> list[str]:
        """Read a name or ``{several names}``."""
        if self.peek("name"):
            return self.note([self.take()])
        if not self.peek("mark", "{"):
            self.fail("a name or a group in braces was expected here")
        self.at += 1
        names = []
        while self.skip_ends() and not self.peek("mark", "}"):
            if not self.peek("name"):
                self.fail("a group holds names only")
            names.append(self.take())
            self.at += self.peek("comma")
        if self.at >= len(self.tokens) or not names:
            self.fail("a group needs names and a closing brace")
        self.at += 1
        return self.note(names)

    def note(self, names: list[str]) -> list[str]:
        """Add nodes in order of appearance."""
        self.nodes.update(dict.fromkeys(names))
        return names

    def connect(self, left: list[str], arrow: str, right: list[str]) -> None:
        """Add the edges of one arrow between two groups."""
        if arrow == "<->":
            a, b = left[0], right[0]
            raise InputError(
                f"`text` has {a} <-> {b}. Name the common cause that the two-way arrow stands for, as in "
                f"U -> {a}; U -> {b}, and leave U out of `observed`."
            )
        pairs = [(a, b) for a in left for b in right]
        if arrow == "--":
            self.undirected += pairs
        else:
            self.directed += pairs if arrow in ("->", "→") else [(b, a) for a, b in pairs]
