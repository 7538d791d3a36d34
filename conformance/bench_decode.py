"""llama.cpp's decoder, to compare with those of `grace bench decode`: the same sizes, random weights, the CPU. conformance/setup-peers makes its
environment.

    bench_decode.py run --shape 28,1536,12,2,128,8960,151936 --prompt 256 --tokens 32 --rounds 3 --threads 2
    bench_decode.py write --shape ... --format q4_0-head8 --file model.gguf
    bench_decode.py serve --file model.gguf --prompt 256 --tokens 32 --threads 2

A shape is layers, width, heads, heads of keys and values, width of a head, width of the gated layer, vocabulary. The model is of
architecture "llama"; its embedding is also its head, as the other side of the bench has one such matrix. `run` writes the files, lets
the contestants take turns, each in its own process, and prints for each: name, tokens/s of the prompt, tokens/s of decoding (the best
round of each), gigabytes resident after the last round and at most. `serve` is one contestant: for each line on standard input it
fills the cache with the prompt and decodes, one token at a time, and prints the seconds of both.

llama.cpp reads the file through mmap and repacks 4-bit weights for the processor, as it does by default."""

import argparse
import ctypes
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

Shape = namedtuple("Shape", "layers width heads kv_heads head_dim mlp vocab")
# Bits of the layers' and of the head's weights. GGUF's Q4_0 and Q8_0 share a 16-bit scale among 32 weights.
FORMATS = {"bf16": ("BF16", "BF16"), "q4_0": ("Q4_0", "Q4_0"), "q4_0-head8": ("Q4_0", "Q8_0"), "q4_0-head16": ("Q4_0", "BF16")}
BYTES = {"BF16": 2.0, "Q8_0": 34 / 32, "Q4_0": 18 / 32}
BLOCK = 32
SPARE_DISK = 2 << 30
CHUNK_ROWS = 4096
LEFT_OUT = 3  # exit status of a contestant that cannot take part; a line "left out REASON" says why


class LeftOut(Exception):
    """Why a contestant cannot take part."""


