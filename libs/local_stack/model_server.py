"""The built-in model server: `python -m libs.local_stack.model_server HOST PORT`.

llama.cpp itself serves HTTP (`/health`, `/v1/models`, `/v1/chat/completions`); this process sets it up and waits.
"""

import os
import signal
import sys

import xllamacpp  # type: ignore[import-untyped] # it has no types

from libs.local_stack.model_weights import NAME, weights

PARALLEL = 4
CONTEXT_PER_ANSWER = 4096
# llama.cpp would keep up to 8 GiB of prompts; conversations with this model are short.
PROMPT_CACHE_MIB = 256


def parameters(host: str, port: int) -> xllamacpp.CommonParams:
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(weights())
    chosen.model_alias = {NAME}
    chosen.hostnames = [host]
    chosen.port = port
    chosen.n_parallel = PARALLEL
    chosen.n_ctx = PARALLEL * CONTEXT_PER_ANSWER
    chosen.cpuparams.n_threads = os.cpu_count() or 1
    chosen.cache_ram_mib = PROMPT_CACHE_MIB
    # Fitting the parameters to the machine's memory loads the model twice (1.7 s of processor time, not 1.0).
    chosen.fit_params = False
    # A first answer warms it up just as well; without, it is ready half a second earlier.
    chosen.warmup = False
    chosen.ui = False
    return chosen


def end(_number: int, _frame: object) -> None:
    """At once: nothing here needs an orderly end."""
    os._exit(0)


def main() -> None:
    # Not left to its default action, which the first process of a container does not have. While the model loads
    # (1 s) the handler has to wait.
    signal.signal(signal.SIGTERM, end)
    server = xllamacpp.Server(parameters(sys.argv[1], int(sys.argv[2])))
    print(f"listening on {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
