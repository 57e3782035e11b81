"""The file `.env`."""

from pathlib import Path

import pytest

from libs.local_stack import environment
from libs.local_stack.start_error import StartError


def test_values_are_read_as_people_write_them(tmp_path: Path) -> None:
    """Comments, blank lines, quotes, `export`, and an equals sign inside a value."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("# all of it\n\nONE=1\nexport TWO = two words \nTHREE='a # b'\nFOUR=\"x=y\"\nFIVE=\n")
    assert environment.read_dotenv(dotenv) == {
        "ONE": "1",
        "TWO": "two words",
        "THREE": "a # b",
        "FOUR": "x=y",
        "FIVE": "",
    }


def test_the_real_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that was set for this one start is meant."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("ORQUESTRADOR_TEST_A=file\nORQUESTRADOR_TEST_B=file\n")
    monkeypatch.setenv("ORQUESTRADOR_TEST_B", "real")
    loaded = environment.load(dotenv)
    assert (loaded["ORQUESTRADOR_TEST_A"], loaded["ORQUESTRADOR_TEST_B"]) == ("file", "real")


def test_no_file_is_no_setting(tmp_path: Path) -> None:
    """Nobody needs one."""
    assert environment.read_dotenv(tmp_path / ".env") == {}


def test_a_line_that_sets_nothing_is_named(tmp_path: Path) -> None:
    """A typing mistake must not silently mean the default."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("ONE=1\nLM_STUDIO_URL http://localhost\n")
    with pytest.raises(StartError, match=r"line 2: expected KEY=VALUE, found 'LM_STUDIO_URL http://localhost'"):
        environment.read_dotenv(dotenv)
