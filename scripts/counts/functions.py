"""Count short functions with one caller, whose body could stand in the caller itself.

Short means at most three lines after the docstring, as the formatter writes them. Functions outside
classes and private methods are counted. Public methods are not, because they are what a class
offers and a framework may call them; neither are functions with a decorator that passes them to a
framework.

A caller is a function that calls it, once or many times, or a module that calls it outside
functions. The function itself, tests and `super()` are not callers. A function that is passed on,
stored in a table or named by a string is not counted, because no caller could contain its body.
Names are followed through imports. An attribute counts for every method of that name, except that
`self._x` counts for its own class where that has such a method.

The share is that of all functions of the product's packages.
"""

import ast
from collections import defaultdict
from dataclasses import dataclass, field

from .files import Habit, TrackedFile, last_name, share

SHORT = 3
PROPERTIES = {"property", "cached_property"}
PLAIN_DECORATORS = PROPERTIES | {"staticmethod", "classmethod"}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Named = ast.Name | ast.Attribute
Names = dict[str, tuple[str, str]]  # of a module: what it imports, from which module, as what


@dataclass(frozen=True, eq=False)
class Function:
    """A function, and where it stands."""

    node: FunctionNode
    file: TrackedFile
    class_name: str

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def full_name(self) -> str:
        """Return how a string would name it: a method by its name alone."""
        return self.name if self.class_name else f"{self.file.module}.{self.name}"

    @property
    def owner(self) -> tuple[str, str]:
        return self.file.path, self.class_name

    @property
    def place(self) -> str:
        return f"{self.file.path}:{self.node.lineno}"

    @property
    def story(self) -> list[ast.stmt]:
        """Return the body after the docstring."""
        return self.node.body[ast.get_docstring(self.node) is not None :]

    @property
    def length(self) -> int:
        """Return the number of lines from the first statement of the body to its end."""
        if not self.story:
            return 0
        first, last = self.story[0], self.story[-1]
        return (last.end_lineno or last.lineno) - first.lineno + 1

    @property
    def decorators(self) -> set[str]:
        return {last_name(node) or "a call" for node in self.node.decorator_list}

    @property
    def is_special(self) -> bool:
        return self.name.startswith("__") and self.name.endswith("__")

    @property
    def is_looked_at(self) -> bool:
        is_ours_to_call = not self.class_name or self.name.startswith("_")
        is_ours_to_call &= not self.is_special and self.decorators <= PLAIN_DECORATORS
        return self.length <= SHORT and is_ours_to_call


@dataclass(frozen=True)
class Use:
    """A name that stands in code."""

    module: str  # whose name it is; "" for an attribute of an object
    owner: tuple[str, str]  # the file, and the class where it is an attribute of `self` or `cls`
    inside: tuple[FunctionNode, ...]
    is_call: bool

    @property
    def caller(self) -> str:
        """Return where the function around begins, or else the file."""
        return ":".join([self.owner[0], *(str(node.lineno) for node in self.inside[:1])])


def imported_names(file: TrackedFile) -> Names:
    names: Names = {}
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ImportFrom):
            module = file.imported_from(node)
            names |= {alias.asname or alias.name: (module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package = alias.name.partition(".")[0]
                names[alias.asname or package] = (alias.name if alias.asname else package, "")
    return names


@dataclass
class Reader(ast.NodeVisitor):
    """The functions of all modules, the uses of all names, and what strings say."""

    names: dict[str, Names]
    functions: list[Function] = field(default_factory=list)
    uses: dict[str, list[Use]] = field(default_factory=lambda: defaultdict(list))
    strings: set[str] = field(default_factory=set)

    def read(self, file: TrackedFile) -> None:
        self.file = file
        self.class_name = ""
        self.inside: tuple[FunctionNode, ...] = ()
        self.called: set[ast.expr] = set()
        self.visit(file.tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.class_name = self.class_name, node.name
        self.generic_visit(node)
        self.class_name = outer

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        class_name = "" if self.inside else self.class_name
        self.functions.append(Function(node, self.file, class_name))
        for child in [*node.decorator_list, node.args]:
            self.visit(child)
        outer, self.inside = self.inside, (*self.inside, node)
        for statement in node.body:
            self.visit(statement)
        self.inside = outer

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Call(self, node: ast.Call) -> None:
        self.called.add(node.func)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings.add(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        self.add(node, *self.origin(self.file.module, node.id))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        module, own_class = "", ""
        match node.value:
            case ast.Call(func=ast.Name(id="super")):
                return
            case ast.Name(id="self" | "cls"):
                own_class = self.class_name
            case ast.Name(id=name):
                module = ".".join(filter(None, self.origin(self.file.module, name)))
            case ast.Attribute():
                module = ast.unparse(node.value)
        if module in self.names:
            self.add(node, *self.origin(module, node.attr))
        else:
            self.add(node, "", node.attr, own_class)
        self.generic_visit(node)

    def origin(self, module: str, name: str) -> tuple[str, str]:
        """Follow a name to the module that does not import it."""
        seen = set()
        while (module, name) not in seen and name in self.names.get(module, {}):
            seen.add((module, name))
            module, name = self.names[module][name]
        return module, name

    def uses_of(self, function: Function) -> list[Use]:
        """Return where the function may be meant, outside of itself."""
        uses = [use for use in self.uses[function.name] if function.node not in use.inside]
        if not function.class_name:
            return [use for use in uses if use.module == function.file.module]
        owners = {f.owner for f in self.functions if f.name == function.name}
        return [
            use
            for use in uses
            if not use.module and (use.owner == function.owner or use.owner not in owners)
        ]

    def add(self, node: Named, module: str, name: str, own_class: str = "") -> None:
        if isinstance(node.ctx, ast.Load):
            is_call = node in self.called
            use = Use(module, (self.file.path, own_class), self.inside, is_call)
            self.uses[name].append(use)


def count_short(files: list[TrackedFile]) -> Habit:
    reader = Reader({file.module: imported_names(file) for file in files})
    for file in files:
        reader.read(file)
    offenders = []
    for function in reader.functions:
        uses = reader.uses_of(function) if function.is_looked_at else []
        callers = {use.caller for use in uses}
        are_calls = all(use.is_call for use in uses) or function.decorators & PROPERTIES
        if len(callers) == 1 and are_calls and function.full_name not in reader.strings:
            caller = next(iter(callers))
            offenders.append(f"{function.place}: {function.name}, called by {caller} alone")
    value = share(len(offenders), len(reader.functions))
    return Habit("short functions with one caller", value, 8, offenders, unit=" %")
