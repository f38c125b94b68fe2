"""attn: train, run and measure attention models from a shell, or from Python.

    import attn_cli

    model = attn_cli.load("attn-model")
    translations = model.decode(["The cat sleeps.", "She sings."], beam_size=5)

`load` gives a `Model`: `decode`, `score`, `embed`, `attend`. `train_mt`, `pretrain` and `finetune`
train one, `score_corpus` measures. What is said is an `AttnWarning`, what fails an `AttnError`.
`help(attn_cli.load)` and `help(attn_cli.Model)` begin with examples.

For whoever carries on: the rooms of this package, who may import whom, and where things go.
`tests/system/test_house.py` holds the arrows, and says of a wrong import where the thing belongs.

    api/          the same from Python: a model that is held, the trainings, scores
    cli/          the front desk: commands that parse, call and print; help, Tab, exit codes
    serve/        the web: routes, and batches of what they ask the systems' decoders
    systems/      what attn does, a folder each; no folder knows another, but `generation`
        base.py       System, and SYSTEMS: what is done with models of each task, imported late
        recipe.py     what recipes of all systems share: index, hold out, tokenizer, limits, plan
        suited.py     what suits a corpus: batch, warm-up, length of a run, by rules for all systems
        generation/   what systems that write texts share: generator, line decoder, scorer
        translation/  pairs of lines: texts, images, recordings; every criterion; mask-predict
        pretraining/  plain text: masked, causal and bidirectional language models
        tasks/        labelled texts: a class a task, several tasks over one backbone
        recordings/   labelled recordings; it knows what `translation` reads, how `tasks` labels
        nodes/        labelled nodes of a graph
    train/        the loop: a Recipe's plan to a finished directory; resuming, averaging, processes
    search/       beam search and sampling over a step function and a state
    viz/          maps of attention as pictures, pages, tables, shades
    metrics/      texts and labels against references
    embed/        vectors of lines, words and tokens
    check/        data before training: leaks between parts, duplicates, odd lines
    convert/      other projects' models; ours averaged, trimmed, in fewer bits
    info/         what is in a model directory: described, as a card; without PyTorch
    markup/       files with texts in them (pages, subtitles): found, and put back translated
    models/       assemblies of layers, a file a family, each with its Config; model directories
    nn/           layers and formulas, a class an idea, with paper and equation
    data/         corpora, batches, splits, padding, images, sound, labels, input templates
    tokenizers/   text to tokens and back
    lines/        the stream contract: `rows.py` is the one loop that reads lines
    config/       every option of a user: declared once, with its help, choices and bounds

Arrows: `cli -> serve -> systems -> {train, search, viz, metrics, embed, convert, check, info,
markup} -> {models, data} -> {nn, tokenizers, lines} -> config`; `api` stands where `cli` does. The
engines know no system; `search` imports `config` alone, `check` and `metrics` `lines` too, `viz` no
model, `train` of the models the files alone that save them. Files beside the rooms (`errors.py`,
`files.py`, ...) are for all. Contracts are abstract classes: nothing is asked what it has.
Importing this module, `api/`, `cli/` or `config/` loads no PyTorch.

Where to put what, and the existing files that a new one edits:

- a sequence-to-sequence architecture: a `Seq2SeqModel` (`models/seq2seq_base.py`) in a file of
  `models/`; a row in `models/__init__.py`; its options, and its row of VARIANTS, in
  `config/seq2seq.py`. Search, ensembles, scores and pictures then work.
- a backbone: a `Backbone` (`models/backbone.py`) likewise, a row of BACKBONES there, its name in
  `config/finetuning.py`. Another way to join texts is a class and a row in `data/templates.py`.
- a task: a `Task` (`systems/tasks/base.py`) in a file beside it, a row of TASKS in
  `systems/tasks/__init__.py`.
- an objective of pre-training: a file in `systems/pretraining/`, a row in its `objectives.py`, the
  name in `config/pretraining.py`.
- a source of translation: a `SourceSide` and a `TrainingSources`
  (`systems/translation/source_base.py`) in one file, a row in `sources.py`; its options and what a
  saved model knows of it in a file of `config/`, a row in `config/source.py`; what makes vectors
  of it in `nn/`, a row in `models/source_embeddings.py`.
- a score function: a `Score` and a row in `nn/scores.py`, its name in `config/attention.py`. A
  position scheme: likewise in `nn/positions.py`.
- an option: a field of the dataclass of its group in `config/`, and the place that reads it.
- another project's format: a file in `convert/`, a row of READERS or WRITERS in its `formats.py`,
  what `--to` calls it in `config/converting.py`. What becomes of a model of ours: a row of OURS.
- a kind of file for `decode --markup`: a reader in `markup/`, a row of READERS in
  `systems/generation/markup.py`, its name in `config/decoding.py`.
- what `check` finds: a row of FINDINGS in `check/findings.py`, and what marks it in `part.py`.
- a metric: a `CountMetric` (`metrics/base.py`), a row in `metrics/__init__.py`, a field in
  `config/scoring.py`.
- what is made of maps: a `Sink` (`viz/job.py`) and a row of SINKS there.
- a route of `serve`: a method of the class in `serve/` whose clients ask it, a row of its `routes`.
- a system: a folder with a recipe, a decoder and maps, a row of SYSTEMS in `systems/base.py`; its
  model's row in `models/__init__.py`; a command in `cli/`, a line of COMMANDS in `cli/__init__.py`.

Tests stand in the same rooms.
"""

from __future__ import annotations

__version__ = "0.1.0"

# Name -> where it stands: imported when it is asked for. `__init__.pyi` says so to type checkers.
_PLACES = {
    "load": "attn_cli.api.model",
    "Model": "attn_cli.api.model",
    "Output": "attn_cli.api.outputs",
    "LineScore": "attn_cli.api.outputs",
    "UnitVectors": "attn_cli.api.outputs",
    "Attention": "attn_cli.api.outputs",
    "train_mt": "attn_cli.api.training",
    "pretrain": "attn_cli.api.training",
    "finetune": "attn_cli.api.training",
    "TrainMtCommand": "attn_cli.config.translation",
    "PretrainCommand": "attn_cli.config.pretraining",
    "FinetuneCommand": "attn_cli.config.finetuning",
    "score_corpus": "attn_cli.api.scoring",
    "Score": "attn_cli.metrics.base",
    "AttnWarning": "attn_cli.api.speaking",
    "AttnError": "attn_cli.errors",
    "UsageError": "attn_cli.errors",
    "DataError": "attn_cli.errors",
    "NotThereError": "attn_cli.errors",
    "InterruptedTrainingError": "attn_cli.errors",
}
__all__ = ["__version__", *_PLACES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    """What stands elsewhere in the package, as `attn_cli.load`."""
    if name not in _PLACES:
        raise AttributeError(f"module 'attn_cli' has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = found = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    """The names of the package, whether imported or not."""
    return sorted({*globals(), *_PLACES})
