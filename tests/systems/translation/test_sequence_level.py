"""Training on sampled outputs: what is drawn, how it is judged, what the model learns from it."""

from __future__ import annotations

import json
import re
import signal

import pytest
import sacrebleu
import torch
from program import TINY, inside, run_inside, write_reversal
from test_learning import ARCHS, batch, model
from torch.nn import functional as F

from attn_cli.config.command import resolve
from attn_cli.config.criterion import CriterionOptions
from attn_cli.config.decoding import SearchOptions
from attn_cli.config.translation import TrainMtCommand
from attn_cli.errors import UsageError
from attn_cli.nn.sequence_losses import self_critical
from attn_cli.search.search import Request, search
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.sequence_level import (
    SEQUENCE_CRITERIA,
    Output,
    SentenceBleu,
    SequenceObjective,
)
from attn_cli.systems.translation.steps import Seq2SeqStep
from attn_cli.systems.translation.text_source import TextSide
from attn_cli.systems.translation.translator import AutoregressiveTranslator
from attn_cli.tokenizers.tokenizer_files import read_tokenizers

EOS = 2


class Letters:
    """The part of a tokenizer that outputs need: a token, a word; the test's models have twelve."""

    pad_id, unk_id, bos_id, eos_id = 0, -1, 1, EOS
    mask_id = cls_id = sep_id = -1
    vocab_size = 12
    never_written = ()

    def decode(self, rows):
        return [" ".join("abcdefghijkl"[token] for token in row) for row in rows]


def objective(arch="transformer", smoothing=0.0, changes=None, **options):
    options = CriterionOptions(**{"criterion": "risk", "likelihood_weight": 0.0, **options})
    seq2seq = model(arch, **(changes or {}))
    translator = AutoregressiveTranslator([seq2seq], TextSide(Letters()), Letters())
    return SequenceObjective(seq2seq, smoothing, translator, options).train()


@pytest.fixture
def seen(monkeypatch):
    """The arguments of each call of a criterion's loss."""
    calls = []
    for kind in SEQUENCE_CRITERIA.values():
        loss = kind.loss

        def noted(self, *given, loss=loss):
            calls.append(given)
            return loss(self, *given)

        monkeypatch.setattr(kind, "loss", noted)
    return calls


def drawn(sequence_objective, pairs):
    """The outputs that the next pass will draw."""
    state = torch.get_rng_state()
    references = [
        Output(tuple(row[1 : 1 + int(real) - 1].tolist()), True)
        for row, real in zip(pairs.tgt_ids, pairs.tgt_mask.sum(1), strict=True)
    ]
    sampling = SearchOptions(sample=True, n_best=sequence_objective.options.samples)
    sequence_objective.model.eval()
    found = sequence_objective._search(pairs, references, sampling)
    sequence_objective.model.train()
    torch.set_rng_state(state)
    return found, references


def log_prob(seq2seq, pairs, row, output):
    """Of one output for one source, token by token."""
    src = pairs.src_ids[row : row + 1, : int(pairs.src_mask[row].sum())]
    tokens = [1, *output.tokens, EOS]
    hidden = seq2seq(src, src >= 0, torch.tensor([tokens[:-1]])).hidden
    each = F.linear(hidden[0], *seq2seq.output_layer).log_softmax(-1)
    chosen = each.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    return chosen.sum() if output.finished else chosen[:-1].sum()


@pytest.mark.parametrize("arch", ARCHS)
def test_outputs_are_judged_and_scored_one_by_one_as_all_at_once(arch, seen):
    risk, pairs = objective(arch, samples=4), batch()
    torch.manual_seed(9)
    outputs, references = drawn(risk, pairs)
    assert {len(own) for own in outputs} == {4}
    loss, nll = risk(pairs)
    ((log_probs, rewards, _, real),) = seen
    for row, own in enumerate(outputs):
        different = list(dict.fromkeys(own))
        assert int(real[row].sum()) == len(different)
        for column, output in enumerate(different):
            wanted = log_prob(risk.model, pairs, row, output)
            assert log_probs[row, column].item() == pytest.approx(float(wanted.detach()), abs=1e-4)
            text, gold = Letters().decode([output.tokens, references[row].tokens])
            bleu = sacrebleu.sentence_bleu(text, [gold]).score / 100
            assert float(rewards[row, column]) == pytest.approx(bleu, abs=1e-6)
    assert bool(torch.isfinite(loss))
    likelihood = TranslationObjective(risk.model, 0.0).eval()
    assert float(nll) == pytest.approx(float(likelihood(pairs)[1]), rel=1e-5)


