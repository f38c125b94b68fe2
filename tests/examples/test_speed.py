"""The parts of the speed comparison: its counts against PyTorch's, its data, its page."""

import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attn_cli.lines.unusable import BadLines
from attn_cli.systems.nodes.graph_files import read_graph
from attn_cli.train.monitor import Monitor
from attn_cli.train.progress import Progress

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "benchmarks" / "speed"
sys.path.insert(0, str(FOLDER))

import attn_engine  # noqa: E402
import batches  # noqa: E402
import products  # noqa: E402
import recordings  # noqa: E402
import torch_engine  # noqa: E402
import work  # noqa: E402

TINY = work.Work("translation", 1, 2, 16, 2, 2, 30, 40)


def counted(run):
    # The counter knows no product inside a fused attention.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run().sum().backward()
    return counter.get_total_flops()


def total(made):
    return sum(each.flops for each in made)


def test_flops_of_translation_are_what_pytorch_counts():
    src, tgt = torch.randint(5, 30, (3, 7)), torch.randint(5, 30, (3, 6))
    batch = batches.Pairs(list(src), list(tgt))  # all of one length: there is no padding
    model = torch_engine.Translator(TINY, dropout=0.0)
    source, read, _ = batch.padded()
    assert batch.n_targets == 3 * 5
    made = products.translation_products(TINY, batch)
    assert total(made) == counted(lambda: model(source, read))


def test_flops_of_bert_are_what_pytorch_counts():
    engine = pytest.importorskip("transformers") and __import__("transformers_engine")
    sizes = replace(TINY, kind="masked")
    ids = torch.randint(5, 30, (3, 8))
    hidden = torch.ones(3, 8, dtype=torch.bool)
    hidden[:, 0] = False
    batch = batches.Masked(ids, ids, hidden, ids * 0, torch.tensor([0, 1, 0]))
    made = products.masked_products(sizes, batch)
    made += [products.Product(3, 16, m) for m in (16, 30)]  # its users score [CLS], too
    model = engine.bert(sizes, dropout=0.0)
    assert total(made) == counted(lambda: engine.bert_loss(model, batch))


@pytest.mark.parametrize("count", [1, 4])
def test_a_product_is_made_forward_and_backward(count):
    product = products.Product(3, 5, 2, times=2, count=count)
    memory = torch.randn(6, 100)
    with FlopCounterMode(display=False) as counter:
        products.make(product, memory)
    assert counter.get_total_flops() == product.flops


