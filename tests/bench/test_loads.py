"""Every load that is described can be asked for."""

import re
from pathlib import Path

from bench.run import LOADS


def test_the_readme_names_every_load_and_no_other() -> None:
    """One had fallen out of the list, and the whole benchmark without a word."""
    readme = (Path(__file__).parents[2] / "bench" / "README.md").read_text()
    rows = re.findall(r"^\| ((?:`[a-z0-9-]+` ?)+)\|", readme, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row) if name != "--only"]
    assert named == list(LOADS)
