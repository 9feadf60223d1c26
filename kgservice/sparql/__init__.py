"""SPARQL 1.1 over the graph of a release: its statements as RDF 1.2, asked in processes that can be killed.

`dataset` writes the graph as N-Triples; `worker` loads and asks it with Oxigraph in a process of its own, and `frames` are
what is said to it; `pool` keeps such processes; `predicted` answers `SERVICE kg:complete` from the engine; `inserting` reads
`INSERT DATA` as entities to put; `endpoint` puts them together.
"""
