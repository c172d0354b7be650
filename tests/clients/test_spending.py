"""What is spent: the accountant's figures, and a ledger that no crash and no repeat can cheat."""

import dataclasses
import errno
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from opacus.accountants import RDPAccountant

from gandask import config
from gandask.clients import spending
from gandask.clients.spending import DPSGD, Charge, PrivacyLedger, epsilon, sigma_for
from gandask.core import DataError, SettingError, StoreError
from gandask.core.files import digest

DELTA = 1e-5


def charge(key="a", **given):
    told = {"run": "r", "round": 1, "steps": 10, "noise": 2.0, "rate": 0.1}
    return Charge(digest(key), **told | given)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def reopened(ledger, path):
    ledger.close()
    return PrivacyLedger(path)


# ---- settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"noise": -1}, "noise=-1: expected a finite number of at least 0"),
        ({"noise": math.inf}, "noise=inf: expected a finite number"),
        ({"noise": 1e-160}, "noise=1e-160: expected 0, or 0.001"),
        ({"clip": 0}, "clip=0: expected a finite number of at least 1e-06"),
        ({"delta": 0}, "delta=0: expected a finite number of more than 0 and less than 1"),
        ({"delta": 1.0}, "delta=1.0: expected a finite number"),
        ({"sigma": 1}, "DPSGD has no setting 'sigma'"),
    ],
)
def test_settings_of_privacy_are_checked(given, said):
    with pytest.raises(SettingError) as caught:
        DPSGD(**given)
    assert said in str(caught.value)


def test_settings_of_privacy_are_plain():
    assert DPSGD(noise=0).noise == 0
    assert config.to_dict(DPSGD(noise=4, clip=0.5)) == {"noise": 4.0, "clip": 0.5, "delta": 1e-5}


# ---- the accountant

FIGURES = {
    (600, 10): 1.95,
    (600, 4): 4.0,
    (600, 1): 13.8,
    (6000, 10): 0.58,
    (6000, 4): 0.79,
    (6000, 1): 1.6,
}
"""Noise by samples and epsilon at delta 1e-5, in 1,000 steps of 64 on average."""


@pytest.mark.parametrize(("samples", "target"), FIGURES)
def test_noise_for_an_epsilon_is_as_published(samples, target):
    sigma = sigma_for(target, DELTA, 64 / samples, 1000)
    assert sigma == pytest.approx(FIGURES[samples, target], rel=0.012)
    assert target - 0.01 <= epsilon([(sigma, 64 / samples, 1000)], DELTA) <= target


def test_epsilon_adds_up_in_any_order():
    apart = [(2.0, 0.1, 1), (1.5, 0.2, 3), (2.0, 0.1, 4)]
    assert epsilon(apart, DELTA) == epsilon([(1.5, 0.2, 3), (2.0, 0.1, 5)], DELTA)
    assert epsilon(apart, DELTA) == pytest.approx(epsilon(apart[::-1], DELTA), rel=1e-12)
    accountant = RDPAccountant()
    for noise, rate, count in apart:
        for _ in range(count):
            accountant.step(noise_multiplier=noise, sample_rate=rate)
    assert epsilon(apart, DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-12)
    assert epsilon(apart[:1], DELTA) < epsilon(apart[:2], DELTA) < epsilon(apart, DELTA)


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_epsilon_of_one_full_batch_is_that_of_gaussian_noise(rate):
    """By hand, for orders that are whole: rdp = order / (2 sigma²), where all are in the batch."""
    orders = [1 + tenth / 10 for tenth in range(1, 100)] + list(range(12, 64))
    by_hand = min(
        a / (2 * 4.0**2) - (math.log(DELTA) + math.log(a)) / (a - 1) + math.log((a - 1) / a)
        for a in orders
    )
    found = epsilon([(4.0, rate, 1)], DELTA)
    assert found == pytest.approx(by_hand) if rate == 1 else found < by_hand


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 0),
        ([(2.0, 0.1, 0)], 0),
        ([(2.0, 0.0, 5)], 0),
        ([(0.0, 0.0, 5)], 0),
        ([(0.0, 0.1, 1)], math.inf),
        ([(2.0, 0.1, 1), (0.0, 0.1, 1)], math.inf),
    ],
)
def test_epsilon_at_its_ends(steps, expected):
    assert epsilon(steps, DELTA) == expected


