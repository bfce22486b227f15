"""The journal's command line as its users meet it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import eventbus
from eventbus import EARLIEST, Codec, Fifo, Journal, Keyed, Policy, Priority, Retention, Sync, blocking
from eventbus.inspection import loading
from eventbus.inspection.command import app
from tests.kit import ManualClock

ROOT = Path(eventbus.__file__).parent.parent


def run(*words: object, input: bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], input=input)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def bus_of(path: Path, **options: Any) -> blocking.Bus:
    return blocking.Bus(Journal(path, sync=Sync.OFF), **options)


def fill(path: Path, count: int = 5) -> None:
    """A topic with a subscription, and a queue of which one message died."""
    with bus_of(path) as bus:
        placed = bus.topic("orders.placed")
        billing = placed.subscription("billing", Policy(Keyed()))
        work = bus.queue("work")
        for number in range(count):
            placed.publish({"n": number, "total": number * 50}, key=f"c{number % 2}", headers={"region": "EU"})
        billing.get().ack()
        work.put_many([1, 2, 3])
        work.get().reject("bad")


# info


def test_info_counts_what_topics_keep_and_queues_have_not_settled(path: Path) -> None:
    fill(path)
    facts = json.loads(run("info", path, "--json").stdout)
    assert (facts["last_offset"], facts["open"], facts["owner"], facts["closed_cleanly"]) == (9, False, None, True)
    (topic,) = facts["topics"]
    assert (topic["name"], topic["messages"], topic["retention"]) == ("orders.placed", 5, None)
    queues = {queue["name"]: queue for queue in facts["queues"]}
    assert {name: queue["unsettled"] for name, queue in queues.items()} == {
        "orders.placed/billing": 4,
        "work": 2,
        "dead-letters": 1,
    }
    assert queues["orders.placed/billing"]["kind"] == "subscription"
    assert queues["orders.placed/billing"]["topics"] == [{"pattern": "orders.placed", "filter": None}]
    text = run("info", path).stdout
    assert "last offset 9, closed" in text
    assert [line.split()[:3] for line in text.splitlines()[3:]] == [
        ["orders.placed", "topic", "5"],
        ["dead-letters", "queue", "1"],
        ["orders.placed/billing", "subscription", "4"],
        ["work", "queue", "2"],
    ]


def test_info_tells_what_failed_and_what_comes_later_and_what_is_a_function(path: Path) -> None:
    with bus_of(path) as bus:
        bus.topic("t", retain=Retention(count=9)).subscription("s", where=lambda message: True)
        bus.queue("q").put_many([1, 2])
        bus.queue("q").put(3, delay=3600.0)
        bus.queue("q").get().nack(delay=1800.0)
    facts = json.loads(run("info", path, "--json").stdout)
    queues = {queue["name"]: queue for queue in facts["queues"]}
    assert (queues["q"]["unsettled"], queues["q"]["failed"], queues["q"]["later"]) == (3, 1, 2)
    assert queues["t/s"]["topics"] == [{"pattern": "t", "filter": "(a function)"}]
    assert queues["t/s"]["oldest"] is None
    assert facts["topics"][0]["retention"] == {"age": None, "compact": False, "count": 9, "size": None}


def test_info_counts_what_a_sought_subscription_is_to_have_again(path: Path) -> None:
    fill(path)
    with bus_of(path) as bus:
        bus.topic("orders.placed").subscription("late", start=eventbus.EARLIEST)
        bus.topic("orders.placed").publish(1)
    facts = json.loads(run("info", path, "--json").stdout)
    assert {queue["name"]: queue["unsettled"] for queue in facts["queues"]}["orders.placed/late"] == 6


def test_info_names_what_no_module_has_declared_for_long(path: Path) -> None:
    with bus_of(path, clock=ManualClock()) as bus:
        bus.topic("old").subscription("old")
    with bus_of(path) as bus:
        bus.topic("new")
    assert json.loads(run("info", path, "--json").stdout)["not_declared_for_long"] == ["old", "old/old"]
    assert "not declared for 7 days, and so read by nobody: old, old/old" in run("info", path).stdout
    assert "not declared" not in run("info", path, "--days", "100000").stdout


def test_a_topic_that_was_removed_from_the_list_is_shown_by_what_it_keeps(path: Path) -> None:
    fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM eventbus_topics")
    connection.close()
    assert json.loads(run("info", path, "--json").stdout)["topics"][0]["declared"] is None
    assert "orders.placed" in run("info", path).stdout


def test_info_tells_who_has_the_journal_and_how_it_was_left(path: Path) -> None:
    with bus_of(path) as bus:
        bus.queue("q").put(1)
        facts = json.loads(run("info", path, "--json").stdout)
        assert (facts["open"], facts["owner"], facts["closed_cleanly"]) == (True, os.getpid(), None)
        assert facts["log_bytes"] > 0
        text = run("info", path).stdout
        assert f"open in process {os.getpid()}" in text
        assert "of log" in text
        Path(f"{path}-lock").write_text("")
        assert "open in another process" in run("info", path).stdout
    connection = sqlite3.connect(path)
    connection.execute("UPDATE eventbus_bus SET clean = 0")
    connection.commit()
    connection.close()
    Path(f"{path}-lock").unlink()
    assert "not closed in good order" in run("info", path).stdout


def test_info_of_a_journal_without_anything(path: Path) -> None:
    with bus_of(path):
        pass
    assert run("info", path).stdout.splitlines()[0].endswith("last offset 0, closed")


# reading


def test_replay_prints_in_order_what_is_asked_for(path: Path) -> None:
    fill(path)
    offsets = [[line["offset"] for line in lines(run("replay", path, *words).stdout)] for words in (
        (),
        ("orders.*", "--where", "body.total > 100"),
        ("--key", "c1"),
        ("--start", "2", "--stop", "4"),
        ("--start", "EARLIEST", "--stop", "2001-01-01"),
        ("--start", "2100-01-01T00:00Z"),
        ("other",),
        ("work",),
        ("dead-letters",),
        ("#", "--start", "2001-01-01"),
    )]  # fmt: skip
    assert offsets == [[1, 2, 3, 4, 5], [4, 5], [2, 4], [2, 3], [], [], [], [7, 8], [9], [1, 2, 3, 4, 5, 7, 8, 9]]


def test_a_line_has_all_that_a_message_has(path: Path) -> None:
    with bus_of(path, clock=ManualClock()) as bus:
        queue = bus.queue("q")
        queue.put({"a": "é"}, key="k", headers={"h": [1]}, priority=3, id="i", ttl=60.0)
        queue.get().reject("no")
        queue.put(2, key=b"\xff")
    (dead,) = lines(run("replay", path, "dead-letters").stdout)
    assert dead == {
        "offset": 2,
        "topic": "q",
        "time": "2001-09-09T01:46:40Z",
        "key": "k",
        "headers": {"h": [1]},
        "priority": 3,
        "id": "i",
        "deaths": [
            {
                "queue": "q",
                "reason": "rejected",
                "offset": 1,
                "attempts": 1,
                "error": "no",
                "first_time": "2001-09-09T01:46:40Z",
                "time": "2001-09-09T01:46:40Z",
            }
        ],
        "body": {"a": "é"},
    }
    (other,) = lines(run("replay", path, "q").stdout)
    assert (other["key_base64"], other["body"]) == ("/w==", 2)


class Hex:
    """A codec of somebody's own."""

    def encode(self, body: Any, type: Any) -> bytes:
        return b"\x00\xff" + str(body).encode()

    def decode(self, data: bytes, type: Any) -> Any:
        return int(data[2:])


