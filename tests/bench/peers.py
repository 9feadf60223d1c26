"""PyKEEN and torch_geometric as they train: settings tried, loops, and their weights in our scorer and back."""

from __future__ import annotations

import contextlib
import functools
import warnings
from typing import Any

import torch

from kgservice import datasets
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.scorers.bilinear import ComplEx
from tests.bench.protocol import INITIAL_SCALE, SEED, WIDTH, Clock, Settings, Task, triples

BUDGET_S = {"pykeen": 240.0, "torch_geometric": 60.0}
"""A peer's run ends with the epoch in which it has trained so long."""

LOSSES = ("crossentropy", "softplus", "bcewithlogits")
OPTIMIZERS = (("adagrad", 0.1), ("adam", 0.01), ("adam", 0.001))
LCWA_FIRST: list[Settings] = [
    {"loop": "lcwa", "loss": loss, "optimizer": optimizer, "learning_rate": rate, "batch_size": 512}
    for loss in LOSSES
    for optimizer, rate in OPTIMIZERS
]
LCWA_BATCHES = (128, 256, 1024)
"""Tried with the best of `LCWA_FIRST`."""
SLCWA: list[Settings] = [
    {
        "loop": "slcwa",
        "loss": "softplus",
        "optimizer": "adagrad",
        "learning_rate": 0.1,
        "batch_size": 1024,
        "negatives": 1,
    },
    {
        "loop": "slcwa",
        "loss": "softplus",
        "optimizer": "adam",
        "learning_rate": 0.01,
        "batch_size": 1024,
        "negatives": 1,
    },
    {
        "loop": "slcwa",
        "loss": "crossentropy",
        "optimizer": "adagrad",
        "learning_rate": 0.1,
        "batch_size": 512,
        "negatives": 16,
    },
    {"loop": "slcwa", "loss": "nssa", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 512, "negatives": 16},
]
DEFAULT: Settings = {"loop": "lcwa", "loss": "softplus", "optimizer": "adam", "learning_rate": 0.001, "batch_size": 256}
"""What PyKEEN does unless it is told otherwise, its initial weights and penalty included."""

PYG: list[Settings] = [
    {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.0, "batch_size": 1000},
    {"optimizer": "adam", "learning_rate": 0.001, "weight_decay": 0.0, "batch_size": 1000},
    {"optimizer": "adagrad", "learning_rate": 0.1, "weight_decay": 0.0, "batch_size": 1000},
    {"optimizer": "adagrad", "learning_rate": 0.001, "weight_decay": 1e-6, "batch_size": 1000},
]
"""torch_geometric, whose loss has one negative a statement; the last is what its own example does."""
PYG_EPOCHS = 10
"""So many times the epochs of the others, which see all entities in every step; each is validated."""


class BudgetSpent(Exception):
    """Leaves PyKEEN's loop."""


def run_pykeen(task: Task) -> dict[str, Any]:
    """PyKEEN's loop with its weights measured by our `rank`."""
    from pykeen.training import TrainingCallback

    graph = datasets.load(task["dataset"])
    settings: Settings = task["settings"]
    warnings.filterwarnings("ignore")
    torch.set_float32_matmul_precision("medium")
    factory, model = pykeen_model(graph, settings)
    scorer = ComplEx(graph.n, graph.r, width=WIDTH, reciprocal=factory.create_inverse_triples)
    clock = Clock(lambda: rank(pykeen_export(model, scorer), graph, Split.VALID).figures()["mrr"])

    class Timer(TrainingCallback):  # type: ignore[misc]
        def pre_batch(self, **_: Any) -> None:
            clock.start()  # of the first batch: setting up is not counted

        def post_epoch(self, **_: Any) -> None:
            clock.stop()
            self.model.train()
            if sum(epoch["duration_s"] for epoch in clock.epochs) > BUDGET_S["pykeen"]:
                raise BudgetSpent

    kind = torch.optim.Adagrad if settings["optimizer"] == "adagrad" else torch.optim.Adam
    optimizer = kind(model.get_grad_params(), lr=settings["learning_rate"], fused=True)
    with contextlib.suppress(BudgetSpent):
        _loop(model, factory, optimizer, settings).train(
            triples_factory=factory,
            num_epochs=task["epochs"],
            batch_size=settings["batch_size"],
            use_tqdm=False,
            pin_memory=False,
            callbacks=Timer(),
        )
    return clock.result(settings)


