"""Topic patterns: words separated by dots, where ``*`` stands for one word and ``#`` for any number, none included.

The rule is that of RabbitMQ's topic exchange. A trie of words holds the bindings of all patterns, so that a topic finds
its own by walking its name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Generic, TypeVar

from eventbus.errors import DeclarationError
from eventbus.policy import check_name

B = TypeVar("B")


def check_topic(name: object) -> str:
    """A topic's own name has no wildcards."""
    checked = check_name("a topic", name)
    if "*" in checked or "#" in checked:
        raise DeclarationError(
            f"a topic's name has no wildcards, but got {checked!r}; "
            f"use bus.subscription() or queue.bind() for patterns",
            name=checked,
        )
    return checked


def check_pattern(pattern: object) -> str:
    """A wildcard is a whole word."""
    checked = check_name("a topic pattern", pattern)
    for word in checked.split("."):
        if len(word) > 1 and ("*" in word or "#" in word):
            raise DeclarationError(
                f"the wildcards * and # stand for whole words between dots, but pattern {checked!r} has {word!r}",
                name=checked,
            )
    return checked


class _Node(Generic[B]):
    __slots__ = ("bindings", "children")

    def __init__(self) -> None:
        self.children: dict[str, _Node[B]] = {}
        self.bindings: dict[B, None] = {}


class Trie(Generic[B]):
    """Bindings by pattern."""

    __slots__ = ("root",)

    def __init__(self) -> None:
        self.root: _Node[B] = _Node()

    def add(self, pattern: str, binding: B) -> None:
        node = self.root
        for word in pattern.split("."):
            node = node.children.setdefault(word, _Node())
        node.bindings[binding] = None

    def remove(self, pattern: str, binding: B) -> None:
        path = [self.root]
        words = pattern.split(".")
        for word in words:
            path.append(path[-1].children[word])
        del path[-1].bindings[binding]
        for parent, word in zip(reversed(path[:-1]), reversed(words), strict=True):
            child = parent.children[word]
            if child.bindings or child.children:
                break
            del parent.children[word]

    def match(self, topic: str) -> list[B]:
        """The bindings whose pattern matches the topic, each once."""
        words = topic.split(".")
        found: dict[B, None] = {}
        todo, seen = [(self.root, 0)], set()
        while todo:
            node, index = todo.pop()
            if (id(node), index) in seen:  # patterns such as #.#.# reach the same place in many ways
                continue
            seen.add((id(node), index))
            if index == len(words):
                found.update(node.bindings)
            else:
                todo += [(node.children[w], index + 1) for w in (words[index], "*") if w in node.children]
            if "#" in node.children:
                todo += [(node.children["#"], rest) for rest in range(index, len(words) + 1)]
        return list(found)


@lru_cache(1024)  # it is asked for each message that is read, and there are few patterns and topics
def matches(pattern: str, topic: str) -> bool:
    """Whether a pattern matches a topic's name."""
    trie: Trie[None] = Trie()
    trie.add(pattern, None)
    return bool(trie.match(topic))