@pytest.mark.parametrize(
    "given",
    [(0, DELTA, 0.1, 10), (1, 0, 0.1, 10), (1, DELTA, 1.1, 10), (1, DELTA, 0.1, 0)],
)
def test_noise_for_what_cannot_be_is_refused(given):
    with pytest.raises(SettingError, match="expected numbers above 0"):
        sigma_for(*given)


def test_too_small_an_epsilon_is_told():
    with pytest.raises(SettingError, match="no noise is enough"):
        sigma_for(0.01, DELTA, 0.01, 1000)


def test_a_missing_opacus_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(SettingError, match=r"pip install 'gandask\[privacy\]'"):
        epsilon([(1.0, 0.1, 1)], DELTA)
    assert epsilon([], DELTA) == 0


# ---- the ledger


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_request_is_charged_once(path, on_disk):
    ledger = PrivacyLedger(path if on_disk else None)
    expected = epsilon([(2.0, 0.1, 10)], DELTA)
    assert ledger.would_spend(charge(), DELTA) == expected > ledger.spent(DELTA) == 0
    for _ in range(2):
        ledger.charge(charge())
        assert ledger.spent(DELTA) == ledger.would_spend(charge(), DELTA) == expected
    ledger.charge(charge("b", noise=3.0))
    both = epsilon([(2.0, 0.1, 10), (3.0, 0.1, 10)], DELTA)
    assert ledger.spent(DELTA) == both
    assert ledger.charges == (charge(), charge("b", noise=3.0))
    if on_disk:
        again = reopened(ledger, path)
        again.charge(charge())
        assert (again.spent(DELTA), again.charges) == (both, ledger.charges)


def test_what_was_spent_up_to_a_charge_is_told_without_a_look_at_all_of_them(path):
    """In whatever order, as if all were composed anew, to the last bit."""
    ledger, steps, sums = PrivacyLedger(path), [], []
    for number, (noise, rate) in enumerate([(2.0, 0.1), (3.0, 0.2), (1.5, 0.1), (2.0, 0.1)] * 3):
        one = charge(str(number), noise=noise, rate=rate)
        known = [(told.noise, told.rate, told.steps) for told in ledger.charges]
        assert ledger.would_spend(one, DELTA) == epsilon([(noise, rate, 10), *known], DELTA)
        ledger.charge(one)
        steps.append((noise, rate, 10))
        sums.append(epsilon(steps, DELTA))
        assert ledger.spent(DELTA) == ledger.spent(DELTA, one.key) == sums[-1]
    again = reopened(ledger, path)
    assert [again.spent(DELTA, one.key) for one in again.charges] == sums
    with pytest.raises(ValueError, match="not in list"):
        again.spent(DELTA, digest("never"))

    class Counted(dict):
        def __iter__(self):
            raise AssertionError("it looks through all charges")

        values = keys = items = __iter__

    again._charges = Counted(again._charges)
    assert again.spent(DELTA, one.key) == sums[-1]
    again.would_spend(charge("next"), DELTA)


def test_the_same_request_at_another_noise_is_refused():
    ledger = PrivacyLedger()
    ledger.charge(charge())
    with pytest.raises(ValueError, match="the same request"):
        ledger.charge(charge(noise=1.0))


KILLED = """
import os, signal, sys
from pathlib import Path
from gandask.clients.spending import Charge, PrivacyLedger
ledger = PrivacyLedger(Path(sys.argv[1]))
ledger.charge(Charge(**eval(sys.argv[2])))
print("charged", flush=True)
if sys.argv[3] == "stay":
    sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)  # before it answers
"""


def begun(path, then):
    told = repr(dataclasses.asdict(charge()))
    command = [sys.executable, "-c", KILLED, str(path), told, then]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.deep
