"""Holds a simulated module against MicroPython's type stubs: it may offer less than the chip, never anything else.

Both sides are read, not run (the modules are MicroPython, the stubs are no code). `differences` tells of every public
name of the module that the stub lacks, that is another kind of thing there or has another value, and of every way to
call a function or class that the stub refuses, or in which it names a parameter or sets a default otherwise.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Definition = ast.FunctionDef | ast.ClassDef | ast.AnnAssign | ast.Assign
UNKNOWN = object()  # a value that reading does not tell


def differences(ours: "Scope", theirs: "Scope") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, what differs) for each difference of a simulated module from its stub."""
    yield from _differences(ours, theirs, "")


class Modules:
    """The modules in some folders, an earlier folder's before a later's. `suffix`: of their files."""

    def __init__(self, folders: list[Path], suffix: str) -> None:
        self._folders = folders
        self._suffix = suffix

    def find(self, name: str) -> "Scope | None":
        """Return the module `name`, dotted if it lies in a package; None if there is none."""
        name = name.replace(".", "/")
        for folder in self._folders:
            for at in (folder, folder / "stdlib"):
                for path in (at / (name + self._suffix), at / name / ("__init__" + self._suffix)):
                    if path.exists():
                        return Scope(ast.parse(path.read_text()), self)
        return None


