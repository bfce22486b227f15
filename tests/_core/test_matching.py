"""The trie of patterns against a naive matcher."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import DeclarationError
from eventbus._core.matching import Trie, check_pattern, check_topic, matches

words = st.sampled_from(["a", "b", "orders", ""])
patterns = st.lists(st.one_of(words, st.sampled_from(["*", "#"])), min_size=1, max_size=5).map(".".join)
topics = st.lists(words, min_size=1, max_size=5).map(".".join)


def naive(pattern: list[str], topic: list[str]) -> bool:
    if not pattern:
        return not topic
    if pattern[0] == "#":
        return any(naive(pattern[1:], topic[i:]) for i in range(len(topic) + 1))
    return bool(topic) and pattern[0] in ("*", topic[0]) and naive(pattern[1:], topic[1:])


@given(patterns, topics)
def test_a_pattern_matches_what_its_words_say(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) == naive(pattern.split("."), topic.split("."))


@given(st.lists(patterns), st.data(), topics)
def test_a_trie_finds_the_bindings_that_are_there_each_once(bound: list[str], data: st.DataObject, topic: str) -> None:
    trie: Trie[int] = Trie()
    for number, pattern in enumerate(bound):
        trie.add(pattern, number)
    removed = data.draw(st.sets(st.sampled_from(range(len(bound)))) if bound else st.just(set()))
    for number in removed:
        trie.remove(bound[number], number)
    found = trie.match(topic)
    assert len(set(found)) == len(found)
    assert set(found) == {
        n for n, pattern in enumerate(bound) if n not in removed and naive(pattern.split("."), topic.split("."))
    }


@given(st.lists(patterns, unique=True))
def test_a_trie_from_which_all_was_removed_is_as_new(bound: list[str]) -> None:
    trie: Trie[str] = Trie()
    for pattern in bound:
        trie.add(pattern, pattern)
    for pattern in bound:
        trie.remove(pattern, pattern)
    assert not trie.root.children
    assert not trie.root.bindings


@pytest.mark.parametrize("name", ["orders.*", "#", "a*b", "*"])
def test_a_topic_has_no_wildcards(name: str) -> None:
    with pytest.raises(DeclarationError, match="wildcards"):
        check_topic(name)


@pytest.mark.parametrize("pattern", ["orders*", "a.b#", "##", "*.**"])
def test_a_wildcard_is_a_whole_word(pattern: str) -> None:
    with pytest.raises(DeclarationError, match="whole words"):
        check_pattern(pattern)


def test_many_hashes_in_a_row_cost_no_more_than_their_number_times_the_words() -> None:
    assert matches(".".join(["#"] * 60), ".".join(["a"] * 60))
    assert not matches(".".join(["#"] * 60 + ["b"]), ".".join(["a"] * 60))
