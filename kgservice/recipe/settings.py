"""The tables of a recipe that say what is learnt and how: each setting with its one default, its limits and its help."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kgservice.recipe.template import DEFAULT_TEMPLATE, Template


class Settings(BaseModel):
    """A closed table: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitSettings(Settings):
    """How a graph without splits of its own is split."""

    valid: float = Field(0.05, ge=0, lt=0.5, description="Share of statements held out for validation.")
    test: float = Field(
        0.05, ge=0, lt=0.5, description="Share of statements held out for the test, unless the graph has one."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the split.")


class GraphSettings(Settings):
    """Which graph is learnt."""

    dataset: str | None = Field(None, description="A data set with a manifest under `data/`.")
    sources: tuple[str, ...] = Field(
        (),
        description="Files, folders or globs to ingest, or the folder of one graph that `kgservice ingest` or `split` made; "
        "relative to the recipe.",
    )
    format: str | None = Field(None, description="Format of `sources`; by default told from their names.")
    captions: str | None = Field(
        None,
        description="What images of entities show: JSON lines or Parquet of `entity`, `text` and perhaps `relation`, relative to "
        "the recipe; see `docs/context.md`.",
    )
    filter: Literal["triple", "statement"] = Field(
        "triple",
        description="Which known answers are left out of ranks: those of the same triple, whatever its qualifiers, or those "
        "with the question's qualifiers alone. Both are reported; models are chosen by this one.",
    )
    split: SplitSettings = Field(
        SplitSettings(),
        description="Used where the graph brings no validation split; a test split that it brings is kept.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> GraphSettings:
        if (self.dataset is None) == (not self.sources):
            raise ValueError("give either graph.dataset or graph.sources")
        return self


class DistilSettings(Settings):
    """What a student learns from its teacher where `training.objective = "distil"`."""

    teacher: str = Field("", description="Another model of this recipe, or RELEASE/MODEL, of the same graph.")
    distance: Literal["kl", "reverse-kl", "sinkhorn"] = Field(
        "kl", description="Between the teacher's probabilities and the student's; see `training/distillation.py`."
    )
    share: float = Field(0.5, ge=0, le=1, description="Of the teacher in the loss; the rest is the true answers'.")
    candidates: int = Field(32, ge=2, le=1024, description="The teacher's best per question.")
    temperature: float = Field(
        1.0, gt=0, description="Divides the teacher's scores: above 1 the worse candidates count more."
    )


class TrainingSettings(Settings):
    """How one model is trained."""

    epochs: int = Field(100, ge=0, description="Passes over all training questions.")
    batch_size: int = Field(512, ge=1, description="Distinct questions per step.")
    optimizer: Literal["adagrad", "adam"] = Field("adagrad", description="Update rule.")
    learning_rate: float = Field(0.1, gt=0, description="Step size.")
    learning_rate_decay: float = Field(1.0, gt=0, le=1, description="Factor on the step size after every epoch.")
    weighting: Literal["triples", "questions"] = Field(
        "triples",
        description="`triples`: every true answer counts once, the summed 1-vs-all loss. `questions`: every distinct "
        "question counts once, its answers sharing the weight.",
    )
    answers_at_once: int | None = Field(
        None,
        ge=1,
        description="Answers of one question in a batch at most: one with more comes in several batches, each time with others, "
        "and does not outweigh all else in one; by default all at once. Not with `bce`, which needs all answers of a question.",
    )
    objective: Literal["answers", "distil"] = Field(
        "answers", description="`answers`: the true ones. `distil`: also those of a teacher, see [training.distil]."
    )
    distil: DistilSettings = Field(DistilSettings(), description="See [models.NAME.training.distil].")
    loss: Literal["softmax", "bce", "bce-single"] = Field(
        "softmax",
        description="`softmax`: cross-entropy of each true answer against all entities. `bce`: binary, every entity being an "
        "answer or not. `bce-single`: binary for each true answer alone, the other answers being negative too.",
    )
    margin: float = Field(0.0, description="Added to every score by the binary losses: how far a true answer may lie.")
    negatives: Annotated[int, Field(ge=1)] | Literal["auto", "all"] = Field(
        "auto",
        description="Entities that a batch's questions are compared with: a number drawn anew for every batch, for tables "
        "too large for more; `all`; `auto` is all up to a million entities, 4096 above.",
    )
    negatives_until: float = Field(
        1.0, ge=0, le=1, description="Share of the epochs, the first ones, that draw; the rest take all entities."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target spread evenly over all entities.")
    n3: float = Field(0.0, ge=0, description="Weight of the cubed norm of the rows in use (Lacroix et al. 2018).")
    dura: float = Field(
        0.0,
        ge=0,
        description="Weight of the squared lengths of questions and of their answers (Zhang et al. 2020); for inner products.",
    )
    entity_dropout: float = Field(0.0, ge=0, lt=1, description="Share of coordinates dropped in the anchor's row.")
    candidate_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of coordinates dropped in the rows that compete as answers."
    )
    relation_dropout: float = Field(0.0, ge=0, lt=1, description="Share of coordinates dropped in the relation's row.")
    relation_prediction: float = Field(
        0.0, ge=0, description="Weight of a second loss that predicts the relation (Chen et al. 2021)."
    )
    qualifier_values: bool = Field(
        True, description="Ask for the values of qualifiers too; for scorers that read qualifiers."
    )
    averaging: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the past in a running mean of the weights, taken after every epoch; the mean is what is "
        "validated and kept. 0 keeps the weights themselves.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the matrix products; weights and sums stay float32. `auto`: bfloat16 where it is fast."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$", description="`auto`, `cpu`, `cuda` or `cuda:1`."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of initial weights, order and dropout.")
    evaluate_every: int = Field(5, ge=1, description="Epochs between validations.")
    patience: int = Field(5, ge=1, description="Validations without a better MRR before training stops.")
    validation_limit: int | None = Field(
        None, ge=1, description="Validate on this many statements, drawn once by the seed; all by default."
    )
    splits: tuple[Literal["train", "valid", "context"], ...] = Field(
        ("train",), min_length=1, description="Splits to learn from."
    )

    @model_validator(mode="after")
    def _go_together(self) -> TrainingSettings:
        if self.objective == "distil" and (not self.distil.teacher or self.loss != "softmax"):
            raise ValueError('objective = "distil" needs distil.teacher and loss = "softmax"')
        if self.answers_at_once is not None and (self.loss == "bce" or self.weighting == "questions"):
            raise ValueError('answers_at_once parts a question: not with loss = "bce", nor weighting = "questions"')
        return self


class CalibrationSettings(Settings):
    """How scores become probabilities."""

    method: Literal["auto", "relations", "isotonic", "platt", "none"] = Field(
        "auto",
        description="`relations`: logistic, each relation drawn towards all as its examples are few; `platt`: logistic, one "
        "for all; `isotonic`: one rising line for all; `auto` takes the one with the smallest cross-validated log-loss.",
    )
    precision: float = Field(
        0.9,
        gt=0.5,
        lt=1,
        description="Share of right ones that accepted, and rejected, statements of a relation must reach; between is abstained.",
    )
    width: int = Field(100, ge=2, le=1000, description="Candidates per question that a completion is calibrated over.")
    limit: int = Field(20_000, ge=100, description="Validation statements used at most.")


class WeightsSettings(Settings):
    """Embeddings trained elsewhere, mapped by name onto the graph; with a `path` nothing is trained: see `docs/training.md`."""

    path: str | None = Field(None, description="File or folder of the weights, relative to the recipe.")
    format: Literal["arrays", "pykeen", "libkge"] = Field("arrays", description="Whose layout they have.")
    entities: str | None = Field(
        None,
        description="Entity names in row order: one a line, or a table of number and name; by default beside the weights.",
    )
    relations: str | None = Field(None, description="Relation names, in the same way.")
    missing: Literal["error", "zero", "mean"] = Field(
        "error", description="What entities get that the weights lack: nothing, zeros, or the mean row."
    )
    norm: Literal[1, 2] | None = Field(
        None, description="The norm of a PyKEEN or LibKGE distance model; 2 alone is served, 1 ranks otherwise."
    )
    complex: Literal["halves", "interleaved"] = Field(
        "halves", description="`arrays`: real parts first, or real and imaginary parts in turn."
    )
    inverses: Literal["last", "odd"] = Field(
        "last",
        description="`arrays`: where the rows of inverse relations are, if there are twice as many rows as names.",
    )
    transposed: bool = Field(False, description="`arrays`, RESCAL: the matrices score oᵀ R s.")


class TransformerSettings(Settings):
    """The sequence encoder of a model that reads qualifiers."""

    layers: int = Field(2, ge=1, description="Of attention and feed-forward.")
    heads: int = Field(4, ge=1, description="Of attention; they share the width.")
    hidden: int = Field(0, ge=0, description="Width of the feed-forward, or of each expert; 0 is four times the width.")
    experts: int = Field(
        0, ge=0, description="Feed-forwards of which every token takes the best two; 0 is a single one."
    )
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of coordinates dropped in what enters.")
    dropout: float = Field(0.1, ge=0, lt=1, description="The same in attention and after every part.")
    pair_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a question's pairs hidden in training, so that it learns to do with some.",
    )
    qualifiers: int = Field(6, ge=0, description="Pairs read of a question, the rest is cut; 0 is blind to them.")
    roles: bool = Field(
        True,
        description="Tokens know their place in the statement and values their relation. Without, relation and value of a "
        "pair are two tokens that know neither, as HyperFormer was published.",
    )
    neighbours: int = Field(
        0, ge=0, description="Facts of the known entity drawn beside each question, in training; 3 as published."
    )
    aggregation: Literal["none", "distmult", "transe", "complex", "rotate"] = Field(
        "none", description="How relation and value of each pair become one vector that meets the relation."
    )
    interaction: bool = Field(
        False, description="A convolution over entity, relation and qualifiers, and a second pass, in training."
    )


