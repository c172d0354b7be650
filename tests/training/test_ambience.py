"""What a notebook has told torch is none of a task's business, and is there afterwards."""

import contextlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from gandask.methods import tasks
from gandask.training import ambience
from gandask.training.pair import Pair
from gandask.training.settings import real_batch

CPU = torch.device("cpu")


@contextlib.contextmanager
def told(setter, value, usual):
    """Tell torch something process-wide, as long as a test lasts."""
    setter(value)
    try:
        yield
    finally:
        setter(usual)


def products(precision):
    """As torch's newer way has it, of one backend alone."""
    torch.backends.mkldnn.matmul.fp32_precision = precision


AMBIENT = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "float64": lambda: told(torch.set_default_dtype, torch.float64, torch.float32),
    "within a device": lambda: torch.device("meta"),
    "a device by default": lambda: told(torch.set_default_device, "meta", None),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic": lambda: told(torch.use_deterministic_algorithms, True, False),
    "anomalies": torch.autograd.detect_anomaly,
    "tiny numbers flushed": lambda: told(torch.set_flush_denormal, True, False),
    "threads": lambda: told(torch.set_num_threads, 2, torch.get_num_threads()),
    "products": lambda: told(torch.set_float32_matmul_precision, "medium", "highest"),
    "products of one backend": lambda: told(products, "bf16", "ieee"),
    "errors of NumPy": lambda: np.errstate(all="raise"),
}


def state():
    """Read all of it, by its effects where it has no other sign."""
    torch_ = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    return {
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(1).device,
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.get_deterministic_debug_mode(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
        "workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "tiny": float(torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1) != 0,
        "threads": torch.get_num_threads(),
        "products": [backend.fp32_precision for backend in torch_],
        "numpy": np.geterr(),
    }


@pytest.fixture(scope="module")
def usual():
    with ambience.settled(1, "highest"):
        return state()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", AMBIENT)
def test_it_is_settled_within_and_restored_after(usual, name):
    with AMBIENT[name]():
        before = state()
        with ambience.settled(1, "highest"):
            assert state() == usual
            with ambience.settled(1, "highest"):
                assert state() == usual
            assert state() == usual
        assert state() == before
    assert (before != usual) == (name != "threads" or before["threads"] == 2)


GPU = {"deterministic": 1, "filled": False, "workspace": ":4096:8"}


def test_a_gpu_is_told_to_add_up_in_one_order(usual):
    """Otherwise convolutions and embeddings came to other bits each time, on an H100."""
    before = state()
    with ambience.settled(1, "highest", torch.device("cuda")):
        assert state() == usual | GPU
        with ambience.settled(1, "highest"):  # of a CPU, which is not to take it away
            assert state() == usual | GPU
        assert state() == usual | GPU
    assert state() == before
    assert before["filled"]


def test_it_adds_up_so_until_the_last_thread_with_a_gpu_is_done(usual):
    inner, outer = contextlib.ExitStack(), contextlib.ExitStack()
    inner.enter_context(ambience.settled(1, "highest", torch.device("cuda")))
    outer.enter_context(ambience.settled(1, "highest"))
    inner.close()
    assert state()["deterministic"] == 0
    outer.close()
    assert state()["workspace"] is None


def test_the_last_of_several_threads_restores_it(usual):
    inside, leave = threading.Barrier(2, timeout=60), threading.Event()

    def other():
        with ambience.settled(1, "medium"):
            inside.wait()
            leave.wait(60)

    with AMBIENT["float64"]():
        thread = threading.Thread(target=other)
        with ambience.settled(1, "highest"):
            thread.start()
            inside.wait()
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("first", ["main", "other"])
def test_each_thread_has_its_own_number_of_threads_back(first):
    """Whoever leaves first, and also those to come."""
    inside, leave, numbers = threading.Barrier(2), threading.Event(), []

    def other():
        with ambience.settled(1, "highest"):
            inside.wait()
            leave.wait()

    with AMBIENT["threads"]():
        thread = threading.Thread(target=other)
        with ambience.settled(1, "highest"):
            thread.start()
            inside.wait()
            if first == "other":
                leave.set()
                thread.join()
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        leave.set()
        thread.join()
        later = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert (torch.get_num_threads(), numbers) == (2, [2])


def trained(training):
    """Make, train and score a pair as tasks do."""
    states, _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    with training.settled():
        pair = Pair.load(states, training, training.losses[0], "cell/0", 1, CPU)
        pair.generator_step()
        pair.discriminator_step(real_batch(training, np.arange(500), CPU))
        states = pair.generator.states()[0], pair.discriminator.states()[0]
    _, scored = tasks.score(states[0], training=training, slot="cell/0", round=1, samples=10)
    images = tasks.samples(training, "cell/0/generator/0", states[0], 5, 1)
    return [*states[0].values(), *states[1].values(), scored["statistics"], images]


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", AMBIENT)
def test_tasks_come_to_the_same_bits(grid, name):
    method = grid()
    expected = trained(method.training)
    with AMBIENT[name]():
        method.check()
        found = trained(method.training)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


FORKED = """
import multiprocessing, sys, torch
from gandask.training import ambience

def total(size):
    return float(torch.ones(size, size).mul(2).sum())

torch.set_num_threads(2)
with ambience.settled(2, "highest"):
    total(2000)
pool = multiprocessing.get_context("fork").Pool(1)
print(pool.map_async(total, [2000]).get(120), torch.get_num_threads())
"""


@pytest.mark.deep
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_pool_can_be_forked_after_tasks_of_several_threads():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True)
    assert done.stdout == "[8000000.0] 2\n", done.stderr
