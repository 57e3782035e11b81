"""The HTTP client of all tests that ask a process how it is.

One for all: each client reads all root certificates when it is made, which takes 20 ms of a core, and who waits for a
condition asks a hundred times.
"""

import httpx

# No connection is kept: the process at its other end may be killed.
HTTP = httpx.Client(timeout=5, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