def test_a_body_that_is_no_json_is_printed_as_base64_and_matches_no_filter_on_it(path: Path) -> None:
    codec: Codec = Hex()
    with bus_of(path, codec=codec) as bus:
        bus.topic("t").publish(5)
        bus.topic("t").publish(6, ttl=60.0)
    assert [line["body_base64"] for line in lines(run("replay", path).stdout)] == ["AP81", "AP82"]
    assert "expires" in lines(run("replay", path).stdout)[1]
    assert run("replay", path, "--where", "body == 5").stdout == ""
    assert lines(run("export", path, "--format", "cloudevents").stdout)[0]["data_base64"] == "AP81"
    assert r"\x005" not in run("tail", path).stdout
    assert r"\x00\xff5" in run("tail", path).stdout
    assert run("verify", path).exit_code == 1
    assert run("verify", path, "--no-bodies").exit_code == 0


def test_more_than_a_page_is_read_through_in_both_directions(path: Path) -> None:
    with bus_of(path) as bus:
        bus.topic("t").publish_many(list(range(2_000)))
        for _ in range(20):  # routes enough that the log is read through
            bus.topic("t").subscription()
            bus.topic("t").publish(-1)
    assert [line["body"] for line in lines(run("replay", path).stdout)] == [*range(2_000), *[-1] * 20]
    assert [line["body"] for line in lines(run("tail", path, "--json", "--where", "body == 3").stdout)] == [3]
    assert [line["body"] for line in lines(run("tail", path, "--json", "-n", "22").stdout)][:3] == [1998, 1999, -1]