def pykeen_model(graph: KnowledgeGraph, settings: Settings) -> tuple[Any, Any]:
    """Its triples and its ComplEx of `WIDTH` reals."""
    from pykeen import models
    from pykeen.triples import CoreTriplesFactory

    factory = CoreTriplesFactory(
        triples(graph, Split.TRAIN),
        num_entities=graph.n,
        num_relations=graph.r,
        create_inverse_triples=True,
    )
    better: dict[str, Any] = {}
    if not settings.get("defaults"):  # its own initial weights have variance one, and a penalty
        small = functools.partial(torch.nn.init.normal_, std=INITIAL_SCALE)
        better = {"entity_initializer": small, "relation_initializer": small, "regularizer": None}
    model = models.ComplEx(
        triples_factory=factory, embedding_dim=WIDTH // 2, loss=settings["loss"], random_seed=SEED, **better
    )
    return factory, model


def _loop(model: Any, factory: Any, optimizer: Any, settings: Settings) -> Any:
    from pykeen.training import LCWATrainingLoop, SLCWATrainingLoop

    parts = {"model": model, "triples_factory": factory, "optimizer": optimizer}
    if settings["loop"] == "lcwa":
        return LCWATrainingLoop(**parts)
    return SLCWATrainingLoop(**parts, negative_sampler_kwargs={"num_negs_per_pos": settings["negatives"]})


def pykeen_export(model: Any, scorer: ComplEx) -> ComplEx:
    """PyKEEN's weights in our scorer: real parts first, and all inverse relations after all direct ones."""
    with torch.no_grad():
        for ours, theirs in (
            (scorer.entity, model.entity_representations[0]()),
            (scorer.relation, model.relation_representations[0]()),
        ):
            rows = torch.cat([theirs.real, theirs.imag], dim=1)
            if ours is scorer.relation and scorer.reciprocal:
                rows = torch.cat([rows[0::2], rows[1::2]])
            ours.data = rows.clone()
    return scorer.eval()


def pykeen_import(scorer: Any, model: Any) -> None:
    """Our weights into PyKEEN's model: the reverse of `pykeen_export`."""
    half = WIDTH // 2
    entity = scorer.entity.detach()
    direct, inverse = scorer.relation.detach().chunk(2)
    relation = torch.stack([direct, inverse], dim=1).reshape(-1, WIDTH)
    for rows, theirs in ((entity, model.entity_representations[0]), (relation, model.relation_representations[0])):
        pairs = torch.stack([rows[:, :half], rows[:, half:]], dim=2)  # [., half, (real, imaginary)]
        theirs._embeddings.weight.data = pairs.reshape(theirs._embeddings.weight.shape).clone()


def run_pyg(task: Task) -> dict[str, Any]:
    """torch_geometric's model, loader and loss, with its weights measured by our `rank`."""
    graph = datasets.load(task["dataset"])
    settings: Settings = task["settings"]
    torch.manual_seed(SEED)
    model = pyg_model(graph)
    kind = torch.optim.Adagrad if settings["optimizer"] == "adagrad" else torch.optim.Adam
    optimizer = kind(
        model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"], fused=True
    )
    loader = model.loader(*triples(graph, Split.TRAIN).T, batch_size=settings["batch_size"], shuffle=True)
    scorer = ComplEx(graph.n, graph.r, width=WIDTH, reciprocal=False)
    clock = Clock(lambda: rank(pyg_export(model, scorer), graph, Split.VALID).figures()["mrr"])
    for _ in range(PYG_EPOCHS * task["epochs"]):
        clock.start()
        for batch in loader:
            optimizer.zero_grad()
            model.loss(*batch).backward()
            optimizer.step()
        clock.stop()
        if sum(epoch["duration_s"] for epoch in clock.epochs) > BUDGET_S["torch_geometric"]:
            break
    return clock.result(settings)


def pyg_model(graph: KnowledgeGraph) -> Any:
    """Its ComplEx of `WIDTH` reals, initialised its own way: about as small as ours; it has no rows for inverse relations."""
    from torch_geometric.nn.kge import ComplEx as Theirs

    return Theirs(graph.n, graph.r, hidden_channels=WIDTH // 2)


def pyg_export(model: Any, scorer: ComplEx) -> ComplEx:
    """torch_geometric's weights in our scorer without rows for inverse relations."""
    with torch.no_grad():
        scorer.entity.copy_(torch.cat([model.node_emb.weight, model.node_emb_im.weight], dim=1))
        scorer.relation.copy_(torch.cat([model.rel_emb.weight, model.rel_emb_im.weight], dim=1))
    return scorer.eval()


def pyg_import(scorer: ComplEx, model: Any) -> None:
    """Our entities and direct relations in torch_geometric's model."""
    with torch.no_grad():
        for rows, real, imaginary in (
            (scorer.entity, model.node_emb, model.node_emb_im),
            (scorer.relation[: scorer.r], model.rel_emb, model.rel_emb_im),
        ):
            real.weight.copy_(rows[:, : WIDTH // 2])
            imaginary.weight.copy_(rows[:, WIDTH // 2 :])
