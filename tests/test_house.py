"""The shape of the house, read from its source: who may import whom, what is public, and how large a file may be."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import eventbus
from eventbus import errors

ROOT = Path(eventbus.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST = 400

VALUES = {"codec", "durability", "errors", "message", "policy", "observer", "stats", "filters"}
ROOMS = ("values", "_core", "_runtime", "_journal", "faces", "top")
"""From the bottom: each may import itself and those before it."""

# section 4 of the design, as far as it has come
CONTRACT = {
    "Bus", "Router",
    "Message", "Delivery", "Policy", "Fifo", "Priority", "Keyed", "Overflow", "Retention", "Retry", "Isolation",
    "EARLIEST", "LATEST", "msg", "Clock", "Observer", "Topic", "Queue", "Subscription", "Consumer",
    "EventBusError", "ClosedError", "FullError", "EmptyError", "DeclarationError", "SettlementError",
    "StaleDeliveryError", "UnroutableError", "FilterError", "Codec", "CodecError",
    "Journal", "Sync", "JournalError", "JournalLockedError", "JournalCorruptError",
}  # fmt: skip
BESIDES = {"Backoff", "Batch", "Death", "Handler", "BusStats", "QueueStats", "TopicStats", "Transaction", "murmur2"}
"""What the calls of the contract return, and the partitioner that ships too."""


def module_of(path: Path) -> str:
    parts = ("eventbus", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Which room a module of ours stands in."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in ("__main__", "demo", "inspection"):
        return "top"
    if parts[1] in VALUES:
        return "values"
    return parts[1] if parts[1] in ("_core", "_runtime", "_journal") else "faces"


class Imports(ast.NodeVisitor):
    """What a file imports: (module, names, whether that is for type checkers alone)."""

    def __init__(self) -> None:
        self.found: list[tuple[str, tuple[str, ...], bool]] = []
        self.typing = False

    def visit_If(self, node: ast.If) -> None:
        was, self.typing = self.typing, self.typing or "TYPE_CHECKING" in ast.unparse(node.test)
        for child in node.body:
            self.visit(child)
        self.typing = was
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(alias.name, (), self.typing) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        self.found.append((node.module or "", tuple(alias.name for alias in node.names), self.typing))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path, *, typing: bool = False) -> list[tuple[str, tuple[str, ...]]]:
    visitor = Imports()
    visitor.visit(tree_of(path))
    return [(module, names) for module, names, for_typing in visitor.found if typing or not for_typing]


def importers_of(package: str, *, typing: bool = False) -> set[str]:
    return {
        module_of(path)
        for path in FILES
        for module, _ in imports_of(path, typing=typing)
        if module == package or module.startswith(package + ".")
    }


every_file = pytest.mark.parametrize("path", FILES, ids=module_of)


@every_file
def test_imports_point_one_way(path: Path) -> None:
    here = ROOMS.index(room_of(module_of(path)))
    for module, names in imports_of(path):
        if module.split(".")[0] == "eventbus":
            targets = [f"{module}.{name}" for name in names] if module == "eventbus" else [module]
            for target in targets:
                assert ROOMS.index(room_of(target)) <= here, f"{module_of(path)} imports {target}"


def test_no_module_of_the_core_or_below_imports_a_face_even_for_its_types() -> None:
    for path in FILES:
        if room_of(module_of(path)) == "_core":
            for module, _ in imports_of(path, typing=True):
                assert module.split(".")[0] != "eventbus" or room_of(module) in ("values", "_core")


def test_anyio_is_imported_in_the_runtime_the_faces_and_above_alone() -> None:
    assert {room_of(module) for module in importers_of("anyio", typing=True)} <= {"_runtime", "faces", "top"}


@pytest.mark.parametrize("library", ["asyncio", "trio", "sniffio", "uvloop"])
def test_event_loops_are_known_by_name_in_one_file(library: str) -> None:
    assert importers_of(library, typing=True) <= {"eventbus._runtime.parking"}


def test_threads_are_known_to_the_runtime_and_locks_to_who_decides() -> None:
    assert importers_of("_thread") == set()
    users = importers_of("threading")
    assert {room_of(module) for module in users} <= {"values", "_core", "_runtime", "_journal"}
    for path in FILES:
        if room_of(module_of(path)) in ("values", "_core"):
            for module, names in imports_of(path):
                assert module != "threading" or set(names) <= {"RLock", "Lock"}, "the core starts no thread"


def test_msgspec_is_known_to_the_codec_and_the_journal_alone() -> None:
    assert {module for module in importers_of("msgspec", typing=True) if room_of(module) != "_journal"} == {
        "eventbus.codec"
    }


def test_sqlite_is_known_to_the_journal_alone() -> None:
    assert {room_of(module) for module in importers_of("sqlite3", typing=True)} == {"_journal"}


@pytest.mark.parametrize("library", ["pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"])
def test_nobody_imports(library: str) -> None:
    assert importers_of(library, typing=True) == set()


def test_clocks_are_read_in_one_file() -> None:
    assert importers_of("time") == {"eventbus._runtime.clock"}
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
                assert "datetime" not in ast.unparse(node.value), f"{module_of(path)} reads the clock"


def test_nothing_is_imported_by_a_name_found_in_data() -> None:
    for path in FILES:
        called = {ast.unparse(n.func) for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call)}
        assert not called & {"__import__", "eval"}, module_of(path)


def test_the_core_awaits_nothing() -> None:
    for path in FILES:
        if room_of(module_of(path)) in ("values", "_core"):
            waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
            assert not any(isinstance(node, waits) for node in ast.walk(tree_of(path))), module_of(path)


# what is public


@every_file
def test_every_file_opens_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), module_of(path)


@every_file
def test_no_file_is_longer_than_it_should_be(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, "it asks to become two nouns"


def test_the_public_names_are_those_of_the_design() -> None:
    assert set(eventbus.__all__) == CONTRACT | BESIDES


def test_the_public_names_are_sorted_and_there() -> None:
    names = eventbus.__all__
    assert len(set(names)) == len(names)
    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in names:
        assert getattr(eventbus, name) is not None
    assert set(names) <= set(dir(eventbus))


@every_file
def test_what_a_module_calls_public_is_there(path: Path) -> None:
    if path.name == "__main__.py" or "demo" in path.parts:
        return
    module = importlib.import_module(module_of(path))
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name), f"{module.__name__}.{name}"


def test_what_is_not_there_says_so() -> None:
    for module in (eventbus, importlib.import_module("eventbus.filters")):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nothing'"):
            module.nothing  # noqa: B018


def public_classes() -> list[type]:
    return [value for name in eventbus.__all__ if inspect.isclass(value := getattr(eventbus, name))]


def test_every_public_name_has_a_docstring() -> None:
    for name in eventbus.__all__:
        value = getattr(eventbus, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), name
            assert value.__doc__, f"{name} has a docstring of its own"


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__name__)
def test_every_public_method_has_a_docstring(kind: type) -> None:
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or isinstance(member, ModuleType):
            continue
        owner = next(base for base in kind.__mro__ if name in vars(base))
        if not owner.__module__.startswith("eventbus."):
            continue
        if inspect.isroutine(member) or isinstance(member, property):
            assert inspect.getdoc(member), f"{kind.__name__}.{name}"


def test_the_errors_descend_as_the_design_says() -> None:
    tree: dict[str, Any] = {
        "EventBusError": "Exception", "ClosedError": "EventBusError", "FullError": "EventBusError",
        "EmptyError": "EventBusError", "DeclarationError": "EventBusError", "SettlementError": "EventBusError",
        "StaleDeliveryError": "SettlementError", "UnroutableError": "EventBusError", "FilterError": "EventBusError",
        "CodecError": "EventBusError",
    }  # fmt: skip
    assert set(errors.__all__) == set(tree)
    for name, base in tree.items():
        assert getattr(errors, name).__bases__[0].__name__ == base


def test_values_that_users_hold_are_frozen() -> None:
    import attrs

    for name in ("Policy", "Fifo", "Priority", "Keyed", "Retention", "Death", "QueueStats", "TopicStats", "BusStats"):
        kind = getattr(eventbus, name)
        assert attrs.has(kind)
        assert kind.__setattr__ is not object.__setattr__, name
