"""When each host gets its next request: connections, pauses and skipped hosts."""

import threading
import time

import pytest

from datapack.download.hosts import Hosts


def test_host_gets_a_limited_number_of_turns_at_once():
    """The third item waits until one of two is released; another host does not wait."""
    hosts = Hosts(2)
    for item in ("a1", "a2", "a3"):
        hosts.put("a", item)
    hosts.put("b", "b1")
    turns = [hosts.take() for _ in range(3)]
    assert sorted(turn.item for turn in turns) == ["a1", "a2", "b1"]
    threading.Timer(0.05, hosts.release, [next(turn for turn in turns if turn.host == "a")]).start()
    started = time.monotonic()
    assert hosts.take().item == "a3"
    assert time.monotonic() - started > 0.03


def test_items_go_in_order_of_arrival_after_their_delay():
    """An item never goes before its delay has passed."""
    hosts = Hosts(5)
    hosts.put("a", "late", delay=0.05)
    hosts.put("a", "first")
    hosts.put("a", "second")
    started = time.monotonic()
    assert [hosts.take().item for _ in range(3)] == ["first", "second", "late"]
    assert time.monotonic() - started >= 0.05


def test_paused_host_gets_no_turn_and_delays_no_other():
    """The longer of two pauses counts."""
    hosts = Hosts(5)
    hosts.put("a", "a")
    hosts.put("b", "b")
    hosts.pause("a", 0.08)
    hosts.pause("a", 0.01)
    started = time.monotonic()
    assert hosts.take().item == "b"
    assert time.monotonic() - started < 0.05
    assert hosts.take().item == "a"
    assert time.monotonic() - started >= 0.08


def test_take_returns_none_when_all_items_are_finished():
    """It waits until then, as an item in progress may be queued again."""
    hosts = Hosts(5)
    hosts.put("a", 1)
    turn = hosts.take()
    ended = []
    waiting = threading.Thread(target=lambda: ended.append(hosts.take()))
    waiting.start()
    time.sleep(0.03)
    assert ended == []
    hosts.release(turn)
    hosts.finish()
    waiting.join(1)
    assert ended == [None]


def test_close_ends_waiting_and_refuses_new_items():
    """A waiting `take` returns, and `put` raises."""
    hosts = Hosts(1)
    hosts.put("a", 1, delay=60)
    threading.Timer(0.03, hosts.close).start()
    assert hosts.take() is None
    with pytest.raises(RuntimeError):
        hosts.put("a", 2)


def refuse(hosts, *, answered_between=False):
    """Let a host refuse one connection after another until it is skipped; return the number of refusals."""
    for count in range(1, 10):
        hosts.put("a", count)
        if hosts.refused(hosts.take(), "connection refused", 0.0):
            return count
        if answered_between:
            hosts.answered("a")
    return None


def test_host_is_skipped_after_three_refusals_in_a_row():
    """With an answer in between they are not in a row."""
    assert refuse(Hosts(9)) == 3
    assert refuse(Hosts(9), answered_between=True) is None


def test_refusals_at_the_same_time_count_once():
    """Connections that started before the first refusal add no information."""
    hosts = Hosts(9)
    for item in range(5):
        hosts.put("a", item)
    turns = [hosts.take() for _ in range(5)]
    assert not any(hosts.refused(turn, "refused", 0.0) for turn in turns)


def test_items_of_a_skipped_host_get_their_turn_at_once():
    """They get the reason without further delay, so that they can use another host."""
    hosts = Hosts(1)
    hosts.put("a", 1, delay=60)
    hosts.put("a", 2, delay=60)
    hosts.skip("a", "gone")
    assert [hosts.take().skipped for _ in range(2)] == ["gone", "gone"]


def test_hosts_take_turns():
    """A host with a long queue delays no other, and what is continued goes before what is new."""
    hosts = Hosts(9)
    for item in ("a1", "a2", "a3"):
        hosts.add("a", item)
    hosts.add("b", "b1")
    hosts.put("a", "again")
    assert [hosts.take().item for _ in range(5)] == ["again", "b1", "a1", "a2", "a3"]


def test_many_hosts_cost_no_more_than_few():
    """A list may name a host per image: a turn does not look at all of them."""
    hosts = Hosts(5)
    for number in range(50_000):
        hosts.add(str(number), number)
    started = time.monotonic()
    for number in range(50_000):
        turn = hosts.take()
        assert turn.item == number
        hosts.release(turn)
        hosts.finish()
    assert hosts.take() is None
    assert time.monotonic() - started < 10
