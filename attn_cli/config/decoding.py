"""Options of the search: how outputs are looked for, ranked and limited."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from attn_cli.config import option
from attn_cli.config.command import Command, group
from attn_cli.config.runtime import ModelOptions, RuntimeOptions, SpeechOptions, StreamOptions
from attn_cli.config.source import RootOptions

# Automatic limit, 2 S + 10 tokens for a source of S: room for translations that are longer than
# their source, while a runaway output is stopped before it holds up its whole batch.
MAX_LEN_FACTOR = 2
MAX_LEN_OFFSET = 10
MAX_INPUT = 256  # tokens of an input, where its training had no longer ones
LM_WEIGHT = 0.3
ITERATIONS = 10  # K = 10 loses little against more (Ghazvininejad et al. 2019, table 5)


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Greedy, beam or sampling, and what shapes the outcome."""

    beam: int = option(
        5,
        "Hypotheses kept at each step; lengths tried by a mask-predict model.",
        low=1,
        high=1000,
    )
    greedy: bool = option(False, "Take the best token at each step: the same as --beam 1.")
    iterations: int | None = option(
        None,
        "Passes over an output in which all words are written at once, the doubtful ones again.",
        low=1,
        high=1000,
        show=f"{ITERATIONS}, of a mask-predict model",
        rare=True,
    )
    length_penalty: float = option(
        1.0,
        "Alpha of score = log P / L^alpha, L counting the end token; 0 ranks by log P, "
        "0.75 is the textbook's value.",
        low=0.0,
        high=10.0,
    )
    stopping: str = option(
        "bound",
        "When a sentence is done: once nothing unfinished can beat what is kept (bound), or once "
        "as many hypotheses as the beam is wide have finished (count: faster, may miss some).",
        choices=("bound", "count"),
        rare=True,
    )
    n_best: int = option(1, "Outputs per input, best first.", low=1, high=1000)
    sample: bool = option(False, "Draw outputs at random from the model's distribution.")
    temperature: float = option(
        1.0, "With --sample: below 1 sharpens, above 1 flattens.", low=0.01, high=100.0
    )
    top_k: int = option(
        0, "With --sample: draw among the K likeliest tokens; 0: all.", low=0, rare=True
    )
    top_p: float = option(
        1.0,
        "With --sample: draw among the likeliest tokens that hold this share of probability.",
        low=0.0,
        high=1.0,
    )
    max_len: int | None = option(
        None,
        "Longest output in tokens.",
        low=1,
        high=1_000_000,
        show=f"{MAX_LEN_FACTOR} x source tokens + {MAX_LEN_OFFSET}",
    )
    min_len: int = option(0, "Shortest output in tokens.", low=0, high=1_000_000, rare=True)
    no_repeat_ngram: int = option(
        0,
        "Never repeat a sequence of this many tokens; 0: repeats are free.",
        low=0,
        high=1000,
        rare=True,
    )
    coverage_penalty: float = option(
        0.0,
        "Beta of GNMT's coverage penalty: outputs that leave source tokens unattended lose.",
        low=0.0,
        high=100.0,
        rare=True,
    )
    diversity: float = option(
        0.0,
        "Diverse beam search: what a group of beams loses for a token that earlier groups took.",
        low=0.0,
        high=100.0,
        rare=True,
    )
    diversity_groups: int | None = option(
        None,
        "Groups that --diversity keeps apart; they share the beam equally.",
        low=1,
        show="as many as the beam is wide",
        rare=True,
    )

    ctc: bool = option(
        False,
        "Write down a recording by the encoder's own output (CTC) alone: faster; --beam or "
        "--greedy.",
        rare=True,
    )
    ctc_weight: float | None = option(
        None,
        "Of a recording: weight of the encoder's own output (CTC) in the search, the decoder's has "
        "the rest; 0: the decoder alone.",
        low=0.0,
        high=1.0,
        show="as in the model's training; 0 if it had none, and with --sample",
        rare=True,
    )
    lm: str | None = option(
        None,
        "A language model of the same tokens (attn pretrain --objective clm --tokenizer MODEL) has "
        "a say in the search.",
        place="DIR",
        rare=True,
    )
    lm_weight: float | None = option(
        None,
        "With --lm: by how much its log-probabilities count beside the model's.",
        low=0.0,
        high=10.0,
        show=f"{LM_WEIGHT}",
        rare=True,
    )
    shortlist: bool = option(
        False,
        "Choose among the tokens alone that the model's shortlist has for a source (attn convert "
        "--shortlist makes it): faster with many tokens; probabilities are those among them.",
        rare=True,
    )

    def __post_init__(self) -> None:
        """Refuses combinations in which an option would go unread.

        Raises:
            ValueError: with every problem and what to do about it.
        """
        problems = [problem for problem in self._problems() if problem]
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> list[str]:
        shaped = self.temperature != 1.0 or self.top_k or self.top_p != 1.0
        diverse = self.diversity or self.diversity_groups
        return [
            "--sample and --greedy exclude each other" if self.sample and self.greedy else "",
            "--temperature, --top-k and --top-p need --sample"
            if shaped and not self.sample
            else "",
            "--top-p 0 leaves nothing to draw from" if self.top_p == 0.0 else "",
            "--diversity needs a beam: leave out --sample and --greedy"
            if diverse and (self.sample or self.greedy)
            else "",
            f"--diversity-groups {self.n_groups}: they can't share --beam {self.beam} equally"
            if not self.greedy and self.beam % self.n_groups
            else "",
            "--ctc leaves --ctc-weight nothing to weigh"
            if self.ctc and self.ctc_weight is not None
            else "",
            "--sample draws from the decoder's distribution: leave out --ctc-weight"
            if self.sample and self.ctc_weight
            else "",
            "--lm ranks what a search finds: leave out --sample" if self.sample and self.lm else "",
            "--ctc has no search word by word for --lm: --ctc-weight 1 in its place has one"
            if self.ctc and self.lm
            else "",
            "--lm-weight needs --lm" if self.lm_weight is not None and self.lm is None else "",
            f"--min-len {self.min_len} is above --max-len {self.max_len}"
            if self.max_len is not None and self.min_len > self.max_len
            else "",
        ]

    @property
    def too_narrow(self) -> str | None:
        """What to do about a beam that is narrower than the outputs that a search shall give."""
        if self.n_best <= self.width:
            return None
        remedy = f"--beam {self.n_best}"
        if self.greedy:
            also = f", with {remedy}" if self.n_best > self.beam else ""
            remedy = f"leave out --greedy{also}"
        return f"--n-best {self.n_best} needs a beam at least as wide: {remedy}"

    @cached_property
    def width(self) -> int:
        """Rows of a batch that one sentence takes: K."""
        if self.sample:
            return self.n_best
        return 1 if self.greedy else self.beam

    @property
    def way(self) -> str:
        """Who writes the output where that is not the decoder: "ctc"; else ""."""
        return "ctc" if self.ctc else ""

    @property
    def fused(self) -> float:
        """The language model's weight."""
        return LM_WEIGHT if self.lm_weight is None else self.lm_weight

    @property
    def passes(self) -> int:
        """How often a mask-predict model goes over its output: K."""
        return ITERATIONS if self.iterations is None else self.iterations

    @cached_property
    def n_groups(self) -> int:
        """Groups of beams that search apart; 1 without diversity."""
        if self.diversity_groups is not None:
            return self.diversity_groups
        return self.beam if self.diversity else 1

    def longest(self, source_len: int, forced: int = 0) -> int:
        """The longest output, in tokens.

        Args:
            source_len: tokens of its source.
            forced: tokens of what must appear in it.
        """
        if self.max_len is not None:
            return self.max_len
        usual = MAX_LEN_FACTOR * source_len + MAX_LEN_OFFSET
        return max(usual, self.min_len, forced + MAX_LEN_OFFSET if forced else 0)


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How questions are answered from what a model gives."""

    max_answer_len: int = option(
        30, "Longest answer to a question in tokens.", low=1, high=1 << 20, rare=True
    )
    no_answer_threshold: float | None = option(
        None,
        "By how much the score of no answer must exceed the best answer's to be given.",
        show="as chosen on the model's dev data",
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class DecodeOptions(AnswerOptions, RootOptions):
    """What `attn decode` reads beside the source, and what it writes."""

    prefix: bool = option(False, "The next column is what the output must begin with.")
    constraints: bool = option(
        False, "The next column holds phrases that must appear, separated by ' ||| '."
    )
    split: bool = option(
        False,
        "A line may be a paragraph: its sentences are translated one by one and joined again; a "
        "prefix begins the first.",
    )
    markup: str | None = option(
        None,
        "The input is a file of this kind: its texts are translated, tags stand where the "
        "alignment puts them, and nothing else changes.",
        choices=("html", "srt"),
        show="lines of text",
    )
    scores: bool = option(
        False, "Add a column with log P(output | input) in nats; a label's probability."
    )
    task: str | None = option(None, "Which task of a model that has several.", show="the only one")
    stride: int | None = option(
        None,
        "Tokens between the windows in which a classifier or tagger reads a long text.",
        low=1,
        show="half of a window",
        rare=True,
    )
    align: bool = option(
        False,
        "Add a column with word alignments in Pharaoh format (i-j); of a recording, with the "
        "seconds at which each word begins and ends (0.12-0.48).",
    )
    format: str = option(
        "text",
        "A line of text, or n-best lists as moses or json lines.",
        choices=("text", "moses", "json"),
    )
    max_input: int | None = option(
        None,
        "Longer inputs, in tokens, are cut at sentence ends and their parts decoded apart; of a "
        "longer prompt, a language model reads the last so many tokens.",
        low=1,
        show=f"{MAX_INPUT}, or the --max-len of its training where that is more; half of what a "
        "language model sees at once",
        rare=True,
    )
    max_seconds: float | None = option(
        None,
        "Longer recordings are cut where it is quietest and their parts decoded apart.",
        low=0.1,
        high=1e6,
        show="a quarter more than the longest one of the model's training",
        rare=True,
    )
    batch_tokens: int = option(
        16384, "Source tokens in flight, counted once per beam.", low=1, rare=True
    )
    buffer: int = option(
        2048, "Most lines that are read before the first is answered.", low=1, rare=True
    )
    engine: str = option(
        "attn",
        "Who searches: attn itself, or CTranslate2 on the same weights (pip install '.[fast]'): "
        "greedy and beam search of a translator in about three quarters of the time on a CPU.",
        choices=("attn", "ctranslate2"),
        rare=True,
    )
    precision: str = option(
        "auto",
        "Arithmetic; auto: bf16 on a GPU that has it, int8 on a CPU where weights are stored in it "
        "(attn convert), else float32. int8 (CPU): in about two thirds of the time; an output may "
        "change a little with the lines that are decoded beside it.",
        choices=("auto", "float32", "bf16", "int8"),
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class DecodeCommand(Command):
    """All options of `attn decode`."""

    name: ClassVar[str] = "decode"

    model: ModelOptions = group(ModelOptions, "Model")
    search: SearchOptions = group(SearchOptions, "Search")
    decoding: DecodeOptions = group(DecodeOptions, "Input and output")
    stream: StreamOptions = group(StreamOptions, "Lines")
    runtime: RuntimeOptions = group(RuntimeOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")
