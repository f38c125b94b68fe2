"""A model card: a page of Markdown with the YAML header that Hugging Face's hub reads.

The header's fields are those of huggingface.co/docs/hub/model-cards. A text in YAML is written as
JSON writes it, which is a double-quoted scalar of YAML.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from attn_cli.info.description import Description
from attn_cli.info.given import without_folders
from attn_cli.info.text import figure, printable

# Task -> the pipeline_tag of the hub. A detector of replaced tokens has none there.
_PIPELINES = {
    "translate": "translation",
    "mask-predict": "translation",
    "continue": "text-generation",
    "fill": "fill-mask",
    "nodes": "graph-ml",
    "recordings": "audio-classification",
}
# Source -> the same, where a line names a file.
_OF_SOURCES = {"image": "image-to-text", "audio": "automatic-speech-recognition"}
_OF_HEADS = {
    "classify": "text-classification",
    "pair": "text-classification",
    "multilabel": "text-classification",
    "regress": "sentence-similarity",
    "rate": "text-classification",
    "choice": "multiple-choice",
    "tag": "token-classification",
    "qa": "question-answering",
}
_NO_METRICS = {"loss"}  # figures that compare nothing but runs of one training
_RUNS = {  # task -> how it is run; of other tasks as decode reads lines
    "fill": "attn embed -m {0} < lines.txt",
    "nodes": "attn decode GRAPH -m {0}",
}


@dataclass(frozen=True)
class CardFields:
    """What a card says that no file of the model says.

    Attributes:
        name: of the model.
        languages: codes of what it reads and writes.
        license: the identifier of its licence; "": none is stated.
    """

    name: str
    languages: tuple[str, ...] = ()
    license: str = ""


def card(
    description: Description, fields: CardFields, called: str, rows: list[tuple[str, str]]
) -> str:
    """The text of a model card.

    Args:
        description: of a model directory.
        fields: what else it says.
        called: what the model is, in words.
        rows: names and values of the description; see `text.described`.
    """
    config = description.config
    task = config["task"] if config else ""
    header = "\n".join(_header(description, fields, task))
    if description.is_bare:
        task = "fill"
    place = shlex.quote(printable(description.path.resolve().name))
    run = _RUNS.get(task, "attn decode -m {0} < lines.txt").format(place)
    body = [f"# {_plain(fields.name)}", "", f"{called[:1].upper()}{called[1:]}, made with attn."]
    best = description.curve.best
    if best:
        body += ["", "## Figures", "", f"Of the validation at step {best['step']:,}.", ""]
        body += ["| figure | value |", "| --- | --- |"]
        body += [f"| {_plain(k)} | {figure(v)} |" for k, v in description.best_figures.items()]
    body += ["", "## Run it", "", "```sh", run, "```"]
    body += ["", "## What is in it", "", "| part | |", "| --- | --- |"]
    body += [f"| {name} | {_plain(value)} |" for name, value in rows if name in _SHOWN]
    if description.given.command:
        flags = " ".join(without_folders(description.given))
        command = printable(f"attn {description.given.command} {flags}".rstrip())
        body += ["", "## Trained by", "", "```sh", command.replace("```", ""), "```"]
    return f"---\n{header}\n---\n\n" + "\n".join(body) + "\n"


_SHOWN = {
    *("task", "head", "architecture", "parameters", "part", "tokenizer", "of source", "of target"),
    *("trained on", "note"),
}


def _header(description: Description, fields: CardFields, task: str) -> Iterator[str]:
    if fields.languages:
        yield "language:"
        yield from (f"- {_yaml(code)}" for code in fields.languages)
    if fields.license:
        yield f"license: {_yaml(fields.license)}"
    yield "library_name: attn"
    pipeline = _pipeline(description, task)
    if pipeline:
        yield f"pipeline_tag: {pipeline}"
    yield "tags:"
    config = description.config
    tags = ("attn", config["arch"] if config else "", task, *(h.task for h in description.heads))
    yield from (f"- {_yaml(tag)}" for tag in dict.fromkeys(tags) if tag)
    figures = {k: v for k, v in description.best_figures.items() if k not in _NO_METRICS}
    if not figures:
        return
    yield "metrics:"
    yield from (f"- {_yaml(name)}" for name in figures)
    if pipeline:
        yield from _results(fields.name, pipeline, figures)


def _results(name: str, pipeline: str, figures: Mapping[str, float]) -> Iterator[str]:
    """The figures as the hub's `model-index`."""
    yield "model-index:"
    yield f"- name: {_yaml(name)}"
    yield "  results:"
    yield "  - task:"
    yield f"      type: {pipeline}"
    yield "    dataset:"
    yield "      name: validation part of the training's data"
    yield "      type: validation"
    yield "    metrics:"
    for metric, value in figures.items():
        yield f"    - type: {_yaml(metric)}"
        yield f"      value: {figure(value)}"


def _pipeline(description: Description, task: str) -> str:
    config = description.config
    source = config["model"].get("source", "text") if config else "text"
    if source in _OF_SOURCES and _PIPELINES.get(task) == "translation":
        return _OF_SOURCES[source]
    if description.is_bare:
        pools = config is not None and "embedding" in config["options"]
        return "sentence-similarity" if pools else "feature-extraction"
    heads = [_OF_HEADS[head.task] for head in description.heads if head.task in _OF_HEADS]
    return _PIPELINES.get(task) or (heads[0] if heads else "")


def _yaml(text: str) -> str:
    return json.dumps(printable(text), ensure_ascii=False)


def _plain(text: str) -> str:
    """A text in a table of Markdown."""
    return printable(text).replace("|", "\\|").replace("<", "&lt;")
