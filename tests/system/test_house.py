"""The rooms of the package (`attn_cli/__init__.py` describes them): who may import whom, and how.

Read from the sources alone, imports inside functions and for types included.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "attn_cli"

# Files beside the rooms that every room may import; they import one another and `config` alone.
GROUND = {
    "device",
    "errors",
    "files",
    "memory",
    "model_files",
    "ranks",
    "rendezvous",
    "threads",
    "wording",
    "workers",
}
ENGINES = {"train", "search", "viz", "metrics", "embed", "convert", "check", "info", "markup"}
SYSTEMS = ("generation", "nodes", "pretraining", "recordings", "tasks", "translation")

# Room -> the rooms that it may import, beside GROUND.
ARROWS: dict[str, set[str]] = {
    "config": set(),
    "lines": {"config"},
    "tokenizers": {"config", "lines"},
    "nn": {"config"},
    "data": {"config", "lines", "tokenizers"},
    "models": {"config", "nn"},
    "search": {"config"},
    "metrics": {"config", "lines"},
    "check": {"config", "lines"},
    "viz": {"config", "lines", "tokenizers", "data"},
    "train": {"config", "lines", "tokenizers", "data", "nn", "models"},
    "embed": {"config", "lines", "tokenizers", "data", "nn", "models"},
    "convert": {"config", "lines", "tokenizers", "data", "nn", "models"},
    "info": {"config", "tokenizers"},
    "markup": {"config", "lines", "data"},
    "systems": {"config", "lines", "tokenizers", "data", "nn", "models", *ENGINES},
    "serve": {"config", "lines", "tokenizers", "search", "embed", "systems", "markup"},
    "cli": {"config", "lines", "tokenizers", "data", "systems", "serve", *ENGINES},
    "api": {"config", "lines", "systems", "viz", "metrics", "embed"},
}
# Within `systems`: the folder -> the other folders that it may import.
SHARED = {
    "translation": {"generation"},
    "pretraining": {"generation"},
    "recordings": {"tasks", "translation"},  # labels as of texts, recordings as of a translator
}

WHY = {
    "train": "the loop knows no system and no search: what a system trains is a Recipe of its own",
    "search": "it knows a step function and a state; what a model is belongs to systems/generation",
    "viz": "it draws maps; what a model attends to is said by the maps.py of its system",
    "check": "it reads lines without PyTorch; what a system makes of them belongs to its folder",
    "models": "a model takes tensors; text, tokenizers and lines belong to its system",
    "nn": "a layer takes tensors and a config",
    "config": "it is read by everyone, before PyTorch is loaded, and imports no one",
    "info": "it reads a model directory without PyTorch; what loads a model is slow to start",
    "markup": "it takes texts out of files and puts others in; what translates is a system",
    "data": "what knows a model or a task belongs to the folder of its system",
    "serve": "it asks the decoders of systems and embed; what answers a line belongs there",
    "systems": "what two systems share belongs to systems/base.py or systems/generation",
}

# getattr with a default that asks the platform or an error of the system, not an object of ours.
PLATFORM = {"files.py", "data/named_files.py"}
# Rooms in which no type is left open (pyproject.toml has mypy check them strictly).
TYPED = ("nn", "models", "search", "lines", "train")
MOST_ANY = 40  # in all others


def modules() -> dict[str, Path]:
    paths = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


MODULES = modules()
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def imports(name: str) -> Iterator[str]:
    """The modules of the package that a module imports."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write `from attn_cli...`, not a relative import"
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            wanted = [each if each in MODULES else str(node.module) for each in members]
        else:
            continue
        yield from (each for each in wanted if each in MODULES and each != name)


def room(name: str) -> str:
    """`attn_cli.nn.rnn` stands in `nn`, `attn_cli.files` in `files`, `attn_cli` in ``."""
    return ".".join(name.split(".")[1:2])


def folder(name: str) -> str:
    """The system's folder that a module stands in; "" for `systems/base.py`."""
    parts = name.split(".")
    return parts[2] if len(parts) > 2 and parts[2] in SYSTEMS else ""