def test_tail_prints_the_last_and_nothing_that_moves_a_terminal(path: Path) -> None:
    fill(path)
    with bus_of(path) as bus:
        bus.topic("orders.placed").publish("a\x1b[2Jb\x9b", key="k\n\x1b[1m")
        bus.topic("orders.placed").publish(1, key=b"\x1b")
    text = run("tail", path, "-n", "3").stdout
    assert [line.split()[0] for line in text.splitlines()] == ["5", "10", "11"]
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert r"[k\n\x1b[1m]" in text
    assert r"[b'\x1b']" in text
    assert "(rejected in work: bad)" in run("tail", path, "dead-letters").stdout
    assert run("tail", path, "-n", "0").stdout == ""


WRITER = """
import sys
from eventbus import blocking
with blocking.Bus(sys.argv[1]) as bus:
    topic = bus.topic("t")
    for line in sys.stdin:
        topic.publish({"total": int(line)})
        print("written", flush=True)
"""


def test_tail_follows_what_another_process_writes(path: Path) -> None:
    with bus_of(path) as bus:
        bus.topic("t").publish({"total": 200})
    words = [
        sys.executable,
        "-m",
        "eventbus",
        "journal",
        "tail",
        path,
        "--follow",
        "--where",
        "body.total > 100",
        "--json",
    ]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT}
    with (
        subprocess.Popen([sys.executable, "-c", WRITER, path], **pipes) as writer,
        subprocess.Popen(words, **pipes) as tail,
    ):
        for total, said in ((50, None), (300, 300), (2, None), (400, 400)):
            if total == 50:
                assert json.loads(tail.stdout.readline())["body"] == {"total": 200}
            writer.stdin.write(b"%d\n" % total)
            writer.stdin.flush()
            assert writer.stdout.readline() == b"written\n"
            if said is not None:
                assert json.loads(tail.stdout.readline())["body"] == {"total": said}
        tail.send_signal(signal.SIGINT)
        assert (tail.wait(20), tail.stderr.read()) == (130, b"")
        writer.stdin.close()
        assert writer.wait(20) == 0


def test_a_closed_pipe_ends_it_without_a_traceback(path: Path) -> None:
    with bus_of(path) as bus:
        bus.topic("t").publish_many(["x" * 1000] * 500)
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "eventbus", "journal", "replay", path]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


# loading


@pytest.mark.parametrize("form", ["jsonl", "cloudevents"])
def test_what_was_exported_can_be_loaded(path: Path, tmp_path: Path, form: str) -> None:
    headers = {"region": "EU", "n": 5, "flag": True, "Odd name": [1.5, {"a": None}], "time": "later", "big": 1 << 40}
    with bus_of(path) as bus:
        topic = bus.topic("t")
        topic.publish({"a": [1, 2.50, "é\n"]}, key="k", headers=headers, priority=7, id="i")
        topic.publish(None, key=b"\xff")
        topic.publish("plain", id="j")
    out = tmp_path / "out"
    assert run("export", path, "--format", form, "-o", out).exit_code == 0
    other = tmp_path / "other.db"
    result = run("load", other, out, "--create", "--topic", "u", "--format", form)
    assert (result.exit_code, result.stderr) == (0, "3 messages loaded, 0 bad lines\n")
    with bus_of(other) as bus:
        first, second, third = bus.topic("u").replay()
        assert (first.body, first.key, dict(first.headers), first.priority, first.id) == (
            {"a": [1, 2.5, "é\n"]}, "k", headers, 7, "i",
        )  # fmt: skip
        assert (second.body, second.key) == (None, b"\xff")
        assert (third.body, third.id, dict(third.headers)) == ("plain", "j", {})


