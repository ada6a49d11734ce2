"""Who is stuck follows from counts and clocks that each host publishes."""

from cdcd_jax.distributed.host_progress import (
    PROGRESS,
    FollowedBatches,
    Progress,
    Report,
    cpu_seconds,
    meeting,
)
from cdcd_jax.distributed.watchdog import Watchdog, describe_stuck, find_stuck

TIMEOUT, HEARTBEAT = 100.0, 60.0


class Store(dict):
    """What hosts share, without a network."""

    def key_value_set(self, key, value, allow_overwrite=False):
        self[key] = value

    def key_value_dir_get(self, key):
        return list(self.items())


class Host:
    """A host whose clocks are turned by hand."""

    def __init__(self, index, store, num_hosts):
        self.now, self.main, self.all = 0.0, 0.0, 0.0
        self.progress = Progress(lambda: self.now, lambda: (self.main, self.all))
        self.advance = self.progress.advance
        self.ended = []
        self.watchdog = Watchdog(
            store,
            index,
            num_hosts,
            timeout=TIMEOUT,
            heartbeat_timeout=HEARTBEAT,
            progress=self.progress,
            end=self.ended.append,
        )


class Run(list):
    """Hosts and their store."""

    def __init__(self, num_hosts):
        self.store = Store()
        super().__init__(Host(index, self.store, num_hosts) for index in range(num_hosts))

    def let_pass(self, seconds, *, silent=(), main=(), threads=()):
        """Let time pass; some hosts are stopped, or at work."""
        for _ in range(int(seconds / self[0].watchdog.pause)):
            for index, host in enumerate(self):
                host.now += host.watchdog.pause
                host.main += 0.01 * host.watchdog.pause * (index in main)
                host.all += 0.5 * host.watchdog.pause * (index in threads)
            for index, host in enumerate(self):
                if index not in silent and not host.ended:
                    host.watchdog.exchange()
                    host.watchdog.warn_unanswered()

    def sentences(self):
        return [sentence for host in self for sentence in host.ended]


def test_the_host_behind_is_named_by_all_and_by_itself():
    run = Run(3)
    for host in run:
        host.advance("in step 3")
    for host in run[:2]:
        host.advance("in step 4")
    run.let_pass(90)
    assert run.sentences() == []
    run.let_pass(30)
    assert [len(host.ended) for host in run] == [1, 1, 1]
    (sentence,) = set(run.sentences())
    assert sentence.startswith("host 2 of 3 has made no progress for 100 s while the others wait, ")
    assert "in step 3 (find_place in host_progress.py:" in sentence  # as this is the main thread
    assert "run the same command on all hosts again" in sentence


def test_a_slow_host_is_left_alone():
    run = Run(2)
    for step in range(20):
        run[0].advance(f"in step {step}")
        run.let_pass(80)
        run[1].advance(f"in step {step}")
    assert run.sentences() == []


def test_a_host_whose_main_thread_works_is_left_alone_however_long_it_takes():
    run = Run(2)
    run[0].advance("waiting")
    run.let_pass(10_000, main=[1])
    assert run.sentences() == []
    run.let_pass(120)
    assert len(run.sentences()) == 2


def test_a_host_that_waits_for_its_own_threads_has_four_times_as_long():
    """Such as a compiler's; but those of a data set may work for nothing."""
    run = Run(2)
    run[0].advance("waiting")
    run.let_pass(390, threads=[1])
    assert run.sentences() == []
    run.let_pass(30, threads=[1])
    assert len(run.sentences()) == 2


def test_what_took_long_before_may_take_long_again():
    run = Run(2)
    run.let_pass(70)
    for host in run:
        host.advance("in step 1")
    run[0].advance("waiting")
    run.let_pass(200)
    assert run.sentences() == []
    run.let_pass(30)
    assert len(run.sentences()) == 2


def test_hosts_that_all_hang_have_twice_as_long():
    run = Run(2)
    run.let_pass(190)
    assert run.sentences() == []
    run.let_pass(30)
    assert run.sentences()[0].startswith("no host has made progress for 200 s, each starting")


def test_who_has_not_reported_yet_is_not_stuck():
    run = Run(2)
    run.let_pass(1000, silent=[1])
    assert run.sentences() == []


def test_a_silent_host_is_named_once_before_jax_ends_the_run(capsys):
    run = Run(2)
    run.let_pass(10)
    run.let_pass(40, silent=[1])
    warning = "Warning on host 0: host 1 has not been heard of for 30 s; the run ends when"
    assert capsys.readouterr().err.count(warning) == 1
    run.let_pass(10)
    assert "not been heard" not in capsys.readouterr().err
    assert run.sentences() == []


def test_a_host_0_that_does_not_answer_is_named_once(capsys):
    run = Run(2)
    run.let_pass(10)
    host = run[1]
    for _ in range(5):  # the other thread waits for an answer
        host.now += host.watchdog.pause
        host.watchdog.warn_unanswered()
    assert capsys.readouterr().err.count("Warning on host 1: host 0 has not been heard of") == 1


def test_a_process_that_was_itself_held_up_blames_nobody(capsys):
    host = Run(2)[1]
    host.now += 1000.0
    host.watchdog.warn_unanswered()
    assert capsys.readouterr().err == ""


def test_more_than_one_host_may_be_stuck():
    reports = {i: Report(6 + (i == 0), 25.0, 25.0, "reading", "") for i in range(12)}
    stuck = find_stuck(reports, 0, 10.0)
    assert stuck == list(range(1, 12))
    sentence = describe_stuck(reports, stuck)
    assert sentence.startswith("hosts 1, 2, 3, 4, 5, 6, 7, 8, ... of 12 have made no progress")


def test_batches_and_meetings_count():
    class Batches:
        def __next__(self):
            return {"x": 1}

        def get_state(self):
            return "here"

    before = PROGRESS.report().count
    batches = FollowedBatches(Batches(), 4)
    assert next(batches) == {"x": 1}
    assert PROGRESS.report().doing == "in step 5"
    assert batches.get_state() == "here"
    with meeting("agreeing"):
        assert PROGRESS.report().doing == "agreeing"
    assert PROGRESS.report().count == before + 4


def test_the_main_thread_is_timed_apart_from_all():
    main, whole = cpu_seconds()
    while cpu_seconds()[0] < main + 0.01:
        sum(range(100))
    assert cpu_seconds()[1] >= whole + 0.01
