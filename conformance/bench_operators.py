"""What small operators of torch cost from Python: medians of runs, in microseconds. Arguments: threads, operators of a run,
device (cpu, cuda:N)."""
import sys
import time

import torch

RUNS = 15


def micros(operator, count, device):
    x, y = torch.ones(1, device=device), torch.full((1,), 2.0, device=device)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for _ in range(count):
            operator(x, y)
        x.tolist()  # waits for what a device has yet to do
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[RUNS // 2] / count * 1e6


def main(threads, count, device="cpu"):
    torch.set_num_threads(int(threads))
    with torch.inference_mode():
        print("product", micros(torch.mul, int(count), device))
        print("view", micros(lambda x, y: x.detach(), int(count), device))
        print("sum", micros(torch.add, int(count), device))


if __name__ == "__main__":
    main(*sys.argv[1:])