@pytest.fixture
def task(tmp_path):
    pairs = [(" ".join("abcdefgh"[: 2 + n % 6]), " ".join("hgfe"[: 1 + n % 4])) for n in range(60)]
    (tmp_path / "pairs.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs))
    (tmp_path / "text.txt").write_text("".join(f"{s}\n" for s, _ in pairs))
    task = work.Try(TINY, str(tmp_path), 1, seed=3)
    pieces = "\n".join([*work.SPECIALS, *"abcdefgh"]) + "\n"
    for kind in ("translation", "masked"):
        (tmp_path / f"{kind}-30-vocab.txt").write_text(pieces)
    return task


def test_batches_hold_to_the_budget_and_change_with_the_seed(task):
    found = batches.translation_batches(task)
    assert len(found) == TINY.warmup + TINY.steps
    for batch in found:
        src, read, gold = batch.padded()
        assert max(src.numel(), gold.numel()) <= TINY.batch_tokens
        assert int((gold != batches.PAD).sum()) == batch.n_targets
        assert (read[:, 0] == batches.CLS).all()
    other = batches.translation_batches(replace(task, seed=4))
    assert any(len(a.src) != len(b.src) for a, b in zip(found, other, strict=True))


def test_masked_inputs_are_full_and_hide_no_special_token(task):
    sizes = replace(TINY, kind="masked", batch_tokens=4 * work.LENGTH)
    for batch in batches.masked_batches(replace(task, work=sizes)):
        assert batch.ids.shape == (4, work.LENGTH)
        special = (batch.gold == batches.CLS) | (batch.gold == batches.SEP)
        assert special.sum(1).tolist() == [3] * 4
        assert not (batch.hidden & special).any()
        assert 0.05 < batch.hidden.float().mean() < 0.25
        assert torch.equal(batch.ids == batches.MASK, batch.hidden)


def test_the_graph_is_as_large_as_cora_and_read_by_attn(tmp_path):
    work.write_graph(tmp_path / "graph")
    graph = read_graph(str(tmp_path / "graph"), BadLines(print, skip_bad=False))
    assert len(graph) == 2708
    sizes = [len(graph.nodes_of(split)) for split in ("train", "val", "test")]
    assert sizes == [140, 500, 1000]
    assert len((tmp_path / "graph" / "edges.tsv").read_text().splitlines()) == 5279


def test_the_stopwatch_sees_every_update(tmp_path):
    monitor = Monitor(None, tmp_path / "log", None, active=True)
    before = time.perf_counter()
    with attn_engine.stopwatch() as ends:
        monitor.step(Progress(), 0.1, 7)
        monitor.step(Progress(), 0.2, 9)
    monitor.step(Progress(), 0.3, 11)
    assert [tokens for _, tokens in ends] == [7, 9]
    assert before <= ends[0][0] <= ends[1][0] <= time.perf_counter()


def test_attn_is_measured_in_processes_of_a_thread_each(task):
    task = replace(task, threads=2)
    command = attn_engine.arguments(task, attn_engine.AttnProcesses().own(task))
    assert command[command.index("--processes") + 1] == "2"


def test_the_vocabulary_has_the_size_that_was_asked_for(tmp_path):
    train = tmp_path / "train.tsv"
    train.write_text("a cat sleeps\tun chat dort\nthe dog eats\tle chien mange\n" * 20)
    sizes = replace(TINY, vocab=300)
    work.prepare(tmp_path, [sizes], Namespace(train=str(train), text=None, graph=None))
    pieces = work.Try(sizes, str(tmp_path), 1, 1).vocabulary.read_text().splitlines()
    assert len(pieces) == len(set(pieces)) == 300
    assert len((tmp_path / "pairs.tsv").read_text().splitlines()) == 32
    assert len((tmp_path / "dev.tsv").read_text().splitlines()) == 8


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Forty recordings, and the work of learning them."""
    folder = tmp_path_factory.mktemp("spoken")
    sizes = work.Work("speech", 1, 2, 16, 1, 2, 34, 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "_SIZES", {"recordings": 40, "dev-recordings": 2})
        work.prepare(folder, [sizes], Namespace(train=None, text=None, graph=None))
    return work.Try(sizes, str(folder), 1, seed=3)


def test_recordings_have_the_frames_that_their_tokens_say(spoken):
    found = batches.recording_batches(spoken)
    assert len(found) == 3
    for batch in found:
        frames, read, gold = batch.padded()
        assert -(-frames.shape[1] // 4) * len(frames) <= spoken.work.batch_tokens
        assert int((gold != batch.pad_id).sum()) * recordings.FRAMES_A_TOKEN == batch.n_frames
        assert read.shape == gold.shape and len(frames) == len(read)
        assert int(gold.max()) < spoken.work.vocab
        for one, size in zip(frames, map(len, batch.frames), strict=True):
            assert torch.allclose(one[:size].mean(0), torch.zeros(80), atol=1e-5)
    written = spoken.file("recordings.tsv").read_text().splitlines()
    assert all(Path(line.split("\t")[0]).suffix == ".wav" for line in written)
    assert not any("  " in line or line.endswith(" ") for line in written)


@pytest.mark.parametrize("engine", [torch_engine.TorchLoop, torch_engine.TorchBf16])
def test_the_plain_loop_learns_recordings(engine, spoken):
    found = engine().measure(spoken)
    timed = batches.recording_batches(spoken)[spoken.work.warmup :]
    assert found.amount == sum(batch.n_frames for batch in timed)


def test_padding_says_nothing_in_the_plain_recognizer():
    """A kernel of three with stride two reads no place behind an end that four divides."""
    model = torch_engine.Recognizer(replace(TINY, kind="speech"), dropout=0.0).eval()
    frames, tgt = torch.randn(2, 40, 80), torch.randint(3, 30, (2, 5))
    sizes = torch.tensor([24, 40])
    frames[0, 24:] = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_engine, "hidden_in_places", lambda frames, sizes: frames)
        alone = model(frames[:1, :24], sizes[:1], tgt[:1])
        together = model(frames, sizes, tgt)
    assert together[1].shape == (2, 10, 31)
    assert torch.allclose(alone[1][0], together[1][0, :6], atol=1e-5)
    assert torch.allclose(alone[0][0], together[0][0], atol=1e-5)


def test_stretches_of_time_and_of_bands_are_hidden():
    frames = torch.ones(200, 50, 10)
    hidden = torch_engine.hidden_in_places(frames, torch.full((200,), 40)) == 0
    times, bands = hidden.all(2), hidden[:, 40:].all(1)
    assert not times[:, 40:].any()
    assert int(times.sum(1).max()) <= 16 and 5 < times.sum(1).float().mean() < 9
    assert int(bands.sum(1).max()) <= 6 and 1.5 < bands.sum(1).float().mean() < 4


def test_the_page_compares_medians():
    page = run_path(str(FOLDER / "__main__.py"))
    found = {
        "attn": [work.Measured(tokens, 1.0, megabytes=200) for tokens in (100, 500, 400)],
        "torch.nn": [work.Measured(600, 3.0, megabytes=300)],
        page["CEILING"]: [work.Measured(1600, 2.0, flops=1600e6, big=2e9)],
    }
    _, _, attn, peer, ceiling, _, last = page["table"](TINY, found)
    assert attn == "| attn | 400 (100 to 500) | 1.00 | 50% | 0.4 | 200 |"
    assert peer == "| torch.nn | 200 (200 to 200) | 2.00 | 25% | 0.2 | 300 |"
    assert ceiling.startswith(f"| {page['CEILING']} | 800 (800 to 800) | 0.50 | 100% | 0.8 |")
    assert last == "1.0 MFLOP a token; a product of large matrices makes 2.0 GFLOP/s."
    trainings = {"attn": [work.Measured(1, 4.0)], "torch_geometric": [work.Measured(1, 2.0)]}
    rows = page["table"](work.Work("graph", 0, 9), trainings)
    assert rows[2] == "| attn | 4.00 (4.00 to 4.00) | 1.00 |  |  | 0 |"
    assert rows[3] == "| torch_geometric | 2.00 (2.00 to 2.00) | 0.50 |  |  | 0 |"
