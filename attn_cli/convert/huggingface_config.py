"""A Hugging Face config.json of BERT or GPT-2, and the configuration of our own stack.

An option that would change what the model computes, and that our stack does not have, is refused by
its name; those that concern training, generation or caching are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attn_cli.config import from_dict, nearest, shown
from attn_cli.data.label_files import labels_problem
from attn_cli.errors import DataError
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig

# Their activation -> ours. Several of their names are one formula.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu_fast": "gelu-tanh",
    "gelu_accurate": "gelu-tanh",
    "gelu_python_tanh": "gelu-tanh",
    "quick_gelu": "gelu-sigmoid",
    "relu": "relu",
    "swish": "swish",
    "silu": "swish",
}
# The other way.
THEIR_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu-tanh": "gelu_new",
    "gelu-sigmoid": "quick_gelu",
    "relu": "relu",
    "swish": "silu",
}

# Their class -> our backbone, the heads its weights must hold, and those they may: pre-trained
# files often hold more than the class that they name.
ARCHITECTURES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "BertModel": ("bert", (), ("mlm", "nsp")),
    "BertForPreTraining": ("bert", ("mlm", "nsp"), ()),
    "BertForMaskedLM": ("bert", ("mlm",), ("nsp",)),
    "BertForNextSentencePrediction": ("bert", ("nsp",), ("mlm",)),
    "ElectraForPreTraining": ("bert", ("rtd",), ()),
    "BertForSequenceClassification": ("bert", ("text",), ()),
    "BertForMultipleChoice": ("bert", ("choice",), ()),
    "BertForTokenClassification": ("bert", ("tag",), ()),
    "BertForQuestionAnswering": ("bert", ("qa",), ()),
    "GPT2Model": ("gpt", (), ()),
    "GPT2LMHeadModel": ("gpt", (), ()),
}
_MODEL_TYPES = {"bert": "BertModel", "electra": "ElectraForPreTraining", "gpt2": "GPT2LMHeadModel"}

# Option -> the one value that our stack computes.
_FIXED: dict[str, dict[str, object]] = {
    "bert": {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "pruned_heads": {},
        "quantization_config": None,
    },
    "gpt": {
        "add_cross_attention": False,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "pruned_heads": {},
        "quantization_config": None,
    },
}
# Ours -> theirs and the value of a config.json that lacks it (`...`: it must be there).
_FIELDS: dict[str, dict[str, tuple[str, object]]] = {
    "bert": {
        "vocab_size": ("vocab_size", ...),
        "d_model": ("hidden_size", ...),
        "d_ff": ("intermediate_size", ...),
        "n_heads": ("num_attention_heads", ...),
        "n_layers": ("num_hidden_layers", ...),
        "dropout": ("hidden_dropout_prob", 0.1),
        "max_positions": ("max_position_embeddings", 512),
        "n_segments": ("type_vocab_size", 2),
        "norm_eps": ("layer_norm_eps", 1e-12),
    },
    "gpt": {
        "vocab_size": ("vocab_size", ...),
        "d_model": ("n_embd", ...),
        "n_heads": ("n_head", ...),
        "n_layers": ("n_layer", ...),
        "dropout": ("resid_pdrop", 0.1),
        "max_positions": ("n_positions", 1024),
        "norm_eps": ("layer_norm_epsilon", 1e-5),
    },
}
_SHAPE: dict[str, dict[str, object]] = {
    "bert": {"norm": "post", "embedding_norm": True},
    "gpt": {"norm": "pre", "embedding_norm": False, "n_segments": 0},
}
_ACTIVATION = {"bert": ("hidden_act", "gelu"), "gpt": ("activation_function", "gelu_new")}
_PROBLEMS = {
    "multilabel": "multi_label_classification",
    "rate": "regression",
    "regress": "regression",
    "classify": "single_label_classification",
}


@dataclass(frozen=True)
class Foreign:
    """What a config.json says.

    Attributes:
        name: their class.
        arch: ours.
        model: the backbone's configuration.
        needed: heads that its weights must hold.
        possible: heads that they may hold.
        labels: of its classifier; empty where it has none.
        task: what its classifier does with a text; "" where it has none.
        tied: whether the layer that predicts tokens has the embeddings' weights.
    """

    name: str
    arch: str
    model: StackConfig
    needed: tuple[str, ...]
    possible: tuple[str, ...]
    labels: tuple[str, ...]
    task: str
    tied: bool


def read_foreign(values: Mapping[str, object], where: str) -> Foreign:
    """Reads and checks the content of a config.json.

    Raises:
        DataError: another kind of model, an option our stack lacks, or a missing or bad value.
    """
    name = _architecture(values, where)
    if values.get("auto_map"):
        raise DataError(
            f"{where}: auto_map {shown(values['auto_map'])} names a program of the model's own, "
            "which is not run: what the library's class computes may be another thing; remove the "
            "key where it is not"
        )
    arch, needed, possible = ARCHITECTURES[name]
    for key, wanted in _FIXED[arch].items():
        if values.get(key, wanted) not in (wanted, None):
            raise DataError(
                f"{where}: {key} {shown(values[key])} is not supported, {wanted!r} alone is; "
                "convert a model that was trained so"
            )
    numbers = {key: number(values, *theirs, where) for key, theirs in _FIELDS[arch].items()}
    ours = {**numbers, "activation": _activation(values, arch, where), **_SHAPE[arch]}
    if arch == "gpt":
        inner = values.get("n_inner")
        ours["d_ff"] = 4 * numbers["d_model"] if inner is None else inner
    if name.startswith("Electra"):
        _check_embeddings(values, numbers["d_model"], where)
    model = from_dict(StackConfig, ours, where)
    labels = _labels(values, where) if {"text", "tag"} & set(needed) else ()
    task = ""
    if "text" in needed:
        problem = values.get("problem_type")
        known = {theirs: ours for ours, theirs in _PROBLEMS.items()}
        task = known.get(str(problem), "regress" if len(labels) == 1 else "classify")
    tied = values.get("tie_word_embeddings") is not False
    return Foreign(name, arch, model, needed, possible, labels, task, tied)


def _check_embeddings(values: Mapping[str, object], d_model: int | float, where: str) -> None:
    """Raises DataError if an ELECTRA's embeddings are not as wide as its layers."""
    width = number(values, "embedding_size", 128, where)
    if width != d_model:
        raise DataError(
            f"{where}: embedding_size {width} beside hidden_size {d_model} is not supported: "
            "embeddings as wide as the layers alone are (those of ELECTRA base are)"
        )


