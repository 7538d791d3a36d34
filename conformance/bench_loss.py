"""Output head and plain cross-entropy with both gradients in chunks of rows, as one writes it in PyTorch. Prints the seconds, and the
peak of resident memory above what was resident before. Arguments: dtype, threads, rows, vocabulary, width, megabytes for
the loss."""

import ctypes
import re
import sys
import time

import torch
import torch.nn.functional as F


def status(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\s+(\d+)", file.read()).group(1)) * 1024


def run(hidden, weight, targets, step):
    gradient = torch.empty_like(hidden)
    total = 0.0
    for at in range(0, hidden.shape[0], step):
        part = hidden[at:at + step].requires_grad_()
        loss = F.cross_entropy(F.linear(part, weight).float(), targets[at:at + step], reduction="sum") / hidden.shape[0]
        loss.backward()
        gradient[at:at + step] = part.grad
        total += loss.item()
    return total


def main(dtype, threads, rows, vocab, width, megabytes):
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    rows, vocab, width = int(rows), int(vocab), int(width)
    kind = getattr(torch, dtype)
    weight = torch.empty(vocab, width, dtype=kind).uniform_(-width ** -0.5, width ** -0.5).requires_grad_()
    weight.grad = torch.zeros_like(weight)
    hidden = torch.empty(rows, width, dtype=kind).uniform_(-2, 2)
    targets = torch.randint(0, vocab, (rows,))
    step = max(1, (int(megabytes) << 20) // 8 * 7 // ((4 if dtype == "float32" else 6) * vocab))  # as RowHead.java
    run(hidden[:8].clone(), weight[:1024].detach().requires_grad_(), targets[:8] % 1024, step)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would serve again without being seen
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    start = time.perf_counter()
    loss = run(hidden, weight, targets, step)
    seconds = time.perf_counter() - start
    assert loss > 0
    print("seconds", seconds)
    print("peakBytes", status("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
