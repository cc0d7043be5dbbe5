# SPDX-License-Identifier: BSD-3-Clause
"""An epoch of examples/train_digits.py beside the same network in PyTorch.

    python benchmarks/digits.py [--threads 2] [--rounds 7]

Both start from the same weights and see the same batches in the same order, so their losses show
that they learn the same. Each library has a process of its own, and rounds alternate; worker.py
says why. The optimiser is Adam in both: the example's on NumPy, PyTorch's own.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

PAUSE = 0.07  # as in compare.py: pools spin after their last call
SEED = 0


def example():
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    import train_digits

    return train_digits


class Fastcorr:
    name = "fastcorr"

    def __init__(self, threads):
        os.environ["FASTCORR_NUM_THREADS"] = str(threads)  # read at import
        self.module = example()
        self.layers = self.module.lenet(np.random.default_rng(SEED))
        self.convolutions = [layer for layer in self.layers if hasattr(layer, "zero_grad")]
        self.optimiser = self.module.Adam(self.layers)

    def step(self, x, labels):
        for layer in self.convolutions:
            layer.zero_grad()
        scores = self.module.forward(self.layers, x)
        loss, gradient = self.module.cross_entropy(scores, labels)
        self.module.backward(self.layers, gradient)
        self.optimiser.step(self.module.RATE)
        return loss


class Torch:
    name = "torch"

    def __init__(self, threads):
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        of_x = example().lenet(np.random.default_rng(SEED))
        conv1, conv2, dense1, dense2 = (layer for layer in of_x if hasattr(layer, "weight"))
        nn = torch.nn
        self.network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        weights = (
            conv1.weight, conv1.bias, conv2.weight, conv2.bias,
            dense1.weight.T, dense1.bias, dense2.weight.T, dense2.bias,
        )  # fmt: skip
        with torch.no_grad():
            for parameter, weight in zip(self.network.parameters(), weights, strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        rate = example().RATE
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rate, eps=1e-7)

    def step(self, x, labels):
        torch = self.torch
        self.optimiser.zero_grad()
        scores = self.network(torch.from_numpy(x))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels))
        loss.backward()
        self.optimiser.step()
        return loss.item()


def serve(library, threads, pipe):
    """Send (seconds, mean loss) of an epoch for each message."""
    learner = library(threads)
    module = example()
    (x, labels), _ = module.load(np.random.default_rng(SEED))
    order = np.random.default_rng(SEED)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        permutation = order.permutation(len(x))
        losses, start = [], time.perf_counter()
        for first in range(0, len(x), module.BATCH):
            batch = permutation[first : first + module.BATCH]
            losses.append(learner.step(x[batch], labels[batch]))
        pipe.send((time.perf_counter() - start, float(np.mean(losses))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    # The example sets it itself, but NumPy is loaded before. PyTorch does not read it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context, pipes, seconds = multiprocessing.get_context("spawn"), {}, {}
    for library in (Fastcorr, Torch):
        pipes[library.name], theirs = context.Pipe()
        arguments = library, args.threads, theirs
        context.Process(target=serve, args=arguments, daemon=True).start()
        theirs.close()
        seconds[library.name] = []
    for epoch in range(args.rounds + 1):  # the first one warms up
        line = []
        for name, pipe in pipes.items():
            time.sleep(PAUSE)
            pipe.send(None)
            taken, loss = pipe.recv()
            line.append(f"{name} {taken * 1e3:6.1f} ms, loss {loss:.4f}")
            if epoch:
                seconds[name].append(taken)
        print(f"epoch {epoch}: {'; '.join(line)}", flush=True)
    pairs = zip(seconds["torch"], seconds["fastcorr"], strict=True)
    ratio = statistics.median(theirs / mine for theirs, mine in pairs)
    print(f"median of {args.rounds} rounds: fastcorr is {ratio:.2f} x as fast as torch")


if __name__ == "__main__":
    main()
