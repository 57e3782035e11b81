"""What must stand in no file: hosts of package registries, and paths of one machine."""

import re

from tests.architecture import source

# Put together here, so that this file itself holds none of them.
REGISTRIES = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "deb" + "ian.org"]
MACHINE_PATHS = ["/wo" + "rk/", "/tm" + "p/probe", "/ro" + "ot/", "/opt/py" + "pi"]


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    """The project installs from wherever a machine is set up to install from, and runs in any folder."""
    forbidden = re.compile("|".join(map(re.escape, [*REGISTRIES, *MACHINE_PATHS])))
    found = {str(path): forbidden.findall(text) for path, text in source.text_files()}
    assert {path: words for path, words in found.items() if words} == {}