def test_a_cloud_event_is_one(path: Path) -> None:
    with bus_of(path, clock=ManualClock()) as bus:
        bus.topic("t").publish({"a": 1}, key="k", headers={"region": "EU", "No": 1})
    assert lines(run("export", path, "--format", "cloudevents").stdout) == [
        {
            "specversion": "1.0",
            "id": "1",
            "source": "shop.db",
            "type": "t",
            "time": "2001-09-09T01:46:40Z",
            "subject": "k",
            "region": "EU",
            "otherheaders": '{"No":1}',
            "datacontenttype": "application/json",
            "data": {"a": 1},
        }
    ]


BAD = [
    (b"nonsense", "not JSON"),
    (b"\xff", "not JSON"),
    (b"[" * 100_000, "nested too deep"),
    (b"[]", "takes a JSON object"),
    (b"{}", '"body" is missing'),
    (b'{"body": 1, "key": 1}', '"key" takes a string'),
    (b'{"body": 1, "key_base64": "?"}', "base64"),
    (b'{"body": 1, "headers": []}', '"headers" takes a JSON object'),
    (b'{"body": 1, "priority": "high"}', '"priority" takes an integer'),
    (b'{"body": 1, "id": 5}', '"id" takes a string'),
    (b'{"body": {"n": "\\ud800"}}', "it cannot be encoded: 'utf-8' codec can't encode character"),
]
BAD_EVENTS = [
    (b'{"id": "1"}', '"specversion" takes "1.0"'),
    (b'{"specversion": "1.0", "source": "s", "type": "t"}', '"id" is missing'),
    (b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": ""}', "cannot be loaded"),
]


@pytest.mark.parametrize(("bad", "form", "good"), [
    (BAD, "jsonl", b'{"body": 1}'),
    (BAD_EVENTS, "cloudevents", b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t"}'),
], ids=["jsonl", "cloudevents"])  # fmt: skip
def test_bad_lines_are_named_and_the_rest_is_loaded(path: Path, bad: Any, form: str, good: bytes) -> None:
    fill(path)
    text = b"\n".join([good, b"", *(line for line, _ in bad), good])
    result = run("load", path, "--queue", "work", "--format", form, input=text)
    assert result.exit_code == 1
    *said, total = result.stderr.splitlines()
    assert total == f"2 messages loaded, {len(bad)} bad lines"
    for number, (line, (_, reason)) in enumerate(zip(said, bad, strict=True), 3):
        assert line.startswith(f"line {number}: ")
        assert reason in line
        assert "the bus" not in line, "there is none that anybody here could make"
    with bus_of(path) as bus:
        assert bus.queue("work").stats().ready == 4


def test_loading_keeps_what_a_queue_was_declared_with_and_ends_when_it_is_full(path: Path) -> None:
    with bus_of(path) as bus:
        bus.queue("small", Policy(Priority(), capacity=3))
    result = run("load", path, "--queue", "small", input=b'{"body": 1}\n' * 5)
    assert result.exit_code == 1
    assert "3 messages loaded" in result.stderr
    assert "line 4 finds no room" in result.stderr
    with bus_of(path) as bus:
        assert bus.queue("small").stats().ready == 3
        bus.queue("small", Policy(Priority(), capacity=3))


def test_many_lines_are_loaded_in_several_commits(path: Path, tmp_path: Path) -> None:
    source = tmp_path / "lines"
    source.write_bytes(b'{"body": 1}\n' * 2_500)
    assert run("load", path, source, "--create", "--topic", "t").exit_code == 0
    assert len(run("replay", path).stdout.splitlines()) == 2_500


# dead letters


def test_redrive_puts_back_what_is_wanted(path: Path) -> None:
    with bus_of(path) as bus:
        bus.queue("work").put_many([1, 2, 3])
        for delivery in bus.queue("work").get_many(3):
            delivery.reject("bad")
        bus.queue("other")
    assert run("redrive", path, "dead-letters", "--where", "body == 2").stdout == "1 message put back\n"
    assert run("redrive", path, "dead-letters", "--limit", "1", "--to", "other").stdout == "1 message put back\n"
    found = {name: [line["body"] for line in lines(run("replay", path, name).stdout)] for name in ("work", "other")}
    assert found == {"work": [2], "other": [1]}
    for words in (("nothing",), ("dead-letters", "--to", "nowhere")):
        result = run("redrive", path, *words)
        assert result.exit_code == 2
        assert "there is no queue" in result.stderr


def test_redrive_ends_when_a_queue_is_full_and_says_how_many_it_put_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PATIENCE", 0.3)
    with bus_of(path) as bus:
        bus.queue("work", Policy(capacity=3)).put_many([1, 2, 3])
        for delivery in bus.queue("work").get_many(3):
            delivery.reject("bad")
        bus.queue("work").put(4)
    result = run("redrive", path, "dead-letters")
    assert (result.exit_code, result.stdout) == (1, "2 messages put back\n")
    assert "no more were put back" in result.stderr


# verifying and compacting


def test_a_sound_journal_is_sound_also_while_its_owner_writes(path: Path) -> None:
    fill(path)
    assert run("verify", path).stdout == f"{path}: sound\n"
    with bus_of(path) as bus:
        bus.queue("work").get().nack(delay=3600.0)
        assert json.loads(run("verify", path, "--json").stdout) == {"path": str(path), "problems": []}


def test_ids_that_are_known_again_are_sound(path: Path) -> None:
    with blocking.Bus(path) as bus:
        for id in ("a", 'größer "als" 1 €', "nul \0 and more"):
            bus.queue("q", Policy(dedup=60)).put(1, id=id)
            bus.topic("t", dedup=60).publish(1, id=id)
    assert run("verify", path).stdout == f"{path}: sound\n"


def test_ids_are_sound_also_while_the_bus_is_open(path: Path) -> None:
    with bus_of(path) as bus:
        bus.queue("q", Policy(dedup=60)).put(1, id="a")  # a commit of messages leaves the last offset as it was
        assert run("verify", path).stdout == f"{path}: sound\n"


def damaged(path: Path, *statements: str) -> Any:
    fill(path)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    result = run("verify", path)
    assert result.exit_code == 1, result.stdout
    return result.stdout


@pytest.mark.parametrize(("statement", "told"), [
    ("UPDATE eventbus_messages SET body = '{\"n\": 9}' WHERE offset = 2", "message 2 is not what was written"),
    ("UPDATE eventbus_messages SET route = 99 WHERE offset = 2", "message 2 has a route that is not there: 99"),
    ("UPDATE eventbus_messages SET headers = '[' WHERE offset = 2", "message 2 is not what was written"),
    ("UPDATE eventbus_messages SET key = CAST(x'ff' AS TEXT) WHERE offset = 2", "message 2 cannot be read"),
    ("DELETE FROM eventbus_messages WHERE offset = 2", "has not settled message 2, which is not there"),
    ("UPDATE eventbus_bus SET offset = 4", "message 5 is beyond the last offset of the journal, 4"),
    ("UPDATE eventbus_queues SET mark = 99 WHERE name = 'work'", "'work' is done with everything up to 99"),
    ("UPDATE eventbus_queues SET policy = '?' WHERE name = 'work'", "the policy of queue 'work' cannot be read"),
    ("UPDATE eventbus_topics SET retention = '?'", "the retention of topic 'orders.placed' cannot be read"),
    ("UPDATE eventbus_bindings SET filter = '?'", "the filter of queue 1 cannot be read"),
    ("UPDATE eventbus_routes SET queues = '[1.5]' WHERE id = 1", "route 1 is not what was written"),
    ("INSERT INTO eventbus_settled VALUES (2, 99)", "'work' has settled message 99, which is not there"),
    ("INSERT INTO eventbus_settled VALUES (2, 1)", "'work' has settled message 1, and everything up to 6 anyway"),
    ("INSERT INTO eventbus_unsettled VALUES (2, 0, 8)", "'work' is a FIFO, and has message 8 on a shelf"),
    ("INSERT INTO eventbus_settled VALUES (1, 5)", "is no FIFO, and has settled message 5 out of its turn"),
    ("INSERT INTO eventbus_states VALUES (77, 5, 1, 1, NULL, NULL)", "eventbus_states speaks of queue 77"),
    ("INSERT INTO eventbus_ids VALUES (1.0, 77, 'a', 1)", "eventbus_ids speaks of 77, which is neither a queue nor"),
    ("INSERT INTO eventbus_ids VALUES (1.0, 'orders', 'a', 1)", "eventbus_ids speaks of 'orders', which is neither"),
    ("INSERT INTO eventbus_ids VALUES (1.0, 2, 'a', 99)", "knows the id 'a' of message 99, which is beyond the last"),
    ("INSERT INTO eventbus_ids VALUES (1.0, 2, 'a', 1)", "eventbus_ids knows the id 'a' of message 1, which has"),
    ("DROP TABLE eventbus_messages", "not all of it could be read: no such table"),
    ("DELETE FROM eventbus_bus", "it has no last offset"),
], ids=lambda value: value[:40])  # fmt: skip
def test_what_is_wrong_is_said(path: Path, statement: str, told: str) -> None:
    assert told in damaged(path, statement)


def test_problems_are_counted_as_people_count(path: Path) -> None:
    assert damaged(path, "DELETE FROM eventbus_messages WHERE offset = 2").endswith(": 1 problem\n")
    assert damaged(path.with_name("b.db"), "UPDATE eventbus_messages SET route = 99").endswith(" problems\n")


def test_no_damage_makes_a_command_crash(path: Path) -> None:
    with bus_of(path) as bus:
        bus.topic("t").subscription("s")
        for number in range(60):
            bus.topic("t").publish_many([f"{number} {'x' * 300}"] * 20)
    whole = path.read_bytes()
    page = 4096
    spoilt = path.with_name("spoilt.db")
    found = 0
    for start in range(0, len(whole), page * 7):
        for data in (
            whole[:start] + b"\xa5" * page + whole[start + page :],
            whole[:start] + bytes(page) + whole[start + page :],
            whole[: start + 100],
        ):
            spoilt.write_bytes(data)
            result = run("verify", spoilt)
            assert result.exit_code in (1, 2), result.stdout
            assert result.exception is None or isinstance(result.exception, SystemExit)
            found += result.exit_code == 1
            for words in (("info",), ("replay",), ("tail",), ("compact",)):
                result = run(*words, spoilt)
                assert isinstance(result.exception, SystemExit | None), (words, start)
    assert found


def test_around_a_damaged_page_everything_is_read_and_what_cannot_be_is_named(path: Path) -> None:
    with bus_of(path) as bus:
        bus.topic("t").publish_many(["x" * 1000] * 200)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"x" * 900)
    start = place - place % 4096
    data[start : start + 4096] = bytes(4096)
    path.write_bytes(data)
    result = run("verify", path)
    assert result.exit_code == 1
    assert "messages 1" in result.stdout, result.stdout
    assert "cannot be read: " in result.stdout
    assert run("replay", path).exit_code == 1


def test_compact_deletes_what_is_settled_and_makes_the_file_small(path: Path) -> None:
    with bus_of(path) as bus:
        queue = bus.queue("q")
        queue.put_many(["x" * 200] * 5_000)
        queue.get_many(4_999).ack()
        bus.topic("t").publish("kept")
    before = path.stat().st_size
    result = run("compact", path)
    assert result.exit_code == 0
    assert "before" in result.stdout
    assert path.stat().st_size < before / 3
    assert run("verify", path).exit_code == 0
    with bus_of(path) as bus:
        assert bus.queue("q").stats().ready == 1
        assert [message.body for message in bus.topic("t").replay()] == ["kept"]


# what it cannot do


@pytest.mark.parametrize("command", ["info", "tail", "replay", "export", "verify", "compact"])
def test_a_file_that_is_not_there_is_named(path: Path, command: str) -> None:
    result = run(command, path)
    assert result.exit_code == 2
    assert f"there is no journal '{path}'" in result.stderr
    assert not path.exists()


def test_what_would_make_a_file_does_not_without_being_told(path: Path) -> None:
    assert run("load", path, "--topic", "t", input=b"").exit_code == 2
    assert run("redrive", path, "dead-letters").exit_code == 2
    assert not path.exists()


def test_a_file_of_another_application_or_of_a_newer_format_is_refused(path: Path) -> None:
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    assert "another application" in run("info", path).stderr
    other = path.with_name("newer.db")
    fill(other)
    connection = sqlite3.connect(other)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for command in ("info", "verify", "compact"):
        result = run(command, other)
        assert result.exit_code == 2
        assert "has format 99" in result.stderr


def test_what_needs_to_own_the_journal_names_its_owner(path: Path) -> None:
    fill(path)
    with bus_of(path):
        for words in (("compact",), ("redrive", "dead-letters"), ("load", "--topic", "t", "-")):
            result = run(words[0], path, *words[1:], input=b"")
            assert result.exit_code == 2, result.stderr
            assert f"open in process {os.getpid()}" in result.stderr


@pytest.mark.parametrize("words", [("tail",), ("replay",), ("redrive", "dead-letters")])
def test_a_bad_filter_is_explained(path: Path, words: tuple[str, ...]) -> None:
    fill(path)
    result = run(words[0], path, *words[1:], "--where", "body.total >")
    assert result.exit_code == 2
    assert "cannot understand 'body.total >'" in result.stderr


def test_bad_words_end_with_2(path: Path, tmp_path: Path) -> None:
    fill(path)
    assert run("replay", path, "--start", "yesterday").exit_code == 2
    assert run("replay", path, "a*b").exit_code == 2
    assert run("load", path).exit_code == 2
    assert run("load", path, "--topic", "t", "--queue", "q").exit_code == 2
    assert run("replay", path, "--start", "1" * 30).exit_code == 2
    result = run("load", path, tmp_path / "missing", "--topic", "t")
    assert (result.exit_code, result.stderr) == (2, f"cannot use {tmp_path / 'missing'}: No such file or directory\n")
    assert run("export", path, "-o", tmp_path / "no" / "where").exit_code == 2


# what is rare


def test_tail_of_a_queue_shows_what_it_has_not_settled(path: Path) -> None:
    with bus_of(path) as bus:
        work, ranked = bus.queue("work"), bus.queue("ranked", Policy(Priority()))
        for queue in (work, ranked):
            queue.put_many([1, 2, 3])
            queue.get().ack()
    for name in ("work", "ranked"):
        assert [line["body"] for line in lines(run("tail", path, name, "--json").stdout)] == [2, 3]


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=str)
def test_so_does_that_of_a_subscription(path: Path, order: Any) -> None:
    with bus_of(path) as bus:
        bus.topic("t").publish_many(range(4))
        queue = bus.subscription("late", "t", Policy(order), where="body != 2", start=EARLIEST)
        bus.topic("t").publish_many([4, 5])
        queue.put("direct")
        bus.subscription("other", "t", start=EARLIEST)
        out = {delivery.body: delivery for delivery in (queue.get() for _ in range(6))}
        out[1].ack()
    wanted = [0, 3, 4, 5, "direct"]
    assert [line["body"] for line in lines(run("tail", path, "late", "--json").stdout)] == wanted
    for command in ("replay", "export"):
        assert [line["body"] for line in lines(run(command, path, "late").stdout)] == wanted
    assert [line["body"] for line in lines(run("replay", path, "late", "--start", "5").stdout)] == wanted[2:]
    assert [line["body"] for line in lines(run("replay", path, "t", "late").stdout)] == [*range(6), "direct"]


@pytest.mark.parametrize("command", ["tail", "replay", "export"])
def test_a_name_that_nothing_has_is_named(path: Path, command: str) -> None:
    fill(path)
    for name in ("ordres.placed", "orders"):
        result = run(command, path, "work", name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            f"journal {str(path)!r} has no topic or queue {name!r}; it has "
            "['dead-letters', 'orders.placed', 'orders.placed/billing', 'work']\n"
        )
    assert run(command, path, "none.*").exit_code == 0


def test_verify_names_what_an_index_lacks(path: Path) -> None:
    fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '(route)', '(time)') WHERE name = 'eventbus_messages_by_route'"
        )
    connection.close()
    result = run("verify", path)
    assert result.exit_code == 1
    assert "eventbus_messages_by_route" in result.stdout + result.stderr


def test_a_compaction_that_finds_damage_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: object) -> bool:
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    fill(path)
    monkeypatch.setattr("eventbus._journal.tidying.Tidying.step", step)
    result = run("compact", path)
    assert result.exit_code == 2
    assert "malformed" in result.stdout + result.stderr
