"""A narrow student that begins as the projection of its teacher: training mends what width took instead of starting anew."""

from __future__ import annotations

import torch
from torch import Tensor

from kgservice.graph import KnowledgeGraph
from kgservice.scorers.base import VectorScorer
from kgservice.scorers.bilinear import RESCAL, ComplEx, DistMult, SimplE
from kgservice.scorers.embedding import EmbeddingScorer

BILINEAR = (ComplEx, DistMult, RESCAL, SimplE)


def start_projected(student: VectorScorer, teacher: VectorScorer, graph: KnowledgeGraph) -> bool:
    """Give a RESCAL student the rows that come nearest to a wider bilinear teacher's.

    A bilinear score is hᵀ R o for some matrix R of each relation. With P the principal directions of the teacher's entities, as
    many as the student is wide and frequent entities counting more, h ≈ P h' and so R' = Pᵀ R P: what is lost is what lies
    outside of these directions.

    Args:
        student: changed in place, if it is RESCAL.
        teacher: of the same graph and with as many relation rows.
        graph: tells how frequent entities are.

    Returns:
        True if the student begins so; false if either is of another kind, or the teacher is not wider.
    """
    if not (isinstance(student, RESCAL) and isinstance(teacher, BILINEAR)):
        return False
    wide, narrow = teacher.entity.detach().float(), student.width
    if teacher.width <= narrow or teacher.relation.shape[0] != student.relation.shape[0]:
        return False
    weight = torch.from_numpy(graph.degree.astype("float32")).to(wide.device).add_(1)
    directions = torch.linalg.eigh((wide * weight.unsqueeze(1)).T @ wide).eigenvectors[:, -narrow:]
    with torch.no_grad():
        student.entity.copy_(wide @ directions)
        for row, relation in enumerate(teacher.relation.detach().float()):
            student.relation[row] = _folded(teacher, directions, relation).flatten()
    return True


def _folded(teacher: EmbeddingScorer, directions: Tensor, relation: Tensor) -> Tensor:
    """float32 `[narrow, narrow]`: Pᵀ R P, by what the teacher makes of the directions as anchors."""
    anchors = directions.T.contiguous()
    return teacher.fold(anchors, relation.expand(len(anchors), -1)) @ directions
