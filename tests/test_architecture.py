"""The arrows between the rooms, the top level, the dependencies and what may be in the repository."""

import ast
import re
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping
from functools import cache
from importlib import metadata
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("Home", "pages", "ui", "dermlens", "training", "data", "tests")
EXTRAS = {  # requirements file of what only some need -> where alone its packages are imported, besides the tests
    "requirements-api.txt": "dermlens/api/",
    "requirements-cluster.txt": "dermlens/cohort/",
    "requirements-exchange.txt": "dermlens/interchange/",
    "requirements-heic.txt": "dermlens/ingest/",
    "requirements-engines.txt": "tests/bench/",
    "requirements-pdf.txt": "dermlens/interchange/",
    "requirements-pip.txt": "",
    "requirements-quantise.txt": "training/",
    "requirements-record.txt": "dermlens/record/",
    "requirements-s3.txt": "",
    "requirements-torch.txt": "training/",
}
TOP_LEVEL = {
    *("Home.py", "pages", "ui", "dermlens", "models", "training", "data", "tests", "docs", ".streamlit", ".ci"),
    *("README.md", "CHANGELOG.md", "LICENSE", "Makefile", "pyproject.toml", ".gitignore"),
    *("requirements.txt", "requirements-dev.txt", "constraints.txt", "locks", *EXTRAS),
}
FORBIDDEN = {  # room -> what it must not import, wherever the import stands
    "dermlens": {"streamlit", "Home", "pages", "ui", "training", "data", "tests"},
    "training": {"streamlit", "Home", "pages", "ui", "data", "tests"},
    "data": {"streamlit", "Home", "pages", "ui", "training", "tests"},
    "ui": {"Home", "pages", "training", "data", "tests"},
}
HEAVY = {"tensorflow", "keras", "tf_keras_vis"}  # seconds to import: never at the top of a serving module
WINGS = (  # of dermlens/, from top to bottom: an import goes down this list, never up
    *("score", "cohort", "record", "interchange", "api", "charts"),
    *("case", "explain", "models", "trust", "evaluation", "dataset", "ingest", "image", "files", "server"),
)
GROUND = {"errors", "labels", "estimate", "wording", "child_process", "sandbox"}
MOST_MODULES = 12  # a folder
MANY_BY_NATURE = {"training", "training/configs"}  # its nouns are its stages; a config an experiment
PAGE_MAY_IMPORT = {"ui", "dermlens", "streamlit", "plotly", "pandas"}
OPTIONAL = {"jax", "keras_hub"}  # another Keras backend and weights: chosen by who trains
# too large for everybody's constraints.txt
UNLOCKED = {f"requirements-{name}.txt" for name in ("torch", "cluster", "engines", "quantise", "pip", "s3")}
UNDECLARED = {"scikit-learn": "crepes"}  # package -> what imports it without asking for it
PLUGINS = {"pytest-xdist": "--numprocesses"}  # package -> the option in the Makefile that uses it
READ_ELSEWHERE = {  # module -> the JSON it reads or writes that is no file of ours
    "dermlens/child_process.py": "messages to and from such a process",
    "dermlens/ingest/pool.py": "messages to and from the process that decodes",
    "dermlens/ingest/worker.py": "messages to and from the process that decodes",
    "dermlens/models/keras_file.py": "a member of model.keras, bounded and checked there",
    "training/artefact.py": "members of the archive that Keras wrote a moment before",
    "training/run.py": "the state inside a checkpoint, which ends with its checksum",
    "ui/access/sign_in.py": "a cookie of Streamlit's",
}
MAX_BYTES = 60 * 2**20


def sources(room: str) -> list[Path]:
    return [ROOT / "Home.py"] if room == "Home" else sorted((ROOT / room).rglob("*.py"))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(node: ast.AST, into_functions: bool = True) -> Iterator[str]:
    """Yield the top-level name of everything imported below `node`, or only of what loading the module imports."""
    for child in ast.iter_child_nodes(node):
        if not into_functions and isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import in line {child.lineno}: write the full name"
            yield str(child.module).split(".")[0]
        elif into_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child, into_functions)


def modules() -> dict[str, Path]:
    """Return every module of the product by its full name; a package goes by the name of its folder."""
    paths = [path for room in ROOMS if room != "tests" for path in sources(room)]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


def arrows(path: Path, known: Container[str]) -> set[str]:
    """Return the modules of the product that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in known else str(node.module) for full in names.values()}
    return {name for name in found if name in known}


def floor(module: str) -> int:
    """Return how far below the top of dermlens/ a module stands."""
    wing = module.split(".")[1] if "." in module else ""
    return WINGS.index(wing) if wing in WINGS else len(WINGS)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, straight or through others."""
    below: dict[str, set[str]] = {}
    for module in graph:
        reached, ahead = set(), [module]
        while ahead:
            new = graph[ahead.pop()] - reached
            reached |= new
            ahead += new
        below[module] = reached
    groups = {frozenset(m for m in graph if m in below[n] and n in below[m]) for n in graph if n in below[n]}
    return sorted(sorted(group) for group in groups)


