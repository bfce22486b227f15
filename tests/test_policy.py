"""Policies are values, validated when made, with errors that name the field, what it got and what it takes."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import attrs
import pytest

from eventbus import (
    EARLIEST,
    LATEST,
    Backoff,
    Bus,
    DeclarationError,
    Fifo,
    Isolation,
    Journal,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retention,
    murmur2,
)
from eventbus.policy import DEAD_LETTERS, LONGEST_NAME, check_name


def test_the_defaults_are_the_contracts() -> None:
    policy = Policy()
    assert policy.order == Fifo()
    assert policy.capacity == 65_536
    assert policy.overflow is Overflow.WAIT
    assert policy.dead_letter == DEAD_LETTERS == "dead-letters"
    assert Keyed() == Keyed(partitions=None, sticky=False, partitioner=None)


def test_policies_compare_by_what_they_promise() -> None:
    assert Policy(Keyed(3), 5, Overflow.FAIL) == Policy(Keyed(partitions=3), capacity=5, overflow=Overflow.FAIL)
    assert Policy() != Policy(Priority())
    assert Policy() != Policy(capacity=None)
    assert hash(Policy()) == hash(Policy())
    assert Keyed(2, partitioner=murmur2) != Keyed(2)
    assert Keyed(2, partitioner=murmur2) == Keyed(2, partitioner=murmur2)


@pytest.mark.parametrize("value", [Fifo(), Priority(), Keyed(), Policy(), Retention(1)])
def test_policies_are_frozen(value: Any) -> None:
    for field in (*(f.name for f in attrs.fields(type(value))), "other"):
        with pytest.raises(AttributeError):
            setattr(value, field, 1)


def test_positions_print_as_they_are_written() -> None:
    assert (repr(EARLIEST), repr(LATEST)) == ("EARLIEST", "LATEST")


@pytest.mark.parametrize(
    ("make", "kind", "parts"),
    [
        (lambda: Policy("fifo"), TypeError, ["Policy.order", "Fifo or Priority or Keyed", "'fifo'"]),  # type: ignore
        (lambda: Policy(Fifo), TypeError, ["Policy.order", "Fifo'>"]),  # type: ignore[arg-type]
        (lambda: Policy(capacity=0), ValueError, ["Policy.capacity", "a whole number of at least 1, or None", "0"]),
        (lambda: Policy(capacity=-5), ValueError, ["Policy.capacity", "-5"]),
        (lambda: Policy(capacity=1.5), TypeError, ["Policy.capacity", "1.5"]),  # type: ignore[arg-type]
        (lambda: Policy(capacity=True), TypeError, ["Policy.capacity", "True"]),
        (lambda: Policy(capacity="9"), TypeError, ["Policy.capacity", "'9'"]),  # type: ignore[arg-type]
        (lambda: Policy(overflow="wait"), TypeError, ["Policy.overflow", "Overflow", "'wait'"]),  # type: ignore
        (lambda: Policy(dead_letter=7), TypeError, ["Policy.dead_letter", "the name of a queue or None", "7"]),  # type: ignore
        (lambda: Policy(dead_letter=""), DeclarationError, ["Policy.dead_letter", "1 to 255 bytes", "0 bytes"]),
        (lambda: Policy(dead_letter="a\n"), DeclarationError, ["Policy.dead_letter", "printable", r"'a\n'"]),
        (lambda: Keyed(0), ValueError, ["Keyed.partitions", "at least 1", "0"]),
        (lambda: Keyed("3"), TypeError, ["Keyed.partitions", "'3'"]),  # type: ignore[arg-type]
        (lambda: Keyed(False), TypeError, ["Keyed.partitions", "False"]),
        (lambda: Keyed(sticky=True), ValueError, ["Keyed.sticky", "partitions=N", "None"]),
        (lambda: Policy(single_active=1), TypeError, ["Policy.single_active", "bool", "1"]),  # type: ignore[arg-type]
        (lambda: Policy(Keyed(3, sticky=True), single_active=True), ValueError, ["Policy.single_active", "sticky"]),
        (lambda: Keyed(3, sticky=1), TypeError, ["Keyed.sticky", "bool", "1"]),  # type: ignore[arg-type]
        (lambda: Keyed(partitioner=murmur2), ValueError, ["Keyed.partitioner", "partitions=N"]),
        (lambda: Keyed(3, partitioner=5), TypeError, ["Keyed.partitioner", "callable or None", "5"]),  # type: ignore
        (lambda: Retention(0), ValueError, ["Retention.count", "at least 1", "0"]),
        (lambda: Retention(age=0), ValueError, ["Retention.age", "more than 0", "0"]),
        (lambda: Retention(size=0), ValueError, ["Retention.size", "at least 1", "0"]),
        (lambda: Retention(compact=1), TypeError, ["Retention.compact", "bool", "1"]),  # type: ignore[arg-type]
        (lambda: Policy(ttl=10**400), ValueError, ["Policy.ttl", "seconds, more than 0", repr(10**400)]),
        (lambda: Backoff(factor=10**400), ValueError, ["Backoff.factor", "at least 1,", repr(10**400)]),
        (lambda: Backoff(factor=float("inf")), ValueError, ["Backoff.factor", "inf"]),
        (lambda: Journal("a\0.db"), ValueError, ["Journal.path", "no null character", r"'a\x00.db'"]),
        (lambda: Retention(2.0), TypeError, ["Retention.count", "2.0"]),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_what_it_got_and_what_it_takes(make: Any, kind: type, parts: list[str]) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert type(caught.value) is kind
    for part in parts:
        assert part in str(caught.value)


def test_an_error_says_or_none_only_where_none_is_taken() -> None:
    with pytest.raises(ValueError, match="or None"):
        Policy(capacity=0)
    with pytest.raises(ValueError) as caught:
        Backoff(first=-1)
    assert "or None" not in str(caught.value)


# names


@pytest.mark.parametrize("name", ["a", "orders/billing", "größe", "日本", "x" * LONGEST_NAME, "ä" * 127, "a b"])
def test_a_name_is_anything_printable_up_to_255_bytes(name: str) -> None:
    assert check_name("a queue", name) == name


@pytest.mark.parametrize("name", ["", "x" * 256, "ä" * 128, "a\tb", "a\x00", "\ud800"])
def test_a_name_that_could_not_be_printed_or_is_too_long_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match="a queue takes a name of 1 to 255 bytes, all printable") as caught:
        check_name("a queue", name)
    assert caught.value.name == name


@pytest.mark.parametrize("name", [None, 1, b"q", ["q"]])
def test_a_name_is_a_str(name: object) -> None:
    with pytest.raises(TypeError, match="a queue takes a name, but got"):
        check_name("a queue", name)


# hashes and lanes


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_the_java_clients(key: str, expected: int) -> None:
    """The vectors are those of Kafka's own UtilsTest."""
    assert murmur2(key) == murmur2(key.encode()) == expected


