"""Whose turn it is: connections, pauses and hosts that are left out."""

import threading
import time

import pytest

from datapack.download.hosts import Hosts


def test_a_host_gets_so_many_turns_at_once():
    """The third waits until one of two is released; another host does not wait for that."""
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


def test_what_waits_longest_goes_first_and_a_delay_is_kept():
    """Order of arrival, but nothing before its time."""
    hosts = Hosts(5)
    hosts.put("a", "late", delay=0.05)
    hosts.put("a", "first")
    hosts.put("a", "second")
    started = time.monotonic()
    assert [hosts.take().item for _ in range(3)] == ["first", "second", "late"]
    assert time.monotonic() - started >= 0.05


def test_a_paused_host_gets_no_turn_and_keeps_no_other_waiting():
    """Of two pauses the longer counts."""
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


def test_taking_ends_when_all_is_finished():
    """Not before: what is under way may come back."""
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


def test_closing_ends_all_and_takes_no_more():
    """Also those that wait."""
    hosts = Hosts(1)
    hosts.put("a", 1, delay=60)
    threading.Timer(0.03, hosts.close).start()
    assert hosts.take() is None
    with pytest.raises(RuntimeError):
        hosts.put("a", 2)


def refuse(hosts, *, answered_between=False):
    """Let a host refuse connections, one after the other, until it is left out; return how many it took."""
    for count in range(1, 10):
        hosts.put("a", count)
        if hosts.refused(hosts.take(), "connection refused", 0.0):
            return count
        if answered_between:
            hosts.answered("a")
    return None


def test_three_refusals_in_a_row_leave_a_host_out():
    """With an answer in between they are not in a row."""
    assert refuse(Hosts(9)) == 3
    assert refuse(Hosts(9), answered_between=True) is None


def test_refusals_at_the_same_time_count_once():
    """Connections that were begun before the first was refused say nothing new."""
    hosts = Hosts(9)
    for item in range(5):
        hosts.put("a", item)
    turns = [hosts.take() for _ in range(5)]
    assert not any(hosts.refused(turn, "refused", 0.0) for turn in turns)


def test_what_waits_for_a_host_that_is_left_out_gets_its_turn_at_once():
    """It is told why, so that it can go elsewhere, however long it was to wait."""
    hosts = Hosts(1)
    hosts.put("a", 1, delay=60)
    hosts.put("a", 2, delay=60)
    hosts.leave_out("a", "gone")
    assert [hosts.take().left_out for _ in range(2)] == ["gone", "gone"]
