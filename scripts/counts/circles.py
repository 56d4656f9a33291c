"""Count circles of imports between the product's modules.

Imports inside functions count, and those by `import_module` or `import_string`; imports for type
checkers only do not. That Python runs the package `a` before `a.b` does not count as an import of
`a`. For each import that is part of a circle, the shortest circle is listed.
"""

import ast
from collections import deque

from .files import Habit, TrackedFile, last_name

IMPORTERS = {"import_module", "import_string", "__import__"}


class ImportReader(ast.NodeVisitor):
    """The modules that one module imports, each with its line."""

    def __init__(self, file: TrackedFile, modules: set[str]) -> None:
        self.file = file
        self.modules = modules
        self.imports: dict[str, int] = {}

    def add(self, name: str, line: int) -> None:
        """Note the longest part of a dotted name that is a module."""
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        if name:
            self.imports.setdefault(name, line)

    def visit_If(self, node: ast.If) -> None:
        for_types = last_name(node.test) == "TYPE_CHECKING"
        for child in node.orelse if for_types else ast.iter_child_nodes(node):
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.add(f"{self.file.imported_from(node)}.{alias.name}", node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        match node.args:
            case [ast.Constant(value=str(name)), *_] if last_name(node.func) in IMPORTERS:
                self.add(self.file.absolute(name), node.lineno)
        self.generic_visit(node)


def shortest_way(start: str, end: str, imports: dict[str, dict[str, int]]) -> list[str]:
    """Return the modules from start to end, each importing the next; none where no way leads."""
    ways, seen = deque([[start]]), {start}
    while ways:
        way = ways.popleft()
        if way[-1] == end:
            return way
        for following in sorted(imports[way[-1]].keys() - seen):
            seen.add(following)
            ways.append([*way, following])
    return []


def count_circles(files: list[TrackedFile]) -> Habit:
    modules = {file.module: file for file in files}
    imports = {}
    for name, file in modules.items():
        reader = ImportReader(file, set(modules))
        reader.visit(file.tree)
        imports[name] = reader.imports
    circles: dict[frozenset[str], str] = {}
    for name, file in modules.items():
        for imported, line in sorted(imports[name].items()):
            if way := shortest_way(imported, name, imports):
                listed = f"{file.path}:{line}: {' → '.join([name, *way])}"
                circles.setdefault(frozenset(way), listed)
    return Habit("circles of imports", len(circles), 0, sorted(circles.values()))