def _architecture(values: Mapping[str, object], where: str) -> str:
    names = values.get("architectures") or [_MODEL_TYPES.get(str(values.get("model_type")))]
    name = names[0] if isinstance(names, list) and names else names
    if not isinstance(name, str):
        raise DataError(
            f"{where}: neither 'architectures' nor a 'model_type' of {', '.join(_MODEL_TYPES)}; "
            "this is no Hugging Face BERT or GPT-2 directory (--to huggingface writes one)"
        )
    if name not in ARCHITECTURES:
        raise DataError(
            f"{where}: architecture {shown(name)} is not supported{nearest(name, ARCHITECTURES)}; "
            f"supported: {', '.join(ARCHITECTURES)}, MarianMTModel"
        )
    return name


def number(values: Mapping[str, object], key: str, default: object, where: str) -> int | float:
    """A number that a config.json gives; `...` as default: it must be there.

    Raises:
        DataError: it is not there, or no number.
    """
    value = values.get(key)
    if value is None:
        value = default
    if value is ...:
        raise DataError(f"{where}: {key!r} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {key}: a number is needed, not {shown(value)}")
    return value


def _activation(values: Mapping[str, object], arch: str, where: str) -> str:
    key, default = _ACTIVATION[arch]
    name = values.get(key, default)
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise DataError(
            f"{where}: {key} {shown(name)} is not supported; supported: {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


def _labels(values: Mapping[str, object], where: str) -> tuple[str, ...]:
    """The classifier's labels in the order of its outputs; theirs are two without a word."""
    table = values.get("id2label")
    if table is None:
        count = values.get("num_labels", 2)
        if type(count) is not int or not 1 <= count <= 1 << 16:
            raise DataError(f"{where}: num_labels {shown(count)} is no count of labels")
        return tuple(f"LABEL_{index}" for index in range(count))
    if not isinstance(table, dict) or set(table) != {str(index) for index in range(len(table))}:
        raise DataError(f"{where}: id2label does not name the outputs 0, 1, 2, …")
    labels = tuple(table[str(index)] for index in range(len(table)))
    if not labels or not all(isinstance(label, str) for label in labels):
        raise DataError(f"{where}: id2label holds something else than labels")
    for index, label in enumerate(labels):
        first = labels.index(label)
        if first < index:
            raise DataError(
                f"{where}: id2label: outputs {first} and {index} are both {shown(label)}; give one "
                "of them another name"
            )
        if problem := labels_problem([label]):
            raise DataError(f"{where}: id2label: output {index}: {problem.partition(': ')[2]}")
    return labels


def foreign_name(arch: str, heads: Sequence[HeadConfig], where: str) -> str:
    """Their class for a backbone with these heads.

    Raises:
        DataError: they have none.
    """
    kinds = {(head.kind if head.kind in ("mlm", "rtd") else head.name) for head in heads}
    if arch == "gpt" and not heads:
        return "GPT2LMHeadModel"
    pretraining: dict[frozenset[str], str] = {
        frozenset(): "BertModel",
        frozenset({"mlm"}): "BertForMaskedLM",
        frozenset({"mlm", "nsp"}): "BertForPreTraining",
        frozenset({"nsp"}): "BertForNextSentencePrediction",
        frozenset({"rtd"}): "ElectraForPreTraining",
    }
    if arch == "bert" and frozenset(kinds) in pretraining:
        return pretraining[frozenset(kinds)]
    if arch == "bert" and len(heads) == 1:
        of_task = {"qa": "BertForQuestionAnswering", "choice": "BertForMultipleChoice"}
        of_kind = {"text": "BertForSequenceClassification", "tokens": "BertForTokenClassification"}
        return of_task.get(heads[0].task) or of_kind[heads[0].kind]
    raise DataError(
        f"{where}: Hugging Face has no class for {arch} with the heads "
        f"{', '.join(head.name for head in heads)}; finetune a model for one task to convert it"
    )


def _fixed_parts(arch: str) -> dict[str, object]:
    """What our stack must be for their class: all parts that it does not leave open."""
    parts = {field.name: field.default for field in dataclasses.fields(StackConfig)}
    for key in (*_FIELDS[arch], "d_ff", "activation", "tied_output"):
        parts.pop(key, None)
    return {**parts, **_SHAPE[arch]}


def write_foreign(
    name: str, model: StackConfig, labels: Sequence[str], task: str, where: str
) -> dict[str, object]:
    """The content of their config.json.

    Args:
        name: their class.
        model: our backbone's configuration.
        labels: of its classifier.
        task: what its classifier does.
        where: the model, for messages.

    Raises:
        DataError: the stack has a part that their class lacks.
    """
    arch = ARCHITECTURES[name][0]
    parts = vars(model)
    for key, wanted in _fixed_parts(arch).items():
        if parts[key] != wanted:
            raise DataError(
                f"{where}: {name} has {key} {wanted!r} alone, this model {parts[key]!r}: it can't "
                "be written so"
            )
    if arch == "bert" and not model.n_segments:
        raise DataError(f"{where}: {name} needs segment vectors, this model has none")
    config: dict[str, object] = {
        "architectures": [name],
        "model_type": "gpt2" if arch == "gpt" else "bert",
        "dtype": "float32",
        _ACTIVATION[arch][0]: THEIR_ACTIVATIONS[model.activation],
        "tie_word_embeddings": model.tied_output,
    }
    config |= {theirs: parts[ours] for ours, (theirs, _) in _FIELDS[arch].items()}
    if arch == "gpt":
        config |= {"n_inner": model.d_ff, "embd_pdrop": model.dropout, "attn_pdrop": 0.0}
    else:
        config["attention_probs_dropout_prob"] = 0.0  # ours drops no attention weights
    if name.startswith("Electra"):
        config |= {"model_type": "electra", "embedding_size": model.d_model}
    if labels:
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        config["label2id"] = {label: index for index, label in enumerate(labels)}
    if name == "BertForSequenceClassification":
        config["problem_type"] = _PROBLEMS.get(task, _PROBLEMS["classify"])
    return config