@pytest.mark.parametrize("arch", ["transformer", "recurrent"])
def test_every_output_of_a_small_language_gives_the_gradient_of_the_exact_risk(arch, monkeypatch):
    """Sampled so often that all of them are there: Σ P(y) Δ(y) / Σ P(y) by its definition."""
    pairs = batch().rows(slice(1, 2))
    words = [(), *((a,) for a in range(3, 6)), *((a, b) for a in range(3, 6) for b in range(3, 6))]
    language = [Output(tokens, True) for tokens in words]
    monkeypatch.setattr(SequenceObjective, "_search", lambda self, *_: [language])
    risk = objective(arch, sharpness=1.0)
    loss, _ = risk(pairs)
    loss.backward()
    found = [weight.grad for weight in risk.model.parameters()]
    probs = torch.stack([log_prob(risk.model, pairs, 0, output).exp() for output in language])
    gold = Letters().decode([pairs.tgt_ids[0, 1:3].tolist()])
    texts = Letters().decode([output.tokens for output in language])
    bleu = [sacrebleu.sentence_bleu(text, gold).score / 100 for text in texts]
    exact = (probs * (1 - torch.tensor(bleu))).sum() / probs.sum()
    exact = exact * pairs.n_tokens  # a sentence's criterion counts once for each token
    wanted = torch.autograd.grad(exact, list(risk.model.parameters()), allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(
            one, torch.zeros_like(one) if other is None else other, atol=1e-6, rtol=1e-3
        )


def test_reinforce_compares_with_the_greedy_output(seen):
    critical, pairs = objective(criterion="reinforce", samples=3), batch()
    torch.manual_seed(9)
    loss, _ = critical(pairs)
    ((log_probs, rewards, baseline, real),) = seen
    assert bool(real.all())  # a sample counts as often as it was drawn
    assert rewards.shape == (3, 3)
    for row, reward in enumerate(baseline.tolist()):
        tokens, src = [1], pairs.src_ids[row : row + 1, : int(pairs.src_mask[row].sum())]
        gold = pairs.tgt_ids[row, 1 : int(pairs.tgt_mask[row].sum())].tolist()
        while len(tokens) <= 2 * len(gold) + 10 and (len(tokens) < 2 or tokens[-1] != EOS):
            hidden = critical.model(src, src >= 0, torch.tensor([tokens])).hidden
            logits = F.linear(hidden[0, -1], *critical.model.output_layer)
            tokens.append(int(logits.index_fill(0, torch.tensor([0, 1]), -torch.inf).argmax()))
        own = [token for token in tokens[1:] if token != EOS]
        text, reference = Letters().decode([own, gold])
        wanted = sacrebleu.sentence_bleu(text, [reference]).score / 100
        assert reward == pytest.approx(wanted, abs=1e-6)
    wanted = self_critical(log_probs, rewards, baseline, real) * pairs.n_tokens / 3
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_beam_gives_its_best_outputs_every_time(arch, seen):
    risk, pairs = objective(arch, candidates="beam", samples=3), batch()
    for _ in range(2):
        risk(pairs)
    (first, rewards, _, real), (second, *_) = seen
    torch.testing.assert_close(first, second)
    step = Seq2SeqStep(risk.model.eval(), TextSide(Letters()), Letters())
    for row, tokens in enumerate(pairs.tgt_mask.sum(1).tolist()):
        source = pairs.src_ids[row, : int(pairs.src_mask[row].sum())].tolist()
        options = SearchOptions(beam=3, n_best=3)
        request = Request(source, options.longest(tokens - 1))
        forbidden = [Letters.bos_id, Letters.pad_id]
        (best,) = search(step, [request], options, max_rows=3, seed=0, forbidden_ids=forbidden)
        gold, *texts = Letters().decode(
            [pairs.tgt_ids[row, 1:tokens].tolist(), *(one.tokens for one in best)]
        )
        bleu = [sacrebleu.sentence_bleu(text, [gold]).score / 100 for text in texts]
        assert rewards[row][real[row]].tolist() == pytest.approx(bleu, abs=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_likelihood_keeps_its_weight(weight):
    pairs = batch()
    losses = []
    for share in (weight, 0.0):
        mixed = objective(smoothing=0.1, likelihood_weight=share, samples=2, sharpness=1.0)
        torch.manual_seed(9)
        losses.append(float(mixed(pairs)[0].detach()))
    likelihood = TranslationObjective(model("transformer"), 0.1).train()(pairs)[0].detach()
    wanted = weight * float(likelihood) + (1 - weight) * losses[1]
    assert losses[0] == pytest.approx(wanted, rel=1e-5)


def test_the_reference_joins_the_outputs_where_it_is_asked_for(seen):
    pairs = batch()
    for with_reference in (False, True):
        torch.manual_seed(9)
        objective(samples=2, with_reference=with_reference)(pairs)
    (_, without, _, _), (_, rewards, _, real) = seen
    assert not (without == 1).any()
    assert (rewards == 1).any(1).all()
    assert int(real.sum()) > without.shape[0]


def test_outside_of_training_and_for_an_idle_rank_there_is_the_likelihood_alone(seen):
    risk, pairs = objective(likelihood_weight=0.5), batch()
    loss, _ = risk(pairs.rows(slice(0, 1)).without_targets())
    loss.backward()  # a gradient, if 0, of every weight: the other ranks wait for it
    assert all(not weight.grad.any() for weight in risk.model.parameters())
    plain, nll = risk.eval()(pairs)
    assert float(plain.detach()) == pytest.approx(float(nll))
    assert seen == []


def test_outputs_are_found_without_dropout_and_learnt_from_with_it(seen):
    pairs = batch()
    risk = objective(changes={"dropout": 0.5}, candidates="beam", samples=3)
    for _ in range(2):
        loss, _ = risk(pairs)
        loss.backward()
        assert all(module.training for module in risk.model.modules())
    (first, rewards, _, _), (second, again, _, _) = seen
    torch.testing.assert_close(rewards, again)
    assert not torch.isclose(first, second).any()


def test_a_sample_that_was_cut_has_no_end(monkeypatch, seen):
    cut = Output((5, 5, 5), False)
    monkeypatch.setattr(SequenceObjective, "_search", lambda self, *_: [[cut, Output((5,), True)]])
    risk, pairs = objective(), batch().rows(slice(0, 1))
    risk(pairs)
    ((log_probs, *_),) = seen
    wanted = [log_prob(risk.model, pairs, 0, one) for one in (cut, Output((5,), True))]
    torch.testing.assert_close(log_probs[0], torch.stack(wanted), atol=1e-5, rtol=1e-5)


def test_hard_attention_is_refused():
    with pytest.raises(UsageError, match="--normalize hard"):
        objective("recurrent", changes={"attention": "dot", "normalize": "hard"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 3}, "likelihood does not read --samples"),
        ({"likelihood_weight": 0.5}, "does not read --likelihood-weight"),
        ({"criterion": "reinforce", "sharpness": 0.5}, "reinforce does not read --sharpness"),
        ({"criterion": "reinforce", "candidates": "beam"}, "reinforce does not read --candidates"),
        ({"criterion": "risk", "samples": 1}, "nothing to compare"),
    ],
)
def test_options_that_would_not_be_read_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        CriterionOptions(**options)


