"""Runs a module as if some packages were not installed: `python -m libs.local_stack.alone MODULE PACKAGE…`.

Here all processes share one environment, and some libraries import whatever they find in it. In its container a
service has only what it needs itself, so there this is not needed.
"""

import runpy
import sys


def main() -> None:
    module, *absent = sys.argv[1:]
    for package in absent:
        # None says that there is no such module (https://docs.python.org/3/reference/import.html#the-module-cache).
        sys.modules[package] = None  # type: ignore[assignment]
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
