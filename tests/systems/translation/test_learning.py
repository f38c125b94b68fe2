"""What a decoder reads while it learns: gold tokens, its own, and what a discriminator adds."""

from __future__ import annotations

import math

import pytest
import torch
from program import attn, inside, write_reversal
from torch.nn import functional as F

from attn_cli.config.seq2seq import LearningOptions
from attn_cli.data.padding import pad
from attn_cli.errors import UsageError
from attn_cli.models import CONFIGS, build_model
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.pairs import Seq2SeqBatch
from attn_cli.systems.translation.professor import Discriminator, adversarial_losses
from attn_cli.systems.translation.scheduled_sampling import DECAYS, sampled_inputs, sampling_rate

ARCHS = {
    "transformer": {"d_ff": 16, "n_heads": 2},
    "recurrent": {},
    "convolutional": {},
}
SRC = [[3, 4, 5, 2], [6, 7, 2], [9, 8, 7, 6, 2]]
TGT = [[1, 5, 4, 3, 2], [1, 7, 6, 2], [1, 6, 7, 8, 9, 2]]


def model(arch, **changes):
    torch.manual_seed(7)
    sizes = {"d_model": 8, "n_encoder_layers": 1, "n_decoder_layers": 1, "dropout": 0.0}
    vocabulary = {"src_vocab": 12, "tgt_vocab": 12, "share_embeddings": True}
    config = CONFIGS[arch](**{**sizes, **vocabulary, **ARCHS[arch], **changes})
    return build_model(arch, config)


def batch():
    src_ids, src_mask = pad(SRC, 0)
    tgt_ids, tgt_mask = pad(TGT, 0)
    return Seq2SeqBatch(src_ids, src_mask, tgt_ids, tgt_mask[:, 1:])


def losses(arch, done=1.0, **learning):
    """Loss and gradients of one batch, and the next random number."""
    objective = TranslationObjective(model(arch), 0.1, learning=LearningOptions(**learning)).train()
    objective.begin_update(done)
    torch.manual_seed(3)
    loss, nll = objective(batch())
    loss.backward()
    gradients = [weight.grad for weight in objective.model.parameters()]
    return loss.detach(), nll, gradients, torch.rand(())


def test_the_decays_are_the_published_ones():
    """Bengio et al. 2015, section 2.4: ε = max(0, 1 - i/n), kⁱ, k/(k + exp(i/k))."""
    steps, k = 1000, 100.0
    for i in (0, 200, 500, 1000):
        p = i / steps
        assert DECAYS["linear"](p) == pytest.approx(1 - i / steps)
        assert DECAYS["exponential"](p) == pytest.approx((0.01 ** (1 / steps)) ** i)
        scaled = i * 2 * k * math.log(k) / steps  # the paper's i, run to twice its middle
        assert DECAYS["inverse-sigmoid"](p) == pytest.approx(k / (k + math.exp(scaled / k)))
    for name in ("linear", "exponential", "inverse-sigmoid"):
        shares = [
            sampling_rate(LearningOptions(scheduled_sampling=name, sampling_rate=0.6), p / 10)
            for p in range(11)
        ]
        assert shares == sorted(shares)
        assert shares[0] < 0.01
        assert 0.59 < shares[-1] <= 0.6
    assert sampling_rate(LearningOptions(sampling_rate=1.0), 1.0) == 0.0


@pytest.mark.parametrize("arch", ARCHS)
def test_a_rate_of_0_and_a_run_that_begins_are_teacher_forcing_exactly(arch):
    plain = losses(arch)
    for learning in ({"done": 1.0, "sampling_rate": 0.0}, {"done": 0.0, "sampling_rate": 1.0}):
        same = losses(arch, scheduled_sampling="linear", **learning)
        assert same[0] == plain[0]
        assert all(map(torch.equal, same[2], plain[2]))
        assert same[3] == plain[3]  # no random number was drawn
    other = losses(arch, scheduled_sampling="linear", sampling_rate=1.0)
    assert other[0] != plain[0]


@pytest.mark.parametrize("arch", ["transformer", "convolutional"])
@torch.no_grad()
def test_two_passes_replace_tokens_by_what_follows_gold_ones(arch):
    seq2seq, pairs = model(arch).eval(), batch()
    gold = pairs.tgt_ids[:, :-1]
    read = sampled_inputs(seq2seq, (pairs.src_ids, pairs.src_mask), gold, 1.0, "argmax")
    hidden = seq2seq(pairs.src_ids, pairs.src_mask, gold).hidden
    wanted = F.linear(hidden, *seq2seq.output_layer).argmax(-1)
    assert torch.equal(read[:, 1:], wanted[:, :-1])
    assert torch.equal(read[:, 0], gold[:, 0])


