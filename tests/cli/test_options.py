"""One name for an option everywhere: on the command line, in a TOML file, as a field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from program import TINY, inside, write_reversal

from attn_cli.cli import COMMANDS
from attn_cli.config import changed
from attn_cli.config.attending import AttendCommand
from attn_cli.config.checking import CheckCommand
from attn_cli.config.command import Command, resolve, saved, toml_keys
from attn_cli.config.converting import ConvertCommand
from attn_cli.config.decoding import DecodeCommand, SearchOptions
from attn_cli.config.describing import InfoCommand
from attn_cli.config.embedding import EmbedCommand
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.scoring import ScoreCommand
from attn_cli.config.serving import ServeCommand
from attn_cli.config.tokenizing import (
    TokenizeDecodeCommand,
    TokenizeEncodeCommand,
    TokenizeTrainCommand,
)
from attn_cli.config.translation import TrainMtCommand
from attn_cli.errors import DataError, UsageError

BUNDLES: list[type[Command]] = [
    *(TrainMtCommand, PretrainCommand, FinetuneCommand, DecodeCommand, ScoreCommand),
    *(AttendCommand, EmbedCommand, ConvertCommand, CheckCommand, InfoCommand, ServeCommand),
    *(TokenizeTrainCommand, TokenizeEncodeCommand, TokenizeDecodeCommand),
]
NO_OPTIONS = {"--config", "--help", "--help-all"}
TESTS = Path(__file__).resolve().parents[1]


def flags_of(command: str) -> list[tuple[list[str], str]]:
    """The flags of each option: its long ones, then all as they are shown."""
    plain = inside(*command.split(), "--help").out.decode()
    text = inside(*command.split(), "--help-all").out.decode() if "--help-all" in plain else plain
    shown = re.findall(r"^  (-.*?)(?:  |$)", text, re.M)
    told = []
    for line in shown:
        positive = re.findall(r"--[a-z][\w+-]*", line.split(" / ")[0])
        if not NO_OPTIONS & set(positive):
            told.append((positive, line))
    return told


def toml(folder: Path, text: str) -> str:
    path = folder / "options.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_there_is_a_bundle_for_each_command():
    names = {bundle.name for bundle in BUNDLES}
    assert {name.split()[0] for name in names} == set(COMMANDS)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_toml_key_is_a_long_flag(bundle, tmp_path):
    keys = toml_keys(bundle)
    told = flags_of(bundle.name)
    assert {flag.removeprefix("--") for flags, _ in told for flag in flags} == set(keys)
    for flags, _ in told:
        (name,) = {keys[flag.removeprefix("--")] for flag in flags}
        for key in (flag.removeprefix("--") for flag in flags):
            for spelt in {key, key.replace("-", "_")}:  # a table is the value of no option
                path = toml(tmp_path, f'"{spelt}" = {{ x = 1 }}\n')
                with pytest.raises(DataError, match=f"options.toml: {name}: "):
                    resolve(bundle, {"tokenizer": "t"} if name != "tokenizer" else {}, path)


def test_toml_keys_and_flags_set_the_same_fields(tmp_path):
    file = toml(tmp_path, 'beam = 7\nn-best = 3\nmax_len = 9\n"no-repeat-ngram" = 2\n')
    given = {"beam": 7, "n_best": 3, "max_len": 9, "no_repeat_ngram": 2}
    assert resolve(DecodeCommand, {}, file) == resolve(DecodeCommand, given)
    assert resolve(DecodeCommand, {"beam": 4}, file).search.beam == 4
    file = toml(tmp_path, 'as = "ids"\ntokenizer = "t.model"\n')
    options = resolve(TokenizeEncodeCommand, {}, file)
    assert (options.unit.unit, options.tokenizer.tokenizer) == ("ids", "t.model")
    file = toml(tmp_path, '"chrf++" = true\nref = ["a", "b"]\n')
    assert resolve(ScoreCommand, {}, file).scoring.metrics == ("chrfpp",)
    file = toml(tmp_path, 'output = "x.model"\ntokenizer-type = "bpe"\n')
    options = resolve(TokenizeTrainCommand, {}, file)
    assert (options.output.output, options.tokenizer.type) == ("x.model", "bpe")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("beem = 3\n", "unknown option 'beem' (did you mean beam?)"),
        ("no-greedy = true\n", "unknown option 'no-greedy' (did you mean greedy?)"),
        ("n-best = 2\nn_best = 3\n", "n-best and n_best are one option"),
        ("beam = 2.5\n", "beam: a whole number is needed, not 2.5"),
        ("config = 'x'\n", "unknown option 'config'"),
    ],
)
def test_what_a_toml_file_says_wrong_is_named(tmp_path, text, cause):
    with pytest.raises(DataError, match=re.escape(f"options.toml: {cause}")):
        resolve(DecodeCommand, {}, toml(tmp_path, text))


def test_defaults_then_those_of_a_mode_then_the_file_then_the_flag(tmp_path):
    file = toml(tmp_path, 'init = "m"\nlr = 0.5\nwarmup = 7\n')
    training = resolve(TrainMtCommand, {"warmup": 8}, file).training
    usual = resolve(TrainMtCommand).training
    assert (training.lr, training.warmup) == (0.5, 8)
    assert (training.schedule, usual.schedule) == ("constant", "linear")
    assert training.ema == usual.ema
    assert resolve(PretrainCommand).training.matrix_factor == 7.5 != usual.matrix_factor


def test_defaults_of_documents_and_nodes(tmp_path):
    given = {"task": ("classify",), "arch": "han"}
    documents, nodes = (
        resolve(FinetuneCommand, {"task": ("classify",), "arch": "han"}),
        resolve(FinetuneCommand, {"task": ("nodes",)}),
    )
    assert (documents.training.batch_tokens, documents.tokenizer.type) == (16384, "wordpiece")
    assert resolve(FinetuneCommand, given | {"type": "bpe"}).tokenizer.type == "bpe"
    assert (nodes.training.optimizer, nodes.training.patience) == ("adam", 100)
    assert nodes.labels_nodes and not documents.labels_nodes
    (tmp_path / "config.json").write_text('{"arch": "han"}')  # it brings its tokenizer
    started = resolve(FinetuneCommand, {"task": ("classify",), "init": str(tmp_path)})
    assert (started.training.batch_tokens, started.tokenizer.type) == (16384, "auto")


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"task": ("nodes",), "size": "tiny"}, "--task nodes does not read --size"),
        ({"task": ("nodes",), "columns": "1"}, "--columns: the headers"),
        ({"task": ("tag",), "n_heads": 3}, "--task tag does not read --n-heads"),
        ({"task": ("tag",), "arch": "gat"}, "it needs --task nodes"),
        ({"task": ("nodes",), "arch": "rnn"}, "--arch rnn reads texts"),
    ],
)
def test_what_a_mode_does_not_read_is_refused(given, cause):
    with pytest.raises(UsageError, match=re.escape(cause)):
        resolve(FinetuneCommand, given)


def test_a_model_keeps_what_decides_it():
    kept = saved(resolve(TrainMtCommand, {"seed": 5, "quiet": True, "max_len": 99}))
    assert kept["runtime"] == {"seed": 5}
    assert kept["corpus"]["max_len"] == 99
    assert not {"output", "stream", "speech"} & set(kept)
    assert {"training", "criterion", "variant", "tokenizer"} < set(kept)


def test_changed_options_are_called_by_their_flags():
    assert changed(SearchOptions(beam=3, n_best=2)) == ["--beam", "--n-best"]
    assert changed(SearchOptions(beam=3, n_best=2), among=("--n-best",)) == ["--n-best"]


@pytest.mark.parametrize("command", [bundle.name for bundle in BUNDLES])
def test_every_flag_is_set_by_a_test(command):
    """A flag that no test sets may do anything, or nothing: give it one where its effect shows."""
    speak_of_flags = {"test_options.py", "test_help.py", "test_completion.py"}
    texts = [
        path.read_text("utf-8") for path in TESTS.rglob("*.py") if path.name not in speak_of_flags
    ]
    everything = "\n".join(texts)
    unset = [
        line
        for _, line in flags_of(command)
        if not any(
            re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", everything)
            for flag in re.findall(r"-[\w+-]+", line)
        )
    ]
    assert not unset


@pytest.mark.parametrize("command", [TrainMtCommand, PretrainCommand, FinetuneCommand])
def test_a_learning_rate_of_nothing_is_refused(command, tmp_path):
    """Muon had a rate of its own: `--lr 0` went on learning."""
    with pytest.raises(UsageError, match=r"lr: 0\.0 is below 1e-09"):
        resolve(command, {"lr": 0.0})


def test_the_tokens_of_a_batch_follow_from_the_corpus(tmp_path):
    """None of `--batch-tokens --warmup` has to be named for a small corpus."""
    corpus = write_reversal(tmp_path / "t.tsv", 400, seed=5)
    sizes = ("--vocab-size", 30, *TINY, "--max-steps", 1, "--metric", "loss")
    said = inside("train-mt", corpus, "-o", tmp_path / "m", *sizes).said
    assert "batches of 512 tokens, some " in said
    said = inside("train-mt", corpus, "-o", tmp_path / "n", *sizes, "--batch-tokens", 300).said
    assert "batches of" not in said


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("convert", "", "-o", "m"), "an argument is"),
        (("convert", "m", "-o", ""), "--output"),
        (("info", ""), "an argument is"),
        (("check", ""), "an argument is"),
        (("check", "t.tsv", "--dev", ""), "--dev"),
        (("embed", "-m", "", "t.tsv"), "--model"),
        (("embed", "--plot", "", "t.tsv"), "--plot"),
        (("attend", "-m", "m", ""), "an argument is"),
        (("score", "--compare", ""), "--compare"),
        (("score", "--ref", ""), "--ref"),
        (("train-mt", ""), "an argument is"),
        (("train-mt", "t.tsv", "-o", ""), "--output"),
        (("finetune", "t.tsv", "--task", "classify", "--dev", ""), "--dev"),
        (("pretrain", "t.tsv", ""), "an argument is"),
    ],
)
def test_a_file_or_directory_without_a_name_is_refused(command, name):
    said = inside(*command, status=2).said
    assert name in said and "an empty name, as that of a shell variable that is not set" in said


@pytest.mark.parametrize("models", ["a,", ",a", "a,,b"])
def test_a_model_without_a_name_beside_a_comma_is_refused(models):
    for command in ("decode", "attend", "score --ppl"):
        said = inside(*command.split(), "-m", models, stdin=b"a\tb\n", status=2).said
        assert f"-m {models}: an empty name" in said
