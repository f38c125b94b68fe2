"""Graph attention as a user trains and runs it: `finetune --task nodes`, `decode GRAPH`."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from program import COMMAND, ENVIRONMENT, attn, inside

from attn_cli.config.command import resolve
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.training import TrainingOptions
from attn_cli.errors import AttnError
from attn_cli.models.directory import load_model, write_weights
from attn_cli.systems.nodes.recipe import NodeBatch, NodeValidation, node_losses
from attn_cli.train.checkpoints import Checkpoints
from attn_cli.train.optim import build_optimizers
from attn_cli.train.spread import Spread

N_NODES, N_LABELS = 90, 3
QUICK = ("--task", "nodes", "--threads", 1, "--device", "cpu", "--d-head", 4, "--n-heads", 2)
LEARN = (*QUICK, "--max-steps", 60, "--lr", 0.03, "--dropout", 0.2)


def write_communities(folder: Path, *, several: bool = False) -> Path:
    """Nodes of three communities; features tell little, neighbours tell the rest."""
    folder.mkdir()
    rng = random.Random(4)
    lines, edges = ["node\tlabel\tsplit\tfeatures"], ["node_u\tnode_v"]
    for node in range(N_NODES):
        own = node % N_LABELS
        label = "ABC"[own] + (",big" if several and own < 2 else "")
        split = ("train", "val", "test", "test")[node // N_LABELS % 4]
        word = own if rng.random() < 0.5 else rng.randrange(N_LABELS)
        features = {word, 3 + node % 2} | {rng.randrange(5, 30)}
        lines.append(f"n{node}\t{label}\t{split}\t{' '.join(map(str, sorted(features)))}")
        for _ in range(4):
            other = rng.randrange(N_NODES // N_LABELS) * N_LABELS
            other += own if rng.random() < 0.9 else rng.randrange(N_LABELS)
            edges.append(f"n{node}\tn{other % N_NODES}")
    (folder / "nodes.tsv").write_text("\n".join(lines) + "\n")
    (folder / "edges.tsv").write_text("\n".join(edges) + "\n")
    return folder


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_communities(tmp_path_factory.mktemp("g") / "graph")


@pytest.fixture(scope="module")
def model(graph: Path) -> Path:
    output = graph.parent / "model"
    run = inside("finetune", graph, *LEARN, "-o", output)
    assert run.lines == [str(output)]
    return output


def gold(graph: Path, split: str) -> dict[str, str]:
    rows = [line.split("\t") for line in (graph / "nodes.tsv").read_text().split("\n")[1:-1]]
    return {row[0]: row[1] for row in rows if row[2] == split}


def test_it_learns_what_features_alone_do_not_tell(graph: Path, model: Path) -> None:
    answers = dict(line.split("\t") for line in attn("decode", graph, "-m", model).lines)
    assert list(answers) == [f"n{node}" for node in range(N_NODES)], "every node, in order"
    test = gold(graph, "test")
    right = sum(answers[node] == label for node, label in test.items())
    assert right / len(test) >= 0.85  # the features of a node alone: two thirds


def test_decode_gives_probabilities_and_json_and_takes_nodes_tsv(graph: Path, model: Path) -> None:
    plain = inside("decode", graph / "nodes.tsv", "-m", model).lines
    scored = [line.split("\t") for line in inside("decode", "--scores", graph, "-m", model).lines]
    assert ["\t".join(fields[:2]) for fields in scored] == plain
    assert all(1 / N_LABELS <= float(fields[2]) <= 1 for fields in scored)
    found = [
        json.loads(line) for line in inside("decode", "--format", "json", graph, "-m", model).lines
    ]
    assert [f"{one['node']}\t{one['answer']}" for one in found] == plain


def test_a_bad_line_gives_an_empty_line_and_takes_no_other_with_it(
    graph: Path, model: Path, tmp_path: Path
) -> None:
    lines = (graph / "nodes.tsv").read_text().split("\n")
    lines[5] = "n4\tA\ttest\t1:nan"
    (tmp_path / "nodes.tsv").write_text("\n".join(lines))
    (tmp_path / "edges.tsv").write_text("node_u\tnode_v\nn0\tn3\n")
    run = inside("decode", tmp_path, "-m", model, status=3)
    assert f"{tmp_path / 'nodes.tsv'}:6: feature '1:nan'" in run.said
    assert len(run.lines) == N_NODES
    assert [number for number, line in enumerate(run.lines) if not line] == [4]
    assert inside("decode", "--skip-bad", tmp_path, "-m", model).lines == run.lines


def test_nodes_with_several_labels_are_learnt_by_sigmoids(tmp_path: Path) -> None:
    graph = write_communities(tmp_path / "graph", several=True)
    inside("finetune", graph, *LEARN, "-o", tmp_path / "model")
    config, _ = load_model(tmp_path / "model", torch.device("cpu"))
    assert config.model.multi_label
    assert (tmp_path / "model" / "labels.txt").read_text().split() == ["A", "B", "C", "big"]
    lines = inside("decode", "--scores", graph, "-m", tmp_path / "model").lines
    answers = {node: labels for node, labels, _ in (line.split("\t") for line in lines)}
    right = either = 0
    for node, labels in gold(graph, "test").items():
        own, found = set(labels.split(",")), set(answers[node].split(",")) - {""}
        right += len(own & found)
        either += len(own) + len(found)
    assert 2 * right / either >= 0.8
    single = inside("finetune", graph, *QUICK, "--single-label", "--dry-run", "-o", tmp_path / "x")
    assert "3 labels\n" in single.said, "A,big is one label"


def test_losses_are_those_of_the_formulas() -> None:
    torch.manual_seed(1)
    logits, chosen = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    p = logits.softmax(-1)
    assert node_losses(logits, chosen).item() == pytest.approx(
        -sum(float(p[i, y].log()) for i, y in enumerate(chosen.tolist())), rel=1e-5
    )
    several = (torch.rand(5, 4) < 0.4).float()
    s = logits.sigmoid()
    expected = -(several * s.log() + (1 - several) * (1 - s).log()).sum()
    assert node_losses(logits, several).item() == pytest.approx(expected.item(), rel=1e-5)
    batch = NodeBatch(torch.arange(5), several)
    parts = [batch.rows(slice(0, 2)), batch.rows(slice(2, 5))]
    total = sum(node_losses(logits[part.nodes], part.targets) for part in parts)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert batch.without_targets().n_tokens == 0


def test_adam_puts_the_weight_decay_into_the_loss() -> None:
    weights = []
    for kind in ("adam", "by hand"):
        torch.manual_seed(2)
        layer = torch.nn.Linear(3, 2)
        x = torch.randn(4, 3)
        if kind == "adam":
            options = TrainingOptions(optimizer="adam", lr=0.1, weight_decay=0.3)
            (optimizer,) = build_optimizers(layer, options)
        else:
            optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        for _ in range(4):
            layer.zero_grad()
            penalty = 0.15 * layer.weight.square().sum() if kind == "by hand" else 0.0
            (layer(x).square().sum() + penalty).backward()
            optimizer.step()
        weights.append(layer.weight.detach())
    torch.testing.assert_close(*weights)


def test_a_killed_training_continues_to_the_same_bytes(graph: Path, tmp_path: Path) -> None:
    limits = ("--max-steps", 150, "--patience", 0, "--save-every", "0.05s")
    command = ("finetune", graph, *QUICK, *limits, "-o")
    inside(*command, tmp_path / "whole")
    process = subprocess.Popen(
        [*COMMAND, *map(str, command), str(tmp_path / "out")],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    states = tmp_path / "out" / "checkpoints"
    while not list(states.glob("state-*")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL, "it ended before it was killed"
    process.stderr.close()
    assert "continuing after step" in inside(*command, tmp_path / "out").said
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert files[0] == files[1]
    logs = []
    for name in ("out", "whole"):
        lines = (tmp_path / name / "train.jsonl").read_text().split("\n")[:-1]
        logs.append([{**json.loads(line), "minutes": 0} for line in lines])
    assert logs[0] == logs[1]
    assert len(logs[0]) == 150


def test_validations_at_every_epoch_save_no_state_each(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    monkeypatch.setattr(Checkpoints, "save_state", lambda *arguments: saved.append(arguments[1]))
    run = inside("finetune", graph, *QUICK, "--max-steps", 30, "--save-every", "1h", "-o", tmp_path)
    assert saved == [30]
    assert len((tmp_path / "train.jsonl").read_text().split("\n")) == 31
    assert run.said.count("dev: ") < 30


def test_weights_and_log_are_written_by_the_clock_and_when_a_run_breaks_off(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, validate, limit = [], NodeValidation.__call__, 25

    def counted(*arguments: object) -> None:
        written.append(arguments[2])
        write_weights(*arguments)

    def broken(self: NodeValidation, spread: Spread) -> dict[str, float]:
        nonlocal limit
        limit -= 1
        if not limit:
            raise AttnError("the disk is gone")
        return validate(self, spread)

    monkeypatch.setattr("attn_cli.train.run.write_weights", counted)
    monkeypatch.setattr("attn_cli.train.kept._PAUSE", 1e9)
    monkeypatch.setattr("attn_cli.train.monitor._PAUSE", 1e9)
    monkeypatch.setattr(NodeValidation, "__call__", broken)
    options = (*LEARN, "--save-every", "1h")
    assert "the disk is gone" in inside("finetune", graph, *options, "-o", tmp_path, status=1).said
    lines = list(map(json.loads, (tmp_path / "train.jsonl").read_text().split("\n")[:-1]))
    assert [line["step"] for line in lines] == list(range(1, 25))
    best = [line["step"] for line in lines if line["best"]]
    assert len(best) > 2
    assert [meta["step"] for meta in written] == [best[-1]]
    load_model(tmp_path, torch.device("cpu"))
    monkeypatch.setattr("attn_cli.train.kept._PAUSE", 0.0)
    inside("finetune", graph, *options, "--overwrite", "-o", tmp_path)
    lines = list(map(json.loads, (tmp_path / "train.jsonl").read_text().split("\n")[:-1]))
    assert [meta["step"] for meta in written[1:]] == [x["step"] for x in lines if x["best"]]


def test_a_graph_without_validation_nodes_holds_some_out(graph: Path, tmp_path: Path) -> None:
    text = (graph / "nodes.tsv").read_text().replace("\tval\t", "\ttrain\t")
    (tmp_path / "nodes.tsv").write_text(text)
    (tmp_path / "edges.tsv").write_text((graph / "edges.tsv").read_text())
    run = inside("finetune", tmp_path, *QUICK, "--dry-run", "-o", tmp_path / "x")
    assert "a tenth of the training nodes validate" in run.said
    n_train = text.count("\ttrain\t")
    held_out = round(n_train / 10)
    assert f"{n_train - held_out} nodes to train on, {held_out} to validate on" in run.said


@pytest.mark.parametrize(
    ("change", "cause", "status"),
    [
        (("n3\t", "n2\t"), "nodes.tsv:5: node 'n2' stands here a second time", 3),
        (("\ttrain\t", "\ttest\t"), "no node is of the split train", 3),
    ],
)
def test_data_is_refused_before_the_first_step(
    graph: Path, tmp_path: Path, change: tuple[str, str], cause: str, status: int
) -> None:
    text = (graph / "nodes.tsv").read_text().replace(*change)
    (tmp_path / "nodes.tsv").write_text(text)
    (tmp_path / "edges.tsv").write_text("node_u\tnode_v\n")
    run = inside("finetune", tmp_path, *QUICK, "-o", tmp_path / "x", status=status)
    assert cause in run.said
    assert not (tmp_path / "x" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--arch", "bert"), "--arch bert reads texts"),
        (("--freeze", 2), "--task nodes does not read --freeze"),
        (("--columns", "1,2"), "the headers of a graph's files"),
        (("--metric", "mcc"), "here it is score, accuracy or loss"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    graph: Path, tmp_path: Path, arguments: tuple, cause: str
) -> None:
    run = inside("finetune", graph, *QUICK, *arguments, "-o", tmp_path / "x", status=2)
    assert cause in run.said


def test_other_tasks_refuse_the_options_of_graphs(tmp_path: Path) -> None:
    for option, cause in (
        (("--n-heads", 3), "--task classify does not read --n-heads"),
        (("--arch", "gat"), "it needs --task nodes"),
    ):
        run = inside("finetune", tmp_path / "x.tsv", "--task", "classify", *option, status=2)
        assert cause in run.said


def test_the_published_training_is_the_default_and_options_win_over_it(
    graph: Path, tmp_path: Path
) -> None:
    (tmp_path / "o.toml").write_text('task = ["nodes"]\nlr = 0.02\npatience = 7\n')
    run = (*QUICK[2:], "--config", tmp_path / "o.toml", "--patience", 8, "--max-steps", 1)
    inside("finetune", graph, *run, "-o", tmp_path / "m")
    config, _ = load_model(tmp_path / "m", torch.device("cpu"))
    training = config.options["training"]
    usual = resolve(FinetuneCommand, {"task": ("nodes",)}).training
    assert (training["lr"], training["patience"]) == (0.02, 8)
    assert training["weight_decay"] == usual.weight_decay == 5e-4
    assert (training["optimizer"], training["schedule"]) == ("adam", "constant")
    assert (config.model.dropout, config.model.n_output_heads) == (0.6, 1)


def test_a_damaged_model_directory_is_named(graph: Path, model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    (tmp_path / "labels.txt").write_text("A\nB\n")
    run = inside("decode", graph, "-m", tmp_path, status=3)
    assert "2 labels in labels.txt, but the model has 3 outputs" in run.said


@pytest.mark.slow
def test_cora_is_learnt(data_dir: Path, tmp_path: Path) -> None:
    """The public split, chosen on its validation nodes alone."""
    graph = data_dir / "graphs" / "cora"
    attn("finetune", graph, "--task", "nodes", "-o", tmp_path / "m")
    answers = dict(line.split("\t") for line in attn("decode", graph, "-m", tmp_path / "m").lines)
    val = gold(graph, "val")
    assert np.mean([answers[node] == label for node, label in val.items()]) >= 0.79


@pytest.mark.parametrize(
    ("flags", "part", "value"),
    [
        (("--n-output-heads", 3), "n_output_heads", 3),
        (("--graph-score", "gatv2"), "graph_score", "gatv2"),
        (("--no-normalize-features",), "normalize_features", False),
    ],
)
def test_what_a_network_is_made_of_decides_its_answers(
    graph: Path, tmp_path: Path, flags: tuple, part: str, value: object
) -> None:
    answers = []
    for name, more in (("usual", ()), ("other", flags)):
        inside("finetune", graph, *QUICK, "--max-steps", 2, *more, "-o", tmp_path / name)
        answers.append(inside("decode", "--scores", graph, "-m", tmp_path / name).out)
    config, _ = load_model(tmp_path / "other", torch.device("cpu"))
    assert getattr(config.model, part) == value
    assert answers[0] != answers[1]


def test_what_is_unusual_in_a_graph_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "nodes.tsv").write_text(
        "node\tlabel\tsplit\tfeatures\n"
        "a\tx\ttrain\t1\nb\ty\ttrain\t2\nc\tx\ttrain\t\nd\tz\ttest\t1\ne\t\tnone\t\n"
    )
    (folder / "edges.tsv").write_text("node_u\tnode_v\na\tb\nc\td\n")
    run = inside("finetune", folder, *QUICK, "--max-steps", 1, "-o", tmp_path / "m")
    said = run.said.split("\n")
    assert "attn: no training node has the label 'z': it is never the answer" in said
    assert "attn: one training node alone has the label 'y'" in said
    assert any("2 of 5 nodes without any feature, the first of them 'c'" in line for line in said)