@torch.no_grad()
def test_step_by_step_a_token_follows_the_models_own():
    seq2seq, pairs = model("recurrent").eval(), batch()
    gold = pairs.tgt_ids[:, :-1]
    read = sampled_inputs(seq2seq, (pairs.src_ids, pairs.src_mask), gold, 1.0, "argmax")
    for at in range(1, gold.shape[1]):  # greedy search, each prefix computed anew
        hidden = seq2seq(pairs.src_ids, pairs.src_mask, read[:, :at]).hidden
        assert torch.equal(read[:, at], F.linear(hidden[:, -1], *seq2seq.output_layer).argmax(-1))


@pytest.mark.parametrize("arch", ["transformer", "recurrent"])
@torch.no_grad()
def test_the_share_and_the_distribution_of_drawn_tokens(arch):
    seq2seq = model(arch).eval()
    src = torch.tensor([SRC[0]]).expand(4000, -1)
    gold = torch.tensor([[1, 0]]).expand(4000, -1)  # the model gives 0 a small probability
    torch.manual_seed(5)
    read = sampled_inputs(seq2seq, (src, src > 0), gold, 0.3, "sampled")
    hidden = seq2seq(src[:1], src[:1] > 0, gold[:1]).hidden
    probs = F.linear(hidden[0, 0], *seq2seq.output_layer).softmax(-1)
    expected = 0.3 * probs
    expected[0] += 0.7
    found = read[:, 1].bincount(minlength=12) / 4000
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


def test_losses_of_the_discriminator_and_the_model_reach_each_other_not():
    torch.manual_seed(2)
    discriminator = Discriminator(6)
    forced = torch.randn(5, 4, 6, requires_grad=True)
    free = torch.randn(5, 4, 6, requires_grad=True)
    real = torch.arange(4) < torch.tensor([4, 2, 3, 1, 4])[:, None]
    tokens = real.sum(1)
    on_forced, on_free = discriminator(forced, real), discriminator(free, real)
    own, models = adversarial_losses(discriminator, forced, free, real)
    right = ((on_forced > 0).float() + (on_free < 0).float()) / 2
    accuracy = float((right * tokens).sum() / tokens.sum())
    wanted = -(on_forced.sigmoid().log() + (1 - on_free.sigmoid()).log()) * tokens
    assert float(own.detach()) == pytest.approx(
        float(wanted.sum().detach()) * (accuracy < 0.99), rel=1e-4
    )
    fooled = float((-on_free.sigmoid().log() * tokens).sum().detach())
    assert float(models.detach()) == pytest.approx(fooled * (accuracy > 0.75), rel=1e-4)
    own.backward()
    assert forced.grad is None
    assert all(weight.grad is not None for weight in discriminator.parameters())
    before = [weight.grad.clone() for weight in discriminator.parameters()]
    models.backward()
    assert all(map(torch.equal, before, (weight.grad for weight in discriminator.parameters())))