def lane_of(policy: Policy, key: str | bytes | None) -> int | None:
    queue = Bus().queue("q", policy)
    queue.put_nowait("b", key=key)
    return queue.get_nowait().partition


def test_a_lane_is_crc32_modulo_the_partitions_as_in_librdkafka() -> None:
    """CRC-32's check value, of the digits 1 to 9, is 0xCBF43926."""
    assert crc32(b"123456789") == 0xCBF43926
    for partitions in (1, 2, 3, 7, 12, 1000):
        assert lane_of(Policy(Keyed(partitions)), "123456789") == 0xCBF43926 % partitions
        assert lane_of(Policy(Keyed(partitions)), b"123456789") == 0xCBF43926 % partitions


def test_a_str_key_is_its_utf_8_bytes() -> None:
    for order in (Keyed(97), Keyed(97, partitioner=murmur2)):
        assert lane_of(Policy(order), "größe") == lane_of(Policy(order), "größe".encode())


def test_a_message_without_a_key_has_no_partition() -> None:
    assert lane_of(Policy(Keyed(5)), None) is None
    assert lane_of(Policy(Keyed(5, partitioner=murmur2)), None) is None
    assert lane_of(Policy(Keyed()), "a") is None
    assert lane_of(Policy(), "a") is None


def test_murmur2_as_partitioner_is_made_positive_as_the_java_client_does() -> None:
    for key in ("21", "foobar", "abc"):
        assert lane_of(Policy(Keyed(10, partitioner=murmur2)), key) == (murmur2(key) & 0x7FFFFFFF) % 10


def test_a_partitioner_takes_the_key_as_bytes() -> None:
    seen = []

    def first(key: bytes) -> int:
        seen.append(key)
        return key[0]

    assert lane_of(Policy(Keyed(10, partitioner=first)), "abc") == ord("a") % 10
    assert lane_of(Policy(Keyed(10, partitioner=first)), b"abc") == ord("a") % 10
    assert seen == [b"abc", b"abc"]


def test_a_partitioner_gets_the_number_of_partitions_if_it_wants_it() -> None:
    assert lane_of(Policy(Keyed(10, partitioner=lambda key, count: count - 1)), "a") == 9
    assert lane_of(Policy(Keyed(10, partitioner=lambda key, count=4: count)), "a") == 4
    assert lane_of(Policy(Keyed(10, partitioner=lambda key, *, count=6: count)), "a") == 6


def test_a_builtin_may_be_a_partitioner() -> None:
    assert lane_of(Policy(Keyed(10, partitioner=crc32)), "a") == crc32(b"a") % 10
    assert lane_of(Policy(Keyed(10, partitioner=len)), "abc") == 3


class Silent:
    """A callable that tells no signature."""

    __signature__ = "unreadable"

    def __call__(self, key: bytes) -> int:
        return len(key)


def test_a_partitioner_that_tells_no_signature_gets_the_key_alone() -> None:
    assert lane_of(Policy(Keyed(10, partitioner=Silent())), "abc") == 3


@pytest.mark.parametrize("number", [0, 9, 10, 1 << 40, -1, -(1 << 31)])
def test_any_integer_is_a_lane(number: int) -> None:
    lane = lane_of(Policy(Keyed(10, partitioner=lambda key: number)), "a")
    assert lane == (number if number >= 0 else number & 0x7FFFFFFF) % 10


@pytest.mark.parametrize("result", [None, 1.0, "1", b"a"])
def test_a_partitioner_that_returns_no_integer_is_told_to_the_publisher(result: Any) -> None:
    queue = Bus().queue("q", Policy(Keyed(10, partitioner=lambda key: result)))
    with pytest.raises(TypeError, match="must return an integer, but returned") as caught:
        queue.put_nowait("b", key="a")
    assert repr(result) in str(caught.value)
    assert queue.stats().published == 0


def test_a_partitioner_that_raises_raises_to_the_publisher() -> None:
    queue = Bus().queue("q", Policy(Keyed(10, partitioner=lambda key: 1 // 0)))
    with pytest.raises(ZeroDivisionError):
        queue.put_nowait("b", key="a")
    assert queue.stats().published == 0


def test_isolations_and_overflows_are_those_of_the_contract() -> None:
    assert {member.name for member in Overflow} == {"WAIT", "FAIL", "DROP_OLDEST", "DROP_NEWEST"}
    assert {member.name for member in Isolation} == {"NONE", "COPY", "CODEC"}