def foreign(room: str) -> set[str]:
    """Return what a room imports from outside this repository and the standard library."""
    named = {name for path in sources(room) for name in imports(parse(path))}
    return named - set(ROOMS) - sys.stdlib_module_names


def tracked() -> list[PurePosixPath]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [PurePosixPath(name) for name in listing.split("\0") if name]


def requirements(file: str) -> dict[str, str]:
    """Return {distribution name in lower case, without extras: exact version}."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    pins = [line.split(";")[0].strip().partition("==") for line in lines if line and not line.startswith("-")]
    assert all(sign == "==" and version for _, sign, version in pins), f"{file}: every line is name==version"
    return {name.partition("[")[0].lower(): version for name, _, version in pins}


installed = cache(packages_distributions)


def distributions(import_names: set[str]) -> set[str]:
    known = installed()
    return {distribution.lower().replace("_", "-") for name in import_names for distribution in known.get(name, [name])}


def test_import_finder_sees_what_it_should() -> None:
    tree = ast.parse(
        "import a.b\nfrom c.d import e\nif a:\n    import f\ndef g():\n    import h\nclass I:\n    import j"
    )
    assert set(imports(tree)) == {"a", "c", "f", "h", "j"}
    assert set(imports(tree, into_functions=False)) == {"a", "c", "f", "j"}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_point_one_way(room: str) -> None:
    assert sources(room), f"{room} holds no code"
    for path in sources(room):
        wrong = FORBIDDEN[room] & set(imports(parse(path)))
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_imports_of_the_library_go_down() -> None:
    known = modules()
    library = {name: path for name, path in known.items() if name.startswith("dermlens.")}
    assert {name.split(".")[1] for name in library} - set(WINGS) == GROUND
    up = [(a, b) for a, path in library.items() for b in arrows(path, library) if floor(b) < floor(a)]
    assert up == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    known = modules()
    assert circles({name: arrows(path, known) - {name} for name, path in known.items()}) == []


def test_predict_and_metrics_stay_apart_and_shared_helpers_know_no_page() -> None:
    known = {name: path for name, path in modules().items() if name.startswith("ui.")}
    forbidden = {
        "predict": {"metrics"},
        "metrics": {"predict"},
        "": {"predict", "metrics", "compare", "cohort", "access"},
    }
    for name, path in known.items():
        _, *page, _ = name.split(".")
        used = {other.split(".")[1] for other in arrows(path, known) if other.count(".") > 1}
        wrong = used & forbidden.get("".join(page), set())
        assert not wrong, f"{name} imports what {sorted(wrong)} alone draws"


def test_folders_can_be_taken_in_at_a_glance_and_packages_load_nothing() -> None:
    for room in ("dermlens", "ui", "training", "data"):
        for folder in {path.parent for path in sources(room)}:
            here = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            name = folder.relative_to(ROOT).as_posix()
            assert len(here) <= MOST_MODULES or name in MANY_BY_NATURE, f"{name} holds {len(here)} modules"
            tree = parse(folder / "__init__.py")
            assert all(isinstance(node, ast.Expr) for node in tree.body), f"{name}/__init__.py does something"


@pytest.mark.parametrize("room", ["dermlens", "ui", "pages", "Home"])
def test_serving_side_loads_no_training_framework(room: str) -> None:
    for path in sources(room):
        wrong = HEAVY & set(imports(parse(path), into_functions=False))
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)} at module level"


def test_importing_the_whole_library_loads_neither_tensorflow_nor_streamlit() -> None:
    paths = [p for p in sources("dermlens") if p.stem not in ("__init__", "__main__", "env")]  # env: run by Alembic
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    program = (
        f"import sys, {', '.join(modules)}; print(*sorted({HEAVY | {'streamlit', 'jax', 'torch'}} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("room", ["pages", "Home"])
def test_pages_only_read_input_call_the_library_and_draw(room: str) -> None:
    assert sources(room), f"{room} holds no code"
    for path in sources(room):
        wrong = set(imports(parse(path))) - PAGE_MAY_IMPORT - sys.stdlib_module_names
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"
        lines = len(path.read_text().splitlines())
        assert lines <= 150, f"{path.relative_to(ROOT)} has {lines} lines: let the library do the work"


def test_streamlit_caches_live_in_ui_alone() -> None:
    for room in set(ROOMS) - {"ui", "tests"}:
        for path in sources(room):
            names = {node.attr for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}
            assert not names & {"cache_data", "cache_resource"}, f"{path.relative_to(ROOT)} keeps a cache of its own"


def test_json_and_csv_are_read_and_written_by_the_wing_of_files_alone() -> None:
    calls = {"json.load", "json.loads", "json.dump", "json.dumps", "pd.read_csv", "pandas.read_csv", "csv.reader"}
    found = {
        path.relative_to(ROOT).as_posix()
        for room in set(ROOMS) - {"tests"}
        for path in sources(room)
        if calls & {ast.unparse(node) for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}
    }
    own = {name for name in found if name.startswith("dermlens/files/")}
    assert own
    assert found - own - set(READ_ELSEWHERE) == set(), "use the strict readers and the writer of dermlens.files"
    assert set(READ_ELSEWHERE) - found == set(), "listed, but reads none any more"
    for room in set(ROOMS) - {"tests"}:
        for path in sources(room):
            named = {n.module for n in ast.walk(parse(path)) if isinstance(n, ast.ImportFrom)}
            assert not named & {"json", "csv"}, f"{path.relative_to(ROOT)}: import the module, not its functions"


def test_top_level_is_as_designed() -> None:
    assert {path.parts[0] for path in tracked()} - TOP_LEVEL == set()
    assert [path for path in TOP_LEVEL - {"docs"} if not (ROOT / path).exists()] == []


def test_every_requirement_is_used_and_every_import_is_required() -> None:
    needed = distributions(set().union(*(foreign(room) for room in ROOMS if room != "tests")) - OPTIONAL)
    required = set(requirements("requirements.txt"))
    needed -= set().union(*(requirements(file) for file in EXTRAS)) - required
    assert needed - required == set(), "imported but not in requirements.txt"
    assert required - needed - set(UNDECLARED) == set(), "in requirements.txt but never imported"
    for package, user in UNDECLARED.items():
        asked_for = {re.split(r"[^\w.-]", line)[0] for line in metadata.requires(user) or ()}
        assert user in required
        assert package not in asked_for, f"{user} asks for {package} by now: leave it to constraints.txt"


@pytest.mark.parametrize("file", sorted(file for file in EXTRAS if EXTRAS[file]))
def test_what_only_some_need_is_imported_where_they_need_it(file: str) -> None:
    own = set(requirements(file)) - set(requirements("requirements.txt"))
    users = list((ROOT / EXTRAS[file]).rglob("*.py"))
    imported = distributions(set().union(*(imports(parse(p)) for p in users)))
    run = {name for p in users for name in re.findall(r'"([\w.]+)"', p.read_text())}  # by python -m, not imported
    assert own - imported - run == set(), f"in {file} but unused"
    for path in (p for room in set(ROOMS) - {"tests"} for p in sources(room)):
        if not path.relative_to(ROOT).as_posix().startswith(EXTRAS[file]):
            wrong = distributions(set(imports(parse(path)))) & own
            assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_every_development_requirement_is_used_and_every_import_of_the_tests_is_required() -> None:
    required, base = set(requirements("requirements-dev.txt")), set(requirements("requirements.txt"))
    known = required.union(base, *(requirements(file) for file in EXTRAS))
    assert distributions(foreign("tests")) - known == set(), "imported by tests but in no requirements file"
    stubs = {name for name in required if name.removeprefix("types-").removesuffix("-stubs") in base - {name}}
    makefile = (ROOT / "Makefile").read_text()
    run = set(re.findall(r"\$\(PY\) -m (\w+)", makefile))
    commands = distributions(run.union(*(re.findall(r'"-m", "(\w+)"', p.read_text()) for p in sources("tests"))))
    plugins = {name for name, option in PLUGINS.items() if option in makefile}
    unused = required - distributions(foreign("tests")) - stubs - commands - plugins
    assert unused == set(), "in requirements-dev.txt but unused"


def test_transitive_pins_agree_with_the_direct_ones() -> None:
    pins = {re.sub("[._]", "-", name): version for name, version in requirements("constraints.txt").items()}
    for file in ("requirements.txt", "requirements-dev.txt", *(set(EXTRAS) - UNLOCKED)):
        for name, version in requirements(file).items():
            assert pins.get(re.sub("[._]", "-", name)) == version, f"{name}=={version} in {file}: run `make lock`"


def test_readme_gives_a_reason_for_every_requirement() -> None:
    reasons = dict(re.findall(r"^\| `([^`]+)` \| (.+?) \|$", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    for file in ("requirements.txt", "requirements-dev.txt", *EXTRAS):
        for name in requirements(file):
            assert len(reasons.get(name, "").split()) >= 2, f"README.md gives no reason for {name}"


def test_repository_holds_no_large_file_and_no_data_set_image() -> None:
    for path in tracked():
        assert (ROOT / path).stat().st_size <= MAX_BYTES, f"{path} is over {MAX_BYTES >> 20} MB"
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}:
            assert path.parts[0] == "docs", f"{path}: images are drawn by the tests, only docs/ holds screenshots"
        assert not re.match(r"(ISIC|HAM)_\d+", path.name), f"{path} looks like an image of the data set"
        if path.match("models/*/embeddings.npz"):  # of the project's own networks, read without pickle
            continue
        assert path.suffix not in {".h5", ".npz", ".pkl", ".pt", ".pth", ".onnx"}, (
            f"{path}: not a format published here"
        )