class Scope:
    """What a module or class defines by name, and by inheritance or import from the `modules`: all definitions of a
    name that there are, since a stub overloads.
    """

    def __init__(self, node: ast.Module | ast.ClassDef, modules: Modules, outer: "Scope | None" = None):
        self.modules = modules
        self.outer = outer
        self.own: dict[str, list[Definition]] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        self._bases = node.bases if isinstance(node, ast.ClassDef) else []
        self._fill(node.body)

    def _fill(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.own.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.own.setdefault(node.target.id, []).append(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self.own.setdefault(target.id, []).append(node)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (node.module or "", alias.name)
            elif isinstance(node, ast.If):  # a stub's sys.version_info
                self._fill(node.body)
                self._fill(node.orelse)

    def names(self) -> Iterator[str]:
        """Yield every public name, inherited ones too, and of the special ones those that make or call an object."""
        inherited = [name for base in self.bases() for name in base.names()]
        for name in dict.fromkeys([*self.own, *(() if self.outer else self.imported), *inherited]):
            if not name.startswith("_") or name in ("__init__", "__call__"):
                yield name

    def bases(self) -> Iterator["Scope"]:
        """Yield the scopes of the classes that this one is derived from, as far as they are known."""
        for base in self._bases:
            scope = None
            if isinstance(base, ast.Name) and self.outer:
                scope = self.outer.inside(base.id)
            elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
                module = self.modules.find(base.value.id)
                scope = module and module.inside(base.attr)
            if scope:
                yield scope

    def find(self, name: str) -> tuple[list[Definition], "Scope"]:
        """Return the definitions of `name` and the scope they stand in; none if there are none.

        An alias, as in `ipoll = poll`, is what it stands for.
        """
        if name in self.own:
            found = self.own[name]
            value = getattr(found[-1], "value", None)
            if isinstance(value, ast.Name):
                for scope in (self, self.outer):
                    aliased, where = scope.find(value.id) if scope else ([], self)
                    if aliased:
                        return aliased, where
            return found, self
        for base in self.bases():
            if base.find(name)[0]:
                return base.find(name)
        if name in self.imported:
            module, there = self.imported[name]
            scope = self.modules.find(module)
            if scope:
                return scope.find(there)
        return [], self

    def inside(self, name: str) -> "Scope | None":
        """Return the scope of the class `name`, or None if it is none."""
        found, where = self.find(name)
        return Scope(found[-1], self.modules, where) if found and isinstance(found[-1], ast.ClassDef) else None

    def value(self, node: ast.expr | None) -> object:
        """Return the value of an expression made of literals and of names known here, else UNKNOWN."""
        if isinstance(node, ast.Name):
            for scope in (self, self.outer):
                found, where = scope.find(node.id) if scope else ([], self)
                if found and isinstance(found[-1], ast.Assign | ast.AnnAssign):
                    return where.value(found[-1].value)
            return UNKNOWN
        try:
            value = ast.literal_eval(node) if node else UNKNOWN
        except ValueError:
            return UNKNOWN
        return UNKNOWN if value is ... else value


@dataclass
class _Signature:
    """What a call may give: `positional` (name or None if it cannot be named, default), and so on."""

    positional: list[tuple[str | None, object]]
    named: dict[str, object]
    more: bool
    more_named: bool
    required: int = field(init=False)
    demanded: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.required = sum(default is _REQUIRED for _, default in self.positional)
        self.demanded = frozenset(name for name, default in self.named.items() if default is _REQUIRED)

    def accepts(self, count: int, names: frozenset[str]) -> bool:
        """Whether a call with `count` positional arguments and with those `names` fits."""
        if count > len(self.positional) and not self.more:
            return False
        open_names = {name for name, _ in self.positional[count:] if name}
        missing = {name for name, default in self.positional[count:] if default is _REQUIRED}
        known = open_names | set(self.named)
        return missing <= names and self.demanded <= names and (self.more_named or names <= known)


_REQUIRED = object()


def _signature(node: ast.FunctionDef, scope: Scope, method: bool) -> _Signature:
    args = node.args
    ordered = [*args.posonlyargs, *args.args]
    defaults: list[object] = [_REQUIRED] * (len(ordered) - len(args.defaults))
    defaults += [scope.value(default) for default in args.defaults]
    names = [None if arg in args.posonlyargs else arg.arg for arg in ordered]
    positional = list(zip(names, defaults, strict=True))
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
    if method and not static:
        positional = positional[1:]
    named = {
        arg.arg: _REQUIRED if default is None else scope.value(default)
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    }
    return _Signature(positional, named, args.vararg is not None, args.kwarg is not None)


def _differences(ours: Scope, theirs: Scope, prefix: str) -> Iterator[tuple[str, str]]:
    for name in ours.names():
        if name == "*":
            continue
        where = prefix + name
        mine, my_scope = ours.find(name)
        found, their_scope = theirs.find(name)
        if not found and name == "__init__":
            found, their_scope = theirs.find("__new__")
        if not found:
            bare = name == "__init__" and isinstance(mine[-1], ast.FunctionDef) and len(mine[-1].args.args) == 1
            if not bare:
                yield where, "is not in the stub"
        elif mine:  # not what the VM itself has, of which only the name is known here
            yield from _one(where, mine[-1], my_scope, found, their_scope, bool(prefix))


def _one(
    where: str, mine: Definition, my_scope: Scope, found: list[Definition], their_scope: Scope, method: bool
) -> Iterator[tuple[str, str]]:
    theirs = found[-1]
    if isinstance(mine, ast.ClassDef):
        if not isinstance(theirs, ast.ClassDef):
            yield where, "is a class, in the stub it is none"
        else:
            inside = Scope(mine, my_scope.modules, my_scope), Scope(theirs, their_scope.modules, their_scope)
            yield from _differences(*inside, where + ".")
    elif isinstance(mine, ast.FunctionDef):
        if any(isinstance(mark, ast.Name | ast.Attribute) and _tail(mark) in _PROPERTY for mark in mine.decorator_list):
            return
        if isinstance(theirs, ast.ClassDef):
            inside = Scope(theirs, their_scope.modules, their_scope)
            found, their_scope, stub_method = inside.own.get("__init__", []), inside, True  # the function makes one
        else:
            stub_method = method
        overloads = [_signature(node, their_scope, stub_method) for node in found if isinstance(node, ast.FunctionDef)]
        if overloads:
            yield from ((where, what) for what in _calls(_signature(mine, my_scope, method), overloads))
        elif not isinstance(theirs, ast.ClassDef):
            yield where, "is a function, in the stub it is none"
    else:
        value, stub_value = my_scope.value(mine.value), their_scope.value(getattr(theirs, "value", None))
        if not isinstance(theirs, ast.AnnAssign | ast.Assign):
            yield where, "is a constant, in the stub it is none"
        elif UNKNOWN not in (value, stub_value) and value != stub_value:
            yield where, f"is {value!r}, in the stub {stub_value!r}"


_PROPERTY = ("property", "setter")


def _tail(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _calls(mine: _Signature, overloads: list[_Signature]) -> Iterator[str]:
    """Yield what can be said of calls that `mine` takes and none of the overloads does."""
    if mine.more and not any(stub.more for stub in overloads):
        yield "takes any number of arguments, the stub does not"
    if mine.more_named and not any(stub.more_named for stub in overloads):
        yield "takes any keyword, the stub does not"
    counts = range(mine.required, len(mine.positional) + 1)
    for count in counts:
        if not any(stub.accepts(count, mine.demanded) for stub in overloads):
            yield f"takes {count} arguments, the stub does not"
    for name in mine.named:
        # An overload may want some of them together.
        sets = (mine.demanded | {name}, frozenset(mine.named))
        if not any(stub.accepts(count, names) for stub in overloads for count in counts for names in sets):
            yield f"takes {name}=, the stub does not"
    for index, (name, default) in enumerate(mine.positional):
        there = [stub.positional[index] for stub in overloads if index < len(stub.positional)]
        if there and all(other not in (None, name) for other, _ in there):
            yield f"calls argument {index + 1} {name}, the stub {there[0][0]}"
        yield from _default(name, default, [other for _, other in there])
    for name, default in mine.named.items():
        yield from _default(name, default, [stub.named[name] for stub in overloads if name in stub.named])


def _default(name: str | None, mine: object, theirs: list[object]) -> Iterator[str]:
    known = [value for value in theirs if value not in (_REQUIRED, UNKNOWN)]
    if mine not in (_REQUIRED, UNKNOWN) and known and mine not in known:
        yield f"sets {name} to {mine!r} by default, the stub to {known[0]!r}"
