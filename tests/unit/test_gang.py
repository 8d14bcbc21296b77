"""Members of a gang and their mailboxes, in threads of this process."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from members import LATE, running_members

from daskgnn.dataflow.steps import sums
from daskgnn.dataflow.steps.clock import Clock
from daskgnn.dataflow.steps.gang import Mailbox
from daskgnn.dataflow.steps.gradients import PartGradient, PartStep, add_gradients
from daskgnn.dataflow.steps.member import Outcome
from daskgnn.dataflow.steps.method import StepMethod
from daskgnn.dataflow.steps.peers import HELLO, Exchange, PeerLost
from daskgnn.errors import TrainingError

SOON = 0.05


def at(seconds):
    return time.monotonic() + seconds


def taken_in_a_thread(mailbox, *letter):
    """Return a future of `take`, once its thread is waiting."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(mailbox.take, *letter, at(LATE))
    pool.shutdown(wait=False)
    time.sleep(SOON)
    assert not future.done()
    return future


def test_a_letter_is_found_by_attempt_step_and_sender():
    mailbox = Mailbox()
    for attempt in "ab":
        for step in (HELLO, 0, 1):
            for sender in ("x", "y"):
                mailbox.put(attempt, step, sender, (attempt, step, sender))
    for sender in ("y", "x"):
        for step in (1, HELLO, 0):
            for attempt in "ba":
                content = mailbox.take(attempt, step, sender, at(0))
                assert content == (attempt, step, sender)


def test_a_letter_is_taken_once():
    mailbox = Mailbox()
    mailbox.put("a", 0, "x", None)
    assert mailbox.take("a", 0, "x", at(0)) is None
    with pytest.raises(PeerLost, match="x"):
        mailbox.take("a", 0, "x", at(0))


def test_waiting_ends_with_the_letter():
    mailbox = Mailbox()
    future = taken_in_a_thread(mailbox, "a", 3, "x")
    mailbox.put("a", 2, "x", "an earlier step's")
    mailbox.put("b", 3, "x", "another attempt's")
    mailbox.put("a", 3, "y", "another peer's")
    assert not future.done()
    mailbox.put("a", 3, "x", "mine")
    assert future.result(LATE) == "mine"


def test_waiting_ends_at_the_deadline():
    mailbox = Mailbox()
    began = time.monotonic()
    with pytest.raises(PeerLost, match="x"):
        mailbox.take("a", 0, "x", at(SOON))
    assert time.monotonic() - began >= SOON


def test_waiting_ends_when_the_peer_is_lost():
    mailbox = Mailbox()
    future = taken_in_a_thread(mailbox, "a", 0, "x")
    mailbox.lose("y")
    with pytest.raises(TimeoutError):
        future.result(SOON)
    mailbox.lose("x")
    assert isinstance(future.exception(LATE), PeerLost)


def test_what_a_lost_peer_has_sent_counts():
    mailbox = Mailbox()
    mailbox.put("a", 0, "x", "last words")
    mailbox.lose("x")
    assert mailbox.take("a", 0, "x", at(LATE)) == "last words"
    with pytest.raises(PeerLost):
        mailbox.take("a", 1, "x", at(LATE))


def test_waiting_ends_when_the_attempt_is_given_up():
    mailbox = Mailbox()
    mine = taken_in_a_thread(mailbox, "a", 0, "x")
    other = taken_in_a_thread(mailbox, "b", 0, "x")
    mailbox.close("a")
    assert isinstance(mine.exception(LATE), PeerLost)
    assert not other.done()
    mailbox.put("b", 0, "x", 1)
    assert other.result(LATE) == 1


def test_a_closed_attempt_keeps_nothing_and_drops_late_letters():
    mailbox = Mailbox()
    mailbox.put("a", 0, "x", "unread")
    mailbox.close("a")
    with pytest.raises(PeerLost):
        mailbox.take("a", 0, "x", at(LATE))
    mailbox.put("a", 1, "x", "late")
    with pytest.raises(PeerLost):
        mailbox.take("a", 1, "x", at(LATE))
    assert not mailbox._letters


# -- whole members, one a thread; a peer is reached through its mailbox


@pytest.fixture
def run_gang(monkeypatch):
    """Return a function that runs a gang and returns each member's state."""
    with running_members(monkeypatch) as members:

        def run(method, parts, steps=3, **how):
            count = range(sum(map(len, parts)))
            given = list(count), [f"batch-{p}" for p in count]
            outcomes = members.run(method, parts, "s", given, range(steps), **how)
            return [state_of(outcome) for outcome in outcomes]

        yield run


