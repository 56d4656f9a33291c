"""Count class names that more than one file defines, outside tests and migrations.

Classes inside classes and functions count, and those that a call creates (`namedtuple("Row", …)`).
"""

import ast
from collections import defaultdict
from collections.abc import Iterator

from .files import Habit, TrackedFile, last_name

FORCED = {"Meta", "Media", "Command", "Config", "Migration"}  # by Django
MAKERS = {"namedtuple", "NamedTuple", "TypedDict", "NewType", "make_dataclass", "type"} | {
    *("Enum", "IntEnum", "StrEnum", "Choices", "TextChoices", "IntegerChoices"),
}


def class_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each class's name and line, also of those that a call creates."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), _, *_]):
                if last_name(func) in MAKERS:
                    yield name, node.lineno


def count_classes(files: list[TrackedFile]) -> Habit:
    places: dict[str, dict[str, str]] = defaultdict(dict)  # name → file → line of the list
    for file in files:
        for name, line in class_names(file.tree):
            if name not in FORCED:
                places[name][file.path] = f"{file.path}:{line}: {name}"
    shared = [list(places[name].values()) for name in sorted(places) if len(places[name]) > 1]
    offenders = [line for lines in shared for line in lines]
    return Habit("class names in more than one file", len(shared), 3, offenders)