def test_every_room_is_known():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms == set(ARROWS), "a new room needs its arrows here and a line in attn_cli/__init__"
    folders = {path.name for path in (PACKAGE / "systems").iterdir() if any(path.glob("*.py"))}
    assert folders == set(SYSTEMS), "a new system stands in SYSTEMS here and in systems/base.py"


def test_the_page_of_the_house_names_what_is_there():
    page = ast.get_docstring(TREES["attn_cli"])
    assert page
    for each in (*ARROWS, *SYSTEMS):
        assert f"  {each}/ " in page, f"attn_cli/__init__.py: no line says what {each}/ is for"
    named = re.findall(r"`([a-z0-9_/]+/[a-z0-9_]+\.py)`", page)
    lost = [path for path in named if not (PACKAGE / path).exists() and path[:6] != "tests/"]
    assert named and not lost, f"attn_cli/__init__.py: no such files: {', '.join(lost)}"
    tables = set(re.findall(r"\b[A-Z]{4,}\b", page))
    stands = {name for tree in TREES.values() for name in assigned(tree)}
    assert tables <= stands, f"attn_cli/__init__.py: no such tables: {tables - stands}"


def test_imports_follow_the_arrows():
    wrong = []
    for name in MODULES:
        mine = room(name)
        if mine == "":
            allowed = set()
        elif mine == "__main__":
            allowed = {"cli"}
        else:
            allowed = {*ARROWS.get(mine, {"config"}), mine, "", *GROUND}
        reason = WHY.get(mine, f"it may import {', '.join(sorted(allowed - {'', mine}))}")
        wrong += [
            f"{name} imports {other}: {reason}"
            for other in imports(name)
            if room(other) not in allowed
        ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_loop_knows_no_model():
    files = {"attn_cli.models.directory", "attn_cli.models.storage"}  # what a model is saved as
    wrong = [
        f"{name} imports {other}: {WHY['train']}"
        for name in MODULES
        for other in imports(name)
        if (room(name), room(other)) == ("train", "models") and other not in files
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_system_knows_no_other():
    wrong = [
        f"{name} imports {other}: {WHY['systems']}"
        for name in MODULES
        for other in imports(name)
        if folder(name) and room(other) == "systems"
        if folder(other) not in {"", folder(name), *SHARED.get(folder(name), ())}
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle():
    open_path: list[str] = []
    done: set[str] = set()

    def visit(name: str) -> None:
        assert name not in open_path, "a circle: " + " -> ".join([*open_path, name])
        if name not in done:
            open_path.append(name)
            for imported in set(imports(name)):
                visit(imported)
            done.add(open_path.pop())

    for name in MODULES:
        visit(name)


def assigned(tree: ast.Module) -> set[str]:
    """The names that a module binds by assignments."""
    targets = [
        target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def calls(tree: ast.AST, function: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == function
    ]


def test_nothing_is_asked_what_it_has():
    wrong = []
    for name, tree in TREES.items():
        place = MODULES[name].relative_to(PACKAGE).as_posix()
        probes = calls(tree, "hasattr")
        if place not in PLATFORM:
            probes += [call for call in calls(tree, "getattr") if len(call.args) > 2]
        wrong += [f"{place}:{call.lineno}" for call in probes]
    assert not wrong, (
        f"{', '.join(wrong)}: hasattr, or getattr with a default; give the object's base class an "
        "attribute or a method with a default, and its subclasses what differs"
    )


def test_types_are_said():
    counts: dict[str, int] = defaultdict(int)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "Any":
                counts[name] += 1
    untyped = [name for name in counts if room(name) in TYPED]
    assert not untyped, f"Any in {untyped}, whose rooms are checked strictly: say what it is"
    worst = sorted(counts.items(), key=lambda item: -item[1])[:8]
    assert sum(counts.values()) <= MOST_ANY, (
        f"Any is said {sum(counts.values())} times, where {MOST_ANY} were enough: an array, a "
        f"TypedDict, a Protocol or a type variable says more; most of them stand in {worst}"
    )