def state_of(outcome):
    return outcome.state if isinstance(outcome, Outcome) else outcome


class Talk:
    """A session whose state is what was said so far."""

    def __init__(self, program, state):
        self.said = state
        self.clock = Clock()

    def gradient(self, batch, step, behind=0):
        return PartGradient(Words(batch.removeprefix("batch-")), 1.0)

    def update(self, left, right, option):
        words = left.gradient if right is None else left.gradient + right.gradient
        self.said += f"|{option}:{words.text}"

    def state(self):
        return self.said


class Words:
    """Sums that show their order and brackets."""

    def __init__(self, text):
        self.text = text
        self.nbytes = len(text)

    def __add__(self, other):
        return Words(f"({self.text}+{other.text})")


WORDS = StepMethod(Talk)


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 1, 2, 3, 4)],
        [(0, 1, 2), (3, 4)],
        [(0,), (1, 2, 3, 4)],
        [(0, 1), (2, 3), (4,)],
        [(0,), (1,), (2,), (3,), (4,)],
        [(0, 2, 4), (1, 3)],
    ],
)
def test_all_members_get_the_state_of_the_tree(run_gang, parts):
    total = "(((0+1)+(2+3))+4)"
    wanted = f"s|0:{total}|1:{total}|2:{total}"
    assert run_gang(WORDS, parts) == [wanted] * len(parts)


def test_one_part_alone(run_gang):
    assert run_gang(WORDS, [(0,)], steps=2) == ["s|0:0|1:0"]


def test_an_absent_member_ends_the_gang_in_its_time(run_gang):
    began = time.monotonic()
    outcomes = run_gang(WORDS, [(0,), (1,), (2,)], absent=(1,), form_seconds=0.3)
    assert outcomes == [None, None]
    assert time.monotonic() - began < 10


def test_an_error_of_a_member_frees_the_others(run_gang):
    class Failing(Talk):
        def gradient(self, batch, step, behind=0):
            if (batch, step) == ("batch-1", 1):
                raise ZeroDivisionError("part 1, step 1")
            return super().gradient(batch, step, behind)

    outcomes = run_gang(StepMethod(Failing), [(0,), (1,), (2,)])
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert outcomes[2] is None


class Numbers(Talk):
    """A session whose state is the sum of its gradients: floats, so order matters."""

    def gradient(self, batch, step, behind=0):
        part = int(batch.removeprefix("batch-"))
        return PartGradient(numbers_of(part, step), float(part))

    def update(self, left, right, option):
        share = left if right is None else add_gradients(left, right)
        self.said += share.gradient.tobytes().hex() + f"|{share.loss}|"


LENGTH = 7


def numbers_of(part, step):
    numbers = np.random.default_rng([part, step]).lognormal(0, 9, LENGTH)
    return numbers.astype(np.float32)


@pytest.mark.parametrize("parts", [[(0, 1, 2), (3, 4)], [(p,) for p in range(9)]])
def test_slices_give_the_same_bits(run_gang, monkeypatch, parts):
    method = StepMethod(Numbers)
    whole = run_gang(method, parts)
    assert len(set(whole)) == 1
    monkeypatch.setattr(sums, "SLICED_BYTES", -1)
    assert run_gang(method, parts) == whole
    alone = [tuple(range(sum(map(len, parts))))]
    assert run_gang(method, alone) == whole[:1]


