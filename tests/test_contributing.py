"""The code of CONTRIBUTING.md does what it is said to do, where it is said to be put."""

from __future__ import annotations

import importlib.util
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from kgservice import readers, scorers
from kgservice.engine import Engine
from kgservice.errors import MalformedStatement
from kgservice.ingestion import ingest
from kgservice.query import QueryBatch
from kgservice.readers import Format
from kgservice.recipe import ModelSettings
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings

TEXT = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def added(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the section of a name writes."""
    part = TEXT.partition(f"### {request.param}\n")[2]
    code = textwrap.dedent(re.search(r" *```python\n(.*?)\n *```", part, flags=re.DOTALL)[1])
    path = tmp_path / "added.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"kgservice.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("added", ["A scorer"], indirect=True)
def test_a_scorer(added: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    line = re.search(r'`"(\w+)": "kgservice\.scorers\.\w+:(\w+)"`', TEXT)
    monkeypatch.setitem(scorers.SCORERS, line[1], f"{added.__name__}:{line[2]}")
    scorer = scorers.build(ModelSettings(scorer=line[1], width=4, initial_scale=1.0), n=5, r=2)
    s, r = scorer.entity[3], scorer.relation[1]
    scores = scorer.scores(QueryBatch.objects(np.array([3]), np.array([1])))
    torch.testing.assert_close(scores[0], scorer.entity @ (s * r))


@pytest.mark.parametrize("added", ["A format"], indirect=True)
def test_a_format(added: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = re.search(r'`"(\w+)": (Format\(.*\))`', TEXT)
    found = eval(line[2], {"Format": Format, line[1]: added})
    monkeypatch.setitem(readers.FORMATS, line[1], found)
    path = tmp_path / f"some{found.suffixes[0]}"
    path.write_text("a -> knows -> b\nb -> knows -> c\n", encoding="utf-8")
    ingest([path], tmp_path / "graph")
    assert len(ingest([path], tmp_path / "graph").statements) == 2
    path.write_text("a -> knows -> b\nb knows c\n", encoding="utf-8")
    with pytest.raises(MalformedStatement, match=r"some.arrows:2: expected a -> r -> b, found 'b knows c'"):
        ingest([path], tmp_path / "graph")


@pytest.mark.parametrize("added", ["An endpoint"], indirect=True)
def test_an_endpoint(added: ModuleType, engine: Engine, tmp_path: Path) -> None:
    app = create_app(engine, ServerSettings(home=tmp_path))
    app.include_router(added.router)
    with TestClient(app) as client:
        answer = client.get("/v1/counts").json()
        operation = client.get("/openapi.json").json()["paths"]["/v1/counts"]["get"]
    assert answer == {
        "release": engine.release_name,
        "entities": engine.graph.n,
        "statements": len(engine.graph.statements),
    }
    assert {"200", "503"} <= set(operation["responses"])
