"""Lines of RDF-star as lines of RDF 1.2."""

from __future__ import annotations

import pyoxigraph as ox
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kgservice.readers.rdfstar import REIFIES, reifier_of, upgrade

EX = "http://example.org/"
subject, predicate, object_, said_of, value = (ox.NamedNode(EX + name) for name in "spoqv")
REMARK = b"<< <http://example.org/s> <http://example.org/p> <http://example.org/o> >> <http://example.org/q> %s .\n"

names = st.sampled_from([ox.NamedNode(EX + name) for name in "abc"])
nodes = names | st.sampled_from([ox.BlankNode("b1"), ox.BlankNode("b2")])
words = st.text('ab<>()"\\#.{|}~ \n\té𝄞', max_size=6)
literals = (
    st.builds(ox.Literal, words)
    | st.builds(lambda word: ox.Literal(word, language="en-gb"), words)
    | st.builds(lambda word: ox.Literal(word, datatype=ox.NamedNode(EX + "type")), words)
)
Tree = tuple  # (subject, predicate, object), where subject and object may be trees
quotes = st.recursive(
    st.tuples(nodes, names, nodes | literals),
    lambda inner: st.tuples(nodes | inner, names, nodes | literals | inner),
    max_leaves=4,
)
statements = st.tuples(nodes | quotes, names, nodes | literals | quotes)


def written(tree: object, space: str) -> str:
    if not isinstance(tree, tuple):
        return str(tree)
    return f"<<{space}{space.join(written(part, space) for part in tree)}{space}>>"


def node(tree: object, graph: set[ox.Triple]) -> object:
    """The reifier of a quote, by the definition."""
    if not isinstance(tree, tuple):
        return tree
    triple = ox.Triple(node(tree[0], graph), tree[1], node(tree[2], graph))
    graph.add(ox.Triple(reifier_of(triple), REIFIES, triple))
    return reifier_of(triple)


def read(lines: list[bytes], syntax: ox.RdfFormat = ox.RdfFormat.N_TRIPLES) -> list[ox.Quad]:
    return [quad for line in upgrade(lines) for quad in ox.parse(line, format=syntax)]


def test_a_remark_about_a_triple_is_one_about_its_reifier() -> None:
    (quote, remark) = upgrade([REMARK % b"<http://example.org/v>"])
    (quoting,), (said,) = (list(ox.parse(line, format=ox.RdfFormat.N_TRIPLES)) for line in (quote, remark))
    assert quoting.predicate == REIFIES
    assert quoting.object == ox.Triple(subject, predicate, object_)
    assert said.triple == ox.Triple(quoting.subject, said_of, value)


def test_two_lines_about_one_triple_share_the_reifier_however_they_are_spaced() -> None:
    tight = REMARK.replace(b" ", b"") % b'"2"'
    quads = read([REMARK % b'"1"', tight])
    assert len({quad.subject for quad in quads}) == 1
    assert len(set(quads)) == 3


def test_a_quote_stands_in_the_graph_of_its_line() -> None:
    line = (REMARK % b"<http://example.org/v>").replace(b" .\n", b" <http://example.org/g> .\n")
    assert {quad.graph_name for quad in read([line], ox.RdfFormat.N_QUADS)} == {ox.NamedNode(EX + "g")}


def test_brackets_in_texts_and_comments_are_no_quotes() -> None:
    line = REMARK.replace(b" .\n", b" . # << <a> <b> <c> >>\n") % b'"<< \\" >>"'
    assert read([line])[-1].object == ox.Literal('<< " >>')


@pytest.mark.parametrize(
    "line",
    [
        b"<a:a> <a:b> <a:c> .\n",
        b'<a:a> <a:b> "<< <a:a> <a:b> <a:c> >>" .\n',
        b"<< <a:a> <a:b> <a:c> >> .\n",
        b"<< <a:a> <a:b> <a:c> ~ _:r >> <a:q> <a:v> .\n",
        b"<< <a:a> <a:b> <a:c> . >> <a:q> <a:v> .\n",
        b"<< <a:a> <a:b> >> <a:q> <a:v> .\n",
        b'<< <a:a> <a:b> "never closed >> <a:q> <a:v> .\n',
        b'<< <a:a> "b" <a:c> >> <a:q> <a:v> .\n',
        b"<a:a> << <a:a> <a:b> <a:c> >> <a:v> .\n",
        b"<a:a> <a:b> <a:c> << <a:a> <a:b> <a:c> >> .\n",
        b"<a:a> <a:b> <a:c> {| <a:q> << <a:a> <a:b> <a:c> >> |} .\n",
        b"<< <a:a> <a:b> <a:c> >> <a:q> <<( <a:a> <a:b> <a:c> )>> .\n",
        b"<< <a:a> <a:b> <a:c> >> <a:q> <a:v> .  <a:a> <a:b> <a:c> .\n",
        b"<a:a> <a:b> <a:c> >> <a:q> <a:v> .\n",
        b"<< <a:a> <a:b> <a:c> <a:q> <a:v> .\n",
        b"<< <a:a> <a:b> <a:\xff> >> <a:q> <a:v> .\n",
        b">> <<\n",
    ],
)
def test_a_line_that_is_not_rdf_star_stays_as_it_is(line: bytes) -> None:
    assert upgrade([line]) == [line]


@given(statements, st.sampled_from([" ", "\t ", ""]))
def test_every_statement_means_what_the_definition_says(statement: Tree, space: str) -> None:
    line = f"{' '.join(written(part, space) for part in statement)} .\n"
    # Without spaces a blank node's label runs on.
    assume(space or "_:" not in line)
    graph: set[ox.Triple] = set()
    ends = node(statement[0], graph), node(statement[2], graph)
    graph.add(ox.Triple(ends[0], statement[1], ends[1]))
    assert {quad.triple for quad in read([line.encode()])} == graph


@given(statements)
def test_turtle_of_rdf_12_agrees_up_to_how_many_reifiers_there_are(statement: Tree) -> None:
    line = " ".join(written(part, " ") for part in statement) + " .\n"
    turtle = ox.parse(line.encode(), format=ox.RdfFormat.TURTLE)
    assume(line.count("<<") == len({quad.subject for quad in read([line.encode()]) if quad.predicate == REIFIES}))
    datasets = [ox.Dataset(read([line.encode()])), ox.Dataset(turtle)]
    for dataset in datasets:
        dataset.canonicalize(ox.CanonicalizationAlgorithm.UNSTABLE)
    assert datasets[0] == datasets[1]
