"""One node of PyTorch's DistributedDataParallel over gloo, as a user would write it for a GAN.

    python benchmarks/ddp.py RANK NODES ADDRESS:PORT BASE DATA_DIR

`split_time.py` starts one in each namespace. For each line on standard input, a number of steps,
it takes these and prints the seconds of each. The step is the ordinary one, on gandask's networks,
data and losses: the discriminator's, then the generator's by the new discriminator.

Two choices are a GAN's own. Buffers are not broadcast: doing so between the two passes through a
discriminator with batch normalisation changes in place what its backward pass needs, and fails
(pytorch#175024). And the generator is judged by the bare module: through the wrapper, gradients of
the discriminator that nobody wants would travel as well.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import gandask as gd
from gandask.methods.split.draws import batch
from gandask.training.pair import discriminator_loss, forged
from gandask.training.settings import Noise, real_batch

BATCH_SIZE = 64


def main() -> None:
    """Join the others, and take steps when told to."""
    rank, nodes = map(int, sys.argv[1:3])
    address, base, data_dir = sys.argv[3:]
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "eth0")
    torch.set_num_threads(1)
    method = gd.DataParallel(
        nodes=nodes, data="mnist", data_dir=data_dir, base=base, batch_size=BATCH_SIZE
    )
    training, device = method.training, torch.device("cpu")
    loss, noise = training.losses[0], Noise(training, device, "ddp", rank)
    distributed.init_process_group("gloo", f"tcp://{address}", rank=rank, world_size=nodes)
    built = training.build_discriminator(), training.build_generator()
    judge, maker = (DistributedDataParallel(one, broadcast_buffers=False) for one in built)
    judging, making = (
        torch.optim.Adam(one.parameters(), training.learning_rate, training.adam_betas)
        for one in (judge, maker)
    )

    def step(number: int) -> None:
        real = real_batch(training, batch(training, rank, nodes, number), device)
        fakes = forged(maker.module, noise.draw(BATCH_SIZE))
        judging.zero_grad()
        discriminator_loss(loss, judge, real, fakes, torch.Generator()).backward()
        judging.step()
        making.zero_grad()
        loss.generator(judge.module(maker(*noise.draw(BATCH_SIZE)))).backward()
        making.step()

    number = 0
    for line in sys.stdin:
        taken = []
        for _ in range(int(line)):
            number += 1
            begun = time.perf_counter()
            step(number)
            taken.append(time.perf_counter() - begun)
        print(json.dumps(taken), flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