def test_slices_send_less(monkeypatch, run_gang):
    sent = {}

    def counted(self, step, turn, shares):
        known = [share.gradient.nbytes for each in shares for share in each.values()]
        sent[self.me] = sent.get(self.me, 0) + sum(known)
        return send(self, step, turn, shares)

    send = Exchange.send
    monkeypatch.setattr(Exchange, "send", counted)
    monkeypatch.setattr(f"{__name__}.LENGTH", 800)
    parts = [(p,) for p in range(8)]
    run_gang(StepMethod(Numbers), parts, steps=1)
    assert sent == dict.fromkeys(range(8), 7 * 800 * 4)
    sent.clear()
    monkeypatch.setattr(sums, "SLICED_BYTES", -1)
    run_gang(StepMethod(Numbers), parts, steps=1)
    assert sent == dict.fromkeys(range(8), 2 * 7 * 100 * 4)


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 1, 2, 3, 4)],
        [(0, 1, 2), (3, 4)],
        [(0, 2, 4), (1, 3)],
        [(1, 3), (4, 0), (2,)],
        [(0,), (1,), (2,), (3,), (4,)],
    ],
)
@pytest.mark.parametrize("staleness", [0, 2])
def test_a_ring_gives_the_same_bits_whoever_holds_the_parts(run_gang, parts, staleness):
    found = run_gang(StepMethod(Numbers, staleness, "ring"), parts)
    vectors = [numbers_of(part, 0) for part in range(5)]
    total = []
    for chunk in range(5):
        piece = slice(LENGTH * chunk // 5, LENGTH * (chunk + 1) // 5)
        here = vectors[chunk][piece]
        for turn in range(1, 5):
            here = here + vectors[(chunk + turn) % 5][piece]
        total.append(here)
    assert len(set(found)) == 1
    assert found[0].startswith(f"s{np.concatenate(total).tobytes().hex()}|10.0|")


def test_a_ring_sends_pieces(run_gang, monkeypatch):
    sent = {}

    def counted(self, step, turn, shares):
        known = [s.gradient.nbytes for each in shares.values() for s in each.values()]
        sent[self.me] = sent.get(self.me, 0) + sum(known)
        return send_to(self, step, turn, shares)

    send_to = Exchange.send_to
    monkeypatch.setattr(Exchange, "send_to", counted)
    monkeypatch.setattr(f"{__name__}.LENGTH", 800)
    run_gang(StepMethod(Numbers, 0, "ring"), [(p,) for p in range(8)], steps=1)
    assert sent == dict.fromkeys(range(8), 2 * 7 * 100 * 4)


class Rounding(StepMethod):
    """A method whose parts send whole numbers and carry the rest."""

    carries: ClassVar[bool] = True

    def part_step(self, session, step, part, batch, carried):
        share = session.gradient(batch, step.number)
        wanted = share.gradient + (
            np.zeros(LENGTH) if carried is None else carried["rest"]
        )
        whole = np.rint(wanted).astype(np.float32)
        return PartStep(replace(share, gradient=whole), {"rest": wanted - whole})

    def keep(self, state, carried):
        return state + "".join(each["rest"].tobytes().hex() for each in carried)


@pytest.mark.parametrize("parts", [[(0, 2, 1)], [(0, 2), (1,)], [(0,), (1,), (2,)]])
@pytest.mark.parametrize("sums", ["tree", "packed"])
def test_what_parts_carry_comes_together(run_gang, parts, sums):
    method = Rounding(Numbers, sums=sums)
    shares, rest = [], [np.zeros(LENGTH)] * 3
    said = "s"
    for step in range(3):
        for part in range(3):
            wanted = numbers_of(part, step) + rest[part]
            shares.append(np.rint(wanted).astype(np.float32))
            rest[part] = wanted - shares[-1]
        a, b, c = shares[-3:]
        said += ((a + b) + c).tobytes().hex() + "|3.0|"
    said += "".join(r.tobytes().hex() for r in rest)
    assert run_gang(method, parts) == [said] * len(parts)


def test_a_member_with_other_parameters_stops_the_gang(run_gang):
    class Checked(Numbers):
        def checksum(self):
            wrong = threading.current_thread() is damaged and self.said.count("|") == 4
            return "wrong" if wrong else self.said

    class Marking(Checked):
        def gradient(self, batch, step, behind=0):
            nonlocal damaged
            if batch == "batch-1":
                damaged = threading.current_thread()
            return super().gradient(batch, step, behind)

    damaged = None
    method = StepMethod(Marking, checksum_every=2)
    for error in run_gang(method, [(0,), (1,), (2,)]):
        assert isinstance(error, TrainingError)
        assert "after step 2" in str(error)
        assert "those of member-1 differ" in str(error)


@pytest.mark.parametrize("staleness", [0, 1, 2, 9])
@pytest.mark.parametrize("parts", [[(0, 1, 2)], [(0,), (1, 2)], [(0,), (1,), (2,)]])
def test_gradients_wait_for_no_more_updates_than_they_must(run_gang, parts, staleness):
    class Late(Talk):
        """A session that writes down how many updates each gradient has seen."""

        def gradient(self, batch, step, behind=0):
            seen = self.said.count("|") - behind
            return PartGradient(Words(f"{seen}"), 1.0)

    updates = 5
    states = run_gang(StepMethod(Late, staleness), parts, steps=updates)
    seen = [step - staleness for step in range(updates)]
    wanted = "s" + "".join(f"|{i}:(({n}+{n})+{n})" for i, n in enumerate(seen))
    assert states == [wanted] * len(parts)
