"""What small operators of torch cost from Python: medians of runs, in microseconds. Arguments: threads, operators of a run."""
import sys
import time

import torch

RUNS = 15


def micros(operator, count):
    x, y = torch.ones(1), torch.full((1,), 2.0)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for _ in range(count):
            operator(x, y)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[RUNS // 2] / count * 1e6


def main(threads, count):
    torch.set_num_threads(int(threads))
    with torch.inference_mode():
        print("product", micros(torch.mul, int(count)))
        print("view", micros(lambda x, y: x.detach(), int(count)))
        print("sum", micros(torch.add, int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