class TextSettings(Settings):
    """What a text scorer reads of an entity, and what it makes of that."""

    template: str = Field(
        DEFAULT_TEMPLATE,
        description="The text of an entity from {label}, {description}, {types} and {aliases}; a part in square brackets is "
        "left out where a field in it is empty.",
    )
    language: str = Field("en", description="Of the texts, where there is one in it.")
    encoder: str = Field(
        "all-MiniLM-L6-v2",
        description="A sentence-transformers model or folder, kept as it is; `random`, a random vector per word; or `none`.",
    )
    words: int = Field(512, ge=0, description="Directions of TF-IDF over the words, beside the encoder's; 0 is none.")
    hidden: int = Field(512, ge=1, description="Width of the layer between what is read and an entity's vector.")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of coordinates dropped in what is read.")
    dropout: float = Field(0.2, ge=0, lt=1, description="The same in that layer.")

    @field_validator("template")
    @classmethod
    def _readable(cls, template: str) -> str:
        Template.parse(template)
        return template


class ContextSettings(Settings):
    """What a model reads around an entity, and how it writes names; see `docs/context.md`."""

    segments: tuple[Literal["description", "hint", "visual", "neighbour-visual", "neighbours"], ...] = Field(
        ("description", "hint", "visual", "neighbour-visual", "neighbours"),
        description="Parts of a context beside the question: what is said of the entity, usual answers, what its images and "
        "those of its neighbours show, facts.",
    )
    language: str = Field("en", description="Of names and texts, where there is one in it.")
    vocabulary: int = Field(4096, ge=1, description="Tokens, learnt from the graph's own names and texts.")
    tokens: int = Field(
        96, ge=16, le=2048, description="Of a context at most; neighbours that do not fit are left out."
    )
    description_tokens: int = Field(24, ge=1, description="Of a description or hint at most.")
    visual_tokens: int = Field(16, ge=1, description="Of a visual text at most.")
    neighbours: int = Field(8, ge=0, le=100, description="Facts of a context at most, those that matter most.")
    spread: float = Field(
        1.0, ge=0, description="Noise on what matters, in training: 0 reads the same facts in every epoch."
    )
    layers: int = Field(2, ge=1, description="Of the encoder.")
    decoder_layers: int = Field(1, ge=1, description="Of the decoder.")
    heads: int = Field(4, ge=1, description="Of attention; they share the width.")
    hidden: int = Field(0, ge=0, description="Width of the feed-forwards; 0 is twice the width.")
    gated: bool = Field(True, description="Feed-forwards with a gate, as in T5 1.1.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of coordinates dropped in every part.")
    pretrained: str = Field(
        "",
        description="Folder of a T5 model as `transformers` saves one, whose weights and tokens training begins with; sizes and "
        "vocabulary must be its own, and an error names those that are not.",
    )
    structure: int = Field(
        0, ge=0, description="Reals of a row per entity beside what is read, folded as by ComplEx; 0 is none."
    )
    encoder: str = Field(
        "none", description="A sentence encoder whose vectors of names and descriptions are fused; or `none`."
    )
    features: str = Field(
        "", description="Parquet file of vectors of another kind (`entity`, `vector`), fused by a gate."
    )
    features_width: int = Field(0, ge=0, description="Reals of each of them; 0 is none.")
    generation: float = Field(1.0, ge=0, description="Weight of writing the answer's name in the loss.")
    answers: Literal["both", "vectors", "names"] = Field(
        "both",
        description="`vectors` find candidates; `both`: the best of them are ordered by their names too; `names`: every entity's "
        "name is scored, exactly.",
    )
    rescored: int = Field(32, ge=1, le=1000, description="Candidates whose names are scored, for `both`.")
    share: float = Field(
        0.5, ge=0, description="What a name's log-probability counts beside the score by vectors, for `both`."
    )

    @model_validator(mode="after")
    def _go_together(self) -> ContextSettings:
        if bool(self.features) != bool(self.features_width):
            raise ValueError("features and features_width are given together")
        if self.answers != "vectors" and not self.generation:
            raise ValueError(f'answers = "{self.answers}" needs generation above 0: names are not learnt otherwise')
        return self


