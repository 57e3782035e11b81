"""Fixtures that every test may use."""

import os

from hypothesis import settings

pytest_plugins = ["tests.databases", "tests.brokers", "tests.scheduling"]

# At every change a few examples, in CI as many as Hypothesis thinks right.
settings.register_profile("everyday", max_examples=25)
if not os.environ.get("CI"):  # noqa: TID251 (a test run has no settings.py)
    settings.load_profile("everyday")