def test_the_discriminator_learns_and_then_the_model_is_told():
    torch.manual_seed(2)
    discriminator = Discriminator(6)
    forced = torch.randn(40, 3, 6) + 1
    free = (torch.randn(40, 3, 6) - 1).requires_grad_()
    real = torch.ones(40, 3, dtype=torch.bool)
    optimizer = torch.optim.Adam(discriminator.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        own, models = adversarial_losses(discriminator, forced, free, real)
        (own + 0 * models).backward()
        optimizer.step()
    own, models = adversarial_losses(discriminator, forced, free, real)
    assert float(own.detach()) == 0.0  # it is always right: it rests
    free.grad = None
    models.backward()
    with torch.no_grad():
        before = discriminator(free, real).mean()
        after = discriminator(free - 0.5 * free.grad, real).mean()
    assert after > before  # the gradient says how to look more like gold


@pytest.mark.parametrize(
    ("arch", "changes", "terms"),
    [
        ("transformer", {}, {"learning": LearningOptions(professor_forcing=1.0)}),
        ("recurrent", {"attention": "none"}, {"head_penalty": 1.0}),
        ("recurrent", {"attention": "dot", "normalize": "hard"}, {"head_penalty": 1.0}),
    ],
)
def test_terms_that_a_model_has_no_part_for_are_refused(arch, changes, terms):
    with pytest.raises(UsageError):
        TranslationObjective(model(arch, **changes), 0.1, **terms)


RNN = (
    *("--arch", "rnn", "--d-model", 48, "--n-encoder-layers", 1, "--n-decoder-layers", 1),
    *("--type", "bpe", "--vocab-size", 36, "--metric", "loss", "--threads", 1, "--device", "cpu"),
)
CNN = (*RNN[2:], "--arch", "cnn")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_reversal(tmp_path_factory.mktemp("corpus") / "train.tsv", 1200, seed=3)


LIMITS = (
    *("--max-steps", 160, "--warmup", 15, "--validate-every", 160, "--ema", 0.95),
    *("--dropout", 0, "--batch-tokens", 600),
)


@pytest.mark.parametrize("recipe", [RNN, CNN], ids=["rnn", "cnn"])
def test_the_program_learns_to_reverse_and_decodes_with_every_option(recipe, corpus, tmp_path):
    folder = tmp_path / "model"
    assert attn("train-mt", corpus, "-o", folder, *recipe, *LIMITS).lines == [str(folder)]
    test = write_reversal(tmp_path / "test.tsv", 60, seed=8)
    pairs = [line.split("\t") for line in test.read_text().splitlines()]
    sources = "".join(f"{src}\n" for src, _ in pairs).encode()
    found = inside("decode", "-m", folder, stdin=sources).lines
    right = sum(line == tgt for line, (_, tgt) in zip(found, pairs, strict=True))
    assert right >= 45, found[:5]
    links = inside("decode", "-m", folder, "--align", test).lines
    assert all(len(line.split("\t")) == 3 for line in links)
    src, tgt = max(pairs, key=lambda pair: len(pair[0]))
    words = tgt.split()
    line = f"{src}\t{words[0]}\n".encode()
    forced = inside("decode", "-m", folder, "--prefix", stdin=line).lines
    assert forced[0].startswith(words[0])
    line = f"{src}\t{words[-1]}\n".encode()
    assert words[-1] in inside("decode", "-m", folder, "--constraints", stdin=line).lines[0]
    both = ("--coverage-penalty", 0.2, "--n-best", 2, "--format", "moses")
    assert len(inside("decode", "-m", folder, *both, stdin=line).lines) == 2
    assert inside("decode", "-m", folder, "--sample", "--top-k", 1, stdin=line).lines[0]


def test_models_of_different_kinds_decode_as_an_ensemble(reversal_model, corpus, tmp_path):
    shared = ("--tokenizer", reversal_model)
    limits = ("--max-steps", 3, "--validate-every", 3)
    folders = [str(reversal_model)]
    for arch, recipe in (("rnn", RNN), ("cnn", CNN)):
        folders.append(str(tmp_path / arch))
        own = [value for value in recipe if value not in ("--type", "bpe", "--vocab-size", 36)]
        inside("train-mt", corpus, "-o", folders[-1], *own, *limits, *shared)
    alone = inside("decode", "-m", folders[0], stdin=b"banu kera\n").lines
    together = inside("decode", "-m", ",".join(folders), "--scores", stdin=b"banu kera\n").lines
    assert len(alone) == len(together) == 1


def test_without_attention_there_is_nothing_to_align_or_to_cover(corpus, tmp_path):
    limits = ("--max-steps", 2, "--validate-every", 2, "--attention", "none")
    inside("train-mt", corpus, "-o", tmp_path / "m", *RNN, *limits)
    for option, value in (("--align", ()), ("--coverage-penalty", (0.2,))):
        run = inside("decode", "-m", tmp_path / "m", option, *value, stdin=b"banu\n", status=2)
        assert "attention" in run.said


def test_options_of_other_architectures_are_refused_by_name(corpus, tmp_path):
    run = inside(
        "train-mt", corpus, "-o", tmp_path, *RNN, "--n-heads", 2, "--norm", "pre", status=2
    )
    assert "--arch rnn does not have --n-heads, --norm" in run.said
    run = inside("train-mt", corpus, "-o", tmp_path / "b", "--attention", "none", status=2)
    assert "attention" in run.said
    run = inside("train-mt", corpus, "-o", tmp_path / "c", "--arch", "rrn", status=2)
    assert "did you mean rnn?" in run.said


STATEFUL = {
    "rnn-scheduled": (*RNN, "--scheduled-sampling", "linear", "--sampling-rate", 0.9),
    "rnn-professor": (*RNN, "--professor-forcing", 0.5, "--input-feeding", "--cell", "gru"),
    "rnn-hard": (*RNN, "--normalize", "hard", "--attention", "general"),
    "cnn": (*CNN, "--scheduled-sampling", "exponential", "--sampling-choice", "argmax"),
}


@pytest.mark.parametrize("name", STATEFUL)
def test_a_stopped_run_ends_as_the_uninterrupted_one(name, corpus, tmp_path, monkeypatch):
    from attn_cli.train.monitor import Monitor

    rest = ("--max-steps", 6, "--validate-every", 3, "--batch-tokens", 200, "--dropout", 0.2)

    def command(folder):
        return ("train-mt", corpus, "-o", tmp_path / folder, *STATEFUL[name], *rest)

    inside(*command("whole"))
    step = Monitor.step

    def stopping(self, progress, *others):
        step(self, progress, *others)
        if progress.step == 4:
            import signal

            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", stopping)
        inside(*command("parts"), status=130)
    state = next((tmp_path / "parts" / "checkpoints").glob("state-*4.safetensors"))
    assert (b"partner." in state.read_bytes()) == (name == "rnn-professor")
    inside(*command("parts"))
    whole, parts = (tmp_path / one / "model.safetensors" for one in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert b"partner" not in whole.read_bytes()