class ModelSettings(Settings):
    """One model of a release."""

    like: str = Field(
        "", exclude=True, description="Another model of this recipe: its settings, but for those that this table gives."
    )
    scorer: str = Field("complex", description="A registered scorer: see `kgservice.scorers`.")
    width: int = Field(200, ge=2, description="Reals per entity.")
    initial_scale: float = Field(0.01, gt=0, description="Standard deviation of the initial weights.")
    reciprocal: bool = Field(True, description="Give every inverse relation a row of its own.")
    transformer: TransformerSettings = Field(TransformerSettings(), description="See [models.NAME.transformer].")
    text: TextSettings = Field(TextSettings(), description="See [models.NAME.text].")
    context: ContextSettings = Field(ContextSettings(), description="See [models.NAME.context].")
    index: str = Field(
        "exact",
        description="`exact`, a FAISS factory string such as `IVF256,SQ8`, or `milvus:HNSW,M=16,efConstruction=200;ef=64`.",
    )
    training: TrainingSettings = Field(TrainingSettings(), description="See [models.NAME.training].")
    calibration: CalibrationSettings = Field(CalibrationSettings(), description="See [models.NAME.calibration].")
    weights: WeightsSettings = Field(WeightsSettings(), description="See [models.NAME.weights].")


class SearchSettings(Settings):
    """Entity search."""

    encoder: str = Field("all-MiniLM-L6-v2", description="A sentence-transformers model or folder, or `none`.")