def shape_of(text):
    try:
        numbers = [int(v) for v in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(Shape._fields) or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: {len(Shape._fields)} numbers from 1 on, {','.join(Shape._fields)}")
    shape = Shape(*numbers)
    if shape.heads % shape.kv_heads or shape.head_dim % 2:
        raise argparse.ArgumentTypeError(f"'{text}': kv_heads must divide heads, and head_dim be even")
    if shape.width % BLOCK or shape.mlp % BLOCK or shape.heads * shape.head_dim % BLOCK:
        raise argparse.ArgumentTypeError(f"'{text}': width, mlp and heads * head_dim must be multiples of {BLOCK}")
    return shape


def count(text):
    if not text.isdigit() or not 1 <= int(text) <= 999_999:
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: 1 to 999999")
    return int(text)


def matrices(s, layer_type, head_type):
    """Names, rows, columns and types of the matrices."""
    yield "token_embd.weight", s.vocab, s.width, head_type
    for i in range(s.layers):
        for name, rows, cols in (
            ("attn_q", s.heads * s.head_dim, s.width),
            ("attn_k", s.kv_heads * s.head_dim, s.width),
            ("attn_v", s.kv_heads * s.head_dim, s.width),
            ("attn_output", s.width, s.heads * s.head_dim),
            ("ffn_gate", s.mlp, s.width),
            ("ffn_up", s.mlp, s.width),
            ("ffn_down", s.width, s.mlp),
        ):
            yield f"blk.{i}.{name}.weight", rows, cols, layer_type


def norms(s):
    return ["output_norm.weight"] + [f"blk.{i}.{n}.weight" for i in range(s.layers) for n in ("attn_norm", "ffn_norm")]


def weight_bytes(s, kind):
    """Bytes of the matrices in a file of that format."""
    return int(sum(rows * cols * BYTES[t] for _, rows, cols, t in matrices(s, *FORMATS[kind])))


def random_rows(np, rng, kind, rows, cols):
    """Bytes of random weights of mean 0 and a root mean square of about 1 / sqrt(cols), so that states keep their size: [rows, bytes]."""
    if kind == "BF16":
        # A random sign and fraction, one exponent: sizes between 2^e and 2^(e+1), whose root mean square is 1.53 * 2^e.
        exponent = 127 + round(math.log2(1 / (1.53 * math.sqrt(cols))))
        bits = rng.integers(0, 1 << 16, (rows, cols), np.uint16)
        return ((bits & 0x807F) | (exponent << 7)).view(np.uint8)
    blocks = cols // BLOCK
    # A block is a 16-bit scale and its codes. Codes 0 to 15 stand for -8 to 7, so a scale of either sign makes the mean 0.
    code = rng.integers(0, 256, (rows, blocks, 16), np.uint8) if kind == "Q4_0" else rng.integers(-127, 128, (rows, blocks, 32), np.int8)
    size = 1 / ((4.64 if kind == "Q4_0" else 73.3) * math.sqrt(cols))
    scale = np.where(rng.integers(0, 2, (rows, blocks, 1)) == 0, size, -size).astype(np.float16)
    return np.concatenate((scale.view(np.uint8), code.view(np.uint8)), axis=2).reshape(rows, -1)


def write(s, kind, file, eps=1e-5):
    """Writes a GGUF file. Needs room for it and some to spare."""
    np, gguf = modules("numpy", "gguf")
    need, free = weight_bytes(s, kind), shutil.disk_usage(pathlib.Path(file).absolute().parent).free
    if free < need + SPARE_DISK:
        raise LeftOut(f"{need / 1e9:.1f} GB and {SPARE_DISK >> 30} to spare are wanted on the disk, {free / 1e9:.1f} are free")
    out = gguf.GGUFWriter(file, "llama")
    out.add_block_count(s.layers)
    out.add_context_length(1 << 17)
    out.add_embedding_length(s.width)
    out.add_feed_forward_length(s.mlp)
    out.add_head_count(s.heads)
    out.add_head_count_kv(s.kv_heads)
    out.add_key_length(s.head_dim)
    out.add_value_length(s.head_dim)
    out.add_rope_dimension_count(s.head_dim)
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(eps)
    out.add_vocab_size(s.vocab)
    out.add_tokenizer_model("no_vocab")  # tokens are numbers here; llama.cpp needs no texts for them
    for name in norms(s):
        out.add_tensor_info(name, (s.width,), np.dtype(np.float32), 4 * s.width)
    for name, rows, cols, t in matrices(s, *FORMATS[kind]):
        row = int(cols * BYTES[t])
        out.add_tensor_info(name, (rows, row), np.dtype(np.uint8), rows * row, gguf.GGMLQuantizationType[t])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    for _ in norms(s):
        out.write_tensor_data(np.ones(s.width, np.float32))
    rng = np.random.default_rng(1)
    for _, rows, cols, t in matrices(s, *FORMATS[kind]):
        parts = [random_rows(np, rng, t, min(CHUNK_ROWS, rows - at), cols) for at in range(0, rows, CHUNK_ROWS)]
        out.write_tensor_data(np.concatenate(parts))
    out.close()


def modules(*names):
    """Imports modules of the optional environment."""
    try:
        return [__import__(name) for name in names]
    except (ImportError, OSError, RuntimeError) as e:
        raise LeftOut(f"{e}; conformance/setup-peers makes its environment") from e


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def quiet(level, text, _):
    """llama.cpp's messages: errors only."""
    if level == 4:
        sys.stderr.write(text.decode(errors="replace"))


class Contestant:
    """A model in llama.cpp, and a cache for a prompt and its continuation."""

    def __init__(self, file, threads, prompt, tokens, repack=True, flash="auto"):
        (self.lib,) = lib, = modules("llama_cpp")
        lib.llama_log_set(quiet, ctypes.c_void_p(0))
        lib.llama_backend_init()
        options = lib.llama_model_default_params()
        options.use_extra_bufts = repack
        options.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(os.fsencode(file), options)
        if not self.model:
            raise LeftOut(f"llama.cpp cannot load {file}")
        settings = lib.llama_context_default_params()
        settings.n_ctx = prompt + tokens
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[flash]
        settings.no_perf = True
        self.context = lib.llama_init_from_model(self.model, settings)
        if not self.context:
            raise LeftOut("llama.cpp cannot make a context; is the memory enough?")
        self.prompt, self.tokens = prompt, tokens
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self.batch = lib.llama_batch_init(prompt, 0, 1)
        self.about = f"llama-cpp-python {lib.__version__}, repacking {'on' if repack else 'off'}, flash attention {flash}; " + (
            lib.llama_print_system_info().decode().strip())

    def weight_bytes(self):
        return self.lib.llama_model_size(self.model)

    def decode(self, at, n, logits):
        b = self.batch
        b.n_tokens = n
        for i in range(n):
            b.token[i] = (7 * (at + i) + 1) % self.vocab
            b.pos[i] = at + i
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = 0
            b.logits[i] = logits
        if self.lib.llama_decode(self.context, b) != 0:
            raise LeftOut("llama.cpp cannot decode; is the memory enough?")

    def round(self):
        """Seconds of the prompt (which wants no logits) and of decoding, and whether all logits were finite."""
        lib = self.lib
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        batch = lib.llama_n_batch(self.context)
        start = time.perf_counter()
        for at in range(0, self.prompt, batch):
            self.decode(at, min(batch, self.prompt - at), False)
        lib.llama_synchronize(self.context)
        filled = time.perf_counter()
        total = 0.0
        for t in range(self.tokens):
            self.decode(self.prompt + t, 1, True)
            total += lib.llama_get_logits(self.context)[0]
        end = time.perf_counter()
        last = lib.llama_get_logits(self.context)
        return filled - start, end - filled, math.isfinite(total) and all(math.isfinite(last[i]) for i in range(self.vocab))


def memory():
    """Bytes of this process that are resident, and that were at most."""
    lines = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return tuple(1024 * int(lines[k].split()[0]) for k in ("VmRSS", "VmHWM"))


def serve(file, threads, prompt, tokens, repack, flash):
    contestant = Contestant(file, threads, prompt, tokens, repack, flash)
    print("about", contestant.about, flush=True)
    print("bytes", contestant.weight_bytes(), 0, flush=True)
    for _ in sys.stdin:
        prefill, decode, finite = contestant.round()
        resident, peak = memory()
        print(f"seconds {prefill:.6f} {decode:.6f} {'finite' if finite else 'broken'} resident {resident} peak {peak}", flush=True)


class Server:
    """A contestant's process and its best figures."""

    def __init__(self, name, arguments):
        self.name, self.prefill, self.decode, self.resident, self.peak = name, math.inf, math.inf, 0, 0
        self.process = subprocess.Popen([sys.executable, __file__, "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.line("about")

    def line(self, start):
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if line.startswith("left out "):
                raise LeftOut(line.strip()[9:])
            if word == start:
                return rest
        raise LeftOut(f"its process ended with status {self.process.wait()}")

    def round(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        prefill, decode, finite, _, resident, _, peak = self.line("seconds").split()
        if finite != "finite":
            raise LeftOut("its logits are not finite")
        self.prefill, self.decode = min(self.prefill, float(prefill)), min(self.decode, float(decode))
        self.resident, self.peak = int(resident), int(peak)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def run(a):
    """Measures all formats, side by side."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the folder goes then too
    servers = []
    with tempfile.TemporaryDirectory(prefix="bench-decode-") as folder:
        try:
            for name in a.formats.split(","):
                file = os.path.join(folder, name + ".gguf")
                write(a.shape, name, file)
                flags = [f"--repack={a.repack}", f"--flash={a.flash}"]
                numbers = [f"--{k}={getattr(a, k)}" for k in ("threads", "prompt", "tokens")]
                servers.append(Server(name, [f"--file={file}", *numbers, *flags]))
            print(servers[0].about, file=sys.stderr)
            for _ in range(a.rounds):
                for server in servers:
                    server.round()
            for s in servers:
                print(f"{s.name} {a.prompt / s.prefill:.2f} {a.tokens / s.decode:.3f} {s.resident / 1e9:.3f} {s.peak / 1e9:.3f}")
        finally:
            for server in servers:
                server.end()


def arguments(args):
    parser = argparse.ArgumentParser(prog="bench_decode.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made = {name: commands.add_parser(name) for name in ("run", "write", "serve")}
    for name in ("run", "write"):
        made[name].add_argument("--shape", type=shape_of, required=True)
    for name in ("write", "serve"):
        made[name].add_argument("--file", required=True)
    made["write"].add_argument("--format", choices=FORMATS, required=True)
    for name in ("run", "serve"):
        for option, default in (("--prompt", "256"), ("--tokens", "32"), ("--threads", str(os.cpu_count()))):
            made[name].add_argument(option, type=count, default=default)
        made[name].add_argument("--repack", choices=("on", "off"), default="on")
        made[name].add_argument("--flash", choices=("auto", "on", "off"), default="auto")
    made["run"].add_argument("--rounds", type=count, default="3")
    made["run"].add_argument("--formats", default=",".join(FORMATS))
    parsed = parser.parse_args(args)
    for name in getattr(parsed, "formats", "bf16").split(","):
        if name not in FORMATS:
            parser.error(f"--formats has '{name}'; allowed: {', '.join(FORMATS)}")
    return parsed


def main(args):
    a = arguments(args)
    try:
        if a.command == "write":
            write(a.shape, a.format, a.file)
        elif a.command == "serve":
            serve(a.file, a.threads, a.prompt, a.tokens, a.repack == "on", a.flash)
        else:
            run(a)
    except (LeftOut, OSError) as e:
        print("left out", e, flush=True)
        return LEFT_OUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
