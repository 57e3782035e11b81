"""Fixtures that every test may use."""

import os

from hypothesis import settings

# In this order: databases imports brokers, and a plugin must not be imported before it is one.
pytest_plugins = ["tests.brokers", "tests.databases", "tests.scheduling"]

# At every change a few examples, in CI as many as Hypothesis thinks right.
settings.register_profile("everyday", max_examples=25)
if not os.environ.get("CI"):  # noqa: TID251 (a test run has no settings.py)
    settings.load_profile("everyday")
