"""How modules look: small, named for what they are, and introduced by a docstring."""

import ast

from tests.architecture import source

LONGEST_MODULE = 300
# Names that say nothing attract everything.
SAYS_NOTHING = {"utils", "util", "common", "helpers", "helper", "base", "misc"}


def test_no_module_is_longer_than_300_lines() -> None:
    """A longer one has more than one responsibility."""
    lengths = {
        module: len((source.ROOT / module).read_text(encoding="utf-8").splitlines())
        for module in source.modules("libs", "services", "tests", "scripts", "bench")
    }
    assert {module: length for module, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_every_name_says_what_is_inside() -> None:
    """A folder or module is named for its responsibility."""
    modules = source.modules("libs", "services", "tests", "scripts", "bench")
    assert {module for module in modules if SAYS_NOTHING & {*module.parts, module.stem}} == set()


def test_a_package_file_is_one_docstring() -> None:
    """`__init__.py` holds no code: importing a package costs nothing and hides nothing."""

    def one_docstring(parsed: ast.Module) -> bool:
        return len(parsed.body) == 1 and ast.get_docstring(parsed) is not None

    packages = [m for m in source.modules("libs", "services", "tests", "bench") if m.name == "__init__.py"]
    assert [module for module in packages if not one_docstring(source.tree(module))] == []


def test_every_module_says_what_it_is_for() -> None:
    """The first thing in a module is its docstring."""
    modules = source.modules("libs", "services", "tests", "scripts", "bench")
    assert [module for module in modules if ast.get_docstring(source.tree(module)) is None] == []


def test_every_folder_is_a_package() -> None:
    """The folder path is the import path, so no folder of modules lacks its `__init__.py`."""
    folders = {module.parent for module in source.modules("libs", "services", "tests", "bench")}
    assert [folder for folder in folders if not (source.ROOT / folder / "__init__.py").exists()] == []