def test_the_reward_is_the_sentence_bleu_that_the_program_prints(reversal_model, tmp_path):
    _, tokenizer = read_tokenizers(reversal_model)
    texts = [("banu kera", "banu kera"), ("kera banu livo", "kera livo banu"), ("", "banu")]
    encoded = [[Output(tuple(ids), True) for ids in tokenizer.encode(pair)] for pair in texts]
    rewards = SentenceBleu(tokenizer)([[pair[0]] for pair in encoded], [p[1] for p in encoded])
    lines = "".join(f"{hypothesis}\t{reference}\n" for hypothesis, reference in texts).encode()
    printed = inside("score", "--bleu", "--per-line", stdin=lines).lines
    wanted = [float(re.findall(r"[0-9.]+$", line)[0]) / 100 for line in printed]
    assert [reward[0] for reward in rewards] == pytest.approx(wanted, abs=1e-5)


LITTLE = ("--batch-tokens", 120, "--metric", "bleu", "--validate-every", 2, "--threads", 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_reversal(tmp_path_factory.mktemp("corpus") / "train.tsv", 260, seed=5)


def log_of(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("criterion", ["likelihood", "risk", "reinforce"])
def test_a_stopped_continuation_ends_as_the_uninterrupted_one(
    criterion, reversal_model, corpus, tmp_path, monkeypatch
):
    from attn_cli.train.monitor import Monitor

    def command(folder):
        own = ("--samples", 2) if criterion != "likelihood" else ()
        start = ("--init", reversal_model, "--criterion", criterion, *own)
        return ("train-mt", corpus, "-o", tmp_path / folder, *start, *LITTLE, "--max-steps", 4)

    run = inside(*command("whole"))
    assert "continued from" in run.said
    step = Monitor.step

    def stopping(self, progress, *others):
        step(self, progress, *others)
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", stopping)
        inside(*command("parts"), status=130)
    inside(*command("parts"))
    whole, parts = (tmp_path / one for one in ("whole", "parts"))
    for name in ("model.safetensors", "tokenizer.model"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    log = log_of(whole)
    assert [entry["step"] for entry in log] == [0, 2, 4]
    found = [(entry["step"], entry["dev_bleu"], entry["train_loss"]) for entry in log_of(parts)]
    assert found == [(entry["step"], entry["dev_bleu"], entry["train_loss"]) for entry in log]


def test_what_begins_good_never_ends_worse(reversal_model, corpus, tmp_path):
    """Steps that spoil it at once: the best weights are those it began with."""
    spoilt = ("--lr", 5.0, "--matrix-factor", 1, "--warmup", 0, "--ema", 0)
    start = ("--init", reversal_model)
    inside("train-mt", corpus, "-o", tmp_path, *start, *LITTLE, *spoilt, "--max-steps", 2)
    log = log_of(tmp_path)
    assert [entry["best"] for entry in log] == [True, False]
    before, after = ((folder / "model.safetensors") for folder in (reversal_model, tmp_path))
    from safetensors.torch import load_file

    assert all(
        torch.equal(value, load_file(after)[name]) for name, value in load_file(before).items()
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--arch", "rnn"), "--arch rnn"),
        (("--d-model", 64), r"--d-model 64 \(there: 32\)"),
        (("--norm", "post"), r"--norm post \(there: pre\)"),
        (("--cell", "gru"), "--cell gru"),
        (("--size", "base"), "--size"),
        (("--vocab-size", 50), "--vocab-size"),
        (("--tokenizer", "other.model"), "--tokenizer"),
        (("--separate-vocab",), "--share-vocab"),
    ],
)
def test_what_the_model_decides_is_not_to_be_contradicted(
    options, words, reversal_model, corpus, tmp_path
):
    given = ("-o", tmp_path / "m", "--init", reversal_model)
    run = inside("train-mt", corpus, *given, *options, status=2)
    assert re.search(words, run.said), run.said
    assert not (tmp_path / "m" / "model.safetensors").exists()


def test_what_agrees_with_it_may_be_said(reversal_model, corpus, tmp_path):
    same = ("--arch", "transformer", "--d-model", 32, "--norm", "pre", "--dropout", 0.2)
    given = ("-o", tmp_path / "m", "--init", reversal_model)
    inside("train-mt", corpus, *given, *same, *LITTLE, "--max-steps", 1)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model"]["dropout"] == 0.2


def test_the_model_to_start_from_is_not_replaced(reversal_model, corpus, tmp_path):
    before = {file.name: file.read_bytes() for file in reversal_model.glob("*.*")}
    given = ("--init", reversal_model, "-o", reversal_model, "--overwrite")
    run = inside("train-mt", corpus, *given, *LITTLE, "--max-steps", 1, status=2)
    assert "choose another -o" in run.said
    assert {file.name: file.read_bytes() for file in reversal_model.glob("*.*")} == before
    run = inside("train-mt", corpus, "--init", tmp_path / "none", "-o", tmp_path / "m", status=2)
    assert "no such model directory" in run.said


def test_from_random_weights_the_program_says_that_it_learns_little(corpus, tmp_path):
    sizes = (*TINY, "--type", "char", "--vocab-size", 30, "--criterion", "reinforce")
    limits = (*LITTLE, "--max-steps", 1, "--samples", 2)
    run = inside("train-mt", corpus, "-o", tmp_path, *sizes, *limits)
    assert "from random weights" in run.said
    run = run_inside("train-mt", corpus, "-o", tmp_path / "b", "--samples", 2)
    assert run.status == 2
    assert "criterion likelihood does not read --samples" in run.said


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["risk", "reinforce"])
@pytest.mark.parametrize("arch", ARCHS)
def test_outputs_become_better_without_any_likelihood(criterion, arch, seen):
    learner, pairs = objective(arch, criterion=criterion, samples=12), batch()
    optimizer = torch.optim.Adam(learner.model.parameters(), 0.02)
    torch.manual_seed(9)
    for _ in range(40):
        optimizer.zero_grad()
        learner(pairs)[0].backward()
        optimizer.step()
    means = [float((rewards * real).sum() / real.sum()) for _, rewards, _, real in seen]
    first, last = sum(means[:5]) / 5, sum(means[-5:]) / 5
    assert last > first + 0.1, means


def test_steps_are_smaller_where_a_model_continues_and_smaller_still_on_samples():
    usual, continued, sampled = (
        resolve(TrainMtCommand, given).training
        for given in ({}, {"init": "m"}, {"init": "m", "criterion": "risk"})
    )
    rates = [options.lr * options.matrix_factor for options in (usual, continued, sampled)]
    assert (continued.schedule, sampled.schedule) == ("constant", "linear")
    assert (sampled.batch_tokens, continued.batch_tokens) == (1024, usual.batch_tokens)
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 3
    assert resolve(TrainMtCommand, {"criterion": "risk"}).training == usual