def test_a_client_that_is_killed_before_it_answers_has_paid_once(path):
    with begun(path, "die") as process:
        process.wait(60)
    ledger = PrivacyLedger(path)
    assert ledger.charges == (charge(),)
    ledger.charge(charge())
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.deep
def test_two_processes_never_share_a_ledger(path):
    with begun(path, "stay") as process:
        process.stdout.readline()
        with pytest.raises(StoreError, match=f"held by process {process.pid} on .*end that first"):
            PrivacyLedger(path)
        process.stdin.close()
        process.wait(60)
    assert PrivacyLedger(path).charges == (charge(),)


def test_a_ledger_is_held_within_a_process_too(path):
    ledger = PrivacyLedger(path)
    with pytest.raises(StoreError, match=f"held by process {os.getpid()} "):
        PrivacyLedger(path)
    ledger.close()
    with pytest.raises(StoreError, match="is closed"):
        ledger.charge(charge())
    PrivacyLedger(path).charge(charge())


def test_no_ledger_where_nothing_can_be_locked(path, monkeypatch):
    monkeypatch.setattr(spending.lock, "take", lambda path: None)
    with pytest.raises(StoreError, match="file system without locks"):
        PrivacyLedger(path)


def test_numbers_of_numpy_are_numbers(path):
    ledger = PrivacyLedger(path)
    ledger.charge(charge(noise=np.float64(0.1) * 3, rate=np.float64(0.2)))
    assert reopened(ledger, path).charges == (charge(noise=0.1 * 3, rate=0.2),)


@pytest.fixture
def written(path):
    ledger = PrivacyLedger(path)
    for key in "abc":
        ledger.charge(charge(key))
    ledger.close()
    return path.read_bytes()


@pytest.mark.parametrize("left", [0, 1, 60, -1])
def test_a_line_that_was_being_written_is_cut_off(path, written, left):
    lines = written.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:left])
    ledger = PrivacyLedger(path)
    assert ledger.charges == (charge("a"), charge("b"))
    ledger.charge(charge("c"))
    assert path.read_bytes() == written


def flipped(data):
    return data.replace(b'"noise": 2.0', b'"noise": 9.0', 1)


@pytest.mark.parametrize(
    "damaged",
    [
        flipped,
        lambda data: data[1:],
        lambda data: b"\n" + data,
        lambda data: data + b"\0" * 9 + b"\n",
        lambda data: data + data,
        lambda data: b"".join(data.splitlines(keepends=True)[1:]),
        lambda data: b"".join(data.splitlines(keepends=True)[::2]),
        lambda data: data + b"[1]\n",
        lambda data: data + json.dumps({"key": "x" * 5000}).encode() + b"\n",
        lambda data: data + b"x" * 9000,
    ],
)
def test_a_damaged_ledger_goes_no_further(path, written, damaged):
    path.write_bytes(damaged(written))
    if damaged(written)[-1:] != b"\n":
        assert len(PrivacyLedger(path).charges) == 3  # no whole line: it was never answered
        return
    for _ in range(2):  # and lets go of its lock
        with pytest.raises(DataError, match="damaged, and what was spent cannot be told: put a"):
            PrivacyLedger(path)
    assert path.read_bytes() == damaged(written)


def test_a_full_disk_is_told_before_anything_is_answered(path, monkeypatch):
    ledger = PrivacyLedger(path)
    ledger.charge(charge())
    before = path.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"No space left.*nothing is answered"):
            ledger.charge(charge("b"))
    assert path.read_bytes() == before
    assert ledger.charges == (charge(),)
    ledger.charge(charge("b"))
    assert reopened(ledger, path).charges == (charge(), charge("b"))


@pytest.mark.parametrize(
    "given", [{"steps": -1}, {"steps": True}, {"noise": math.nan}, {"rate": 1.5}, {"run": 3}]
)
def test_what_is_no_charge_is_refused(given):
    with pytest.raises(ValueError, match="is no charge"):
        charge(**given)
