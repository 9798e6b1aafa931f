"""The executor: results in order, few units in memory, and an end at the first error."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from datapack.executor import Advance, Stopped, held, raise_unless_held, result_of, run_all


def double(item, advance):
    advance(1)
    return 2 * item


@pytest.mark.parametrize("workers", [1, 2, 7, None])
def test_results_come_in_the_order_of_the_items(workers):
    """Results come in the order of the items, whichever unit is done first and however many workers there are."""

    def work(item, advance):
        time.sleep(0.001 * (item % 3))
        return double(item, advance)

    done = []
    assert list(run_all(work, range(50), workers=workers, advance=done.append)) == [2 * item for item in range(50)]
    assert sum(done) == 50


def test_items_are_taken_as_workers_become_free():
    """Only a few units per worker are in memory, even for ten million files."""
    numbers = count()
    results = run_all(double, numbers, workers=2)
    assert [next(results) for _ in range(10)] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    results.close()
    assert next(numbers) < 30


def test_the_first_error_stops_everything():
    """After an error, waiting units never start, and a long running one ends at its next step."""
    started, ended = [], []

    def work(item, advance):
        started.append(item)
        if item == 1:
            time.sleep(0.05)
            raise OSError("disk")
        try:
            for _ in range(1000):
                advance.wait(0.02)
        except Stopped:
            ended.append(item)
            raise

    began = time.monotonic()
    with pytest.raises(OSError, match="disk"):
        list(run_all(work, range(100), workers=2))
    assert sorted(started) == [0, 1]
    assert ended == [0]
    assert time.monotonic() - began < 10


def test_an_error_is_raised_while_an_older_unit_is_still_running():
    """An error is raised at once, even if the oldest unit would take another hour."""
    release = threading.Event()

    def work(item, advance):
        if item == 0:
            while not release.is_set():
                advance.wait(0.01)
        raise ValueError(item)

    with pytest.raises(ValueError, match="1"):
        list(run_all(work, [0, 1], workers=2))


def test_a_caller_that_stops_iterating_stops_the_work():
    """If the caller stops iterating, nothing keeps running in the background."""
    running = []

    def work(item, advance):
        running.append(item)
        for _ in range(5 if item == 0 else 1000):
            advance.wait(0.01)
        return item

    results = run_all(work, range(100), workers=2)
    assert next(results) == 0
    results.close()
    before = len(running)
    time.sleep(0.1)
    assert len(running) == before


def test_progress_can_go_back_and_jump():
    """A unit that starts again takes back its progress; one that skips its work counts at once."""
    done = []
    advance = Advance(done.append, threading.Event())
    advance(30)
    advance(20)
    advance.set(0)
    advance.set(70)
    assert done == [30, 20, -50, 70]


def test_a_unit_may_run_units_of_its_own():
    """After an error in one of them, the units of the others stop too, and nothing waits for them."""

    def inner(item, advance):
        if item == 35:
            raise ValueError(item)
        advance.wait(0.001)
        advance(1)
        return item

    def outer(item, advance):
        return sum(run_all(inner, range(item, item + 30), workers=2, advance=advance))

    assert list(run_all(outer, range(36, 40), workers=3)) == [sum(range(item, item + 30)) for item in range(36, 40)]
    with pytest.raises(ValueError, match="35"):
        list(run_all(outer, range(40), workers=3))


@pytest.fixture
def interrupt():
    """Send a signal whose handler raises an error unless that is held."""

    def stop():
        raise ValueError("stopped")

    before = signal.signal(signal.SIGUSR1, lambda *_: raise_unless_held(stop))
    yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_is_held_until_the_outermost_body_ends(interrupt):
    """The error is raised at once outside `held`, and otherwise when the last body has ended."""
    done = []
    with pytest.raises(ValueError, match="stopped"):
        interrupt()

    def work():
        with held():
            with held():
                interrupt()
                done.append("inner")
            done.append("outer")

    with pytest.raises(ValueError, match="stopped"):
        work()
    assert done == ["inner", "outer"]
    with held():
        done.append("nothing is left over")


def test_a_thread_holds_no_signal_of_the_main_thread(interrupt):
    """Only the main thread runs handlers: what another thread does holds nothing up."""
    inside, release = threading.Event(), threading.Event()

    def hold():
        with held():
            inside.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    with pytest.raises(ValueError, match="stopped"):
        interrupt()
    release.set()
    thread.join()


def test_a_signal_ends_the_wait_for_a_unit(interrupt):
    """Nobody waits for a unit that takes long; the result comes otherwise, and so does its error."""
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        unit = pool.submit(release.wait, 10)
        threading.Timer(0.1, interrupt).start()
        with pytest.raises(ValueError, match="stopped"):
            result_of(unit)
        assert not unit.done()
        release.set()
        assert result_of(unit) is True
        with pytest.raises(ZeroDivisionError):
            result_of(pool.submit(divmod, 1, 0))


def test_what_has_ended_is_not_kept():
    """The results of ten million files are not in memory, even if the caller is slow."""
    alive = []

    class Big:
        def __init__(self):
            alive.append(1)

        def __del__(self):
            alive.pop()

    for _ in run_all(lambda _item, _advance: Big(), range(200), workers=2):
        time.sleep(0.001)
        assert len(alive) < 20
