"""House rules that no general linter knows, run over the source itself.

Each rule names the offending line, and each has its reason here: money is whole minor units, time comes from one
place, values never become SQL text, files stay readable, nothing in the repository points to a registry, and card
numbers stand only where the sandbox must know them.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("ledger", "reconciliation", "reports", "gateway", "migrations")
FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70
SECONDS_NAMES = re.compile(r"(^|_)seconds(_max)?$")

FLOAT_ALLOWED = {
    "gateway/foundation": "durations of waits and metrics",
    "gateway/worker.py": "pauses",
    "gateway/scheduler.py": "pauses",
    "gateway/demo": "durations shown on a screen",
    "gateway/commands": "durations of waits",
    "gateway/sandbox/faults.py": "delays",
    "gateway/sandbox/callbacks.py": "delays",
    "gateway/providers/http.py": "durations of calls",
}
"""Where a float may stand for time; nowhere does one stand for money."""
CLOCK_ALLOWED = {
    "gateway/foundation/clock.py": "the one place",
    "gateway/foundation/ids.py": "the machine's time inside an id, never read back",
    "migrations/versions/0001_ledger.py": "the first partitions begin with the month of the migration",
}
SQL_CLOCK_ALLOWED = {"ledger/sql/create_month_v1.sql": "partitions are made ahead of the server's own calendar"}


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for name, text in sources(*folders):
        yield name, ast.parse(text)


def allowed(name: str, places: dict[str, str] | set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def test_no_float_stands_near_money():
    found = []
    for name, tree in trees(*PACKAGES):
        if allowed(name, FLOAT_ALLOWED):
            continue
        durations = {id(part) for node in ast.walk(tree) if is_duration(node) for part in ast.walk(node)}
        for node in ast.walk(tree):
            is_float = isinstance(node, ast.Constant) and isinstance(node.value, float)
            is_type = isinstance(node, ast.Name) and node.id == "float"
            if (is_float or is_type) and id(node) not in durations:
                found.append(f"{name}:{node.lineno}")
    assert found == []


def is_duration(node: ast.AST) -> bool:
    """An assignment, parameter or keyword whose name ends in `_seconds`."""
    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return bool(SECONDS_NAMES.search(name.lower()))
        case ast.arg(arg=name) | ast.keyword(arg=str(name)):
            return bool(SECONDS_NAMES.search(name))
        case _:
            return False


def test_nobody_but_the_clock_asks_the_time():
    asks = re.compile(r"\b(?:datetime\.(?:now|utcnow|today)|date\.today|time\.time(?:_ns)?)\(")
    found = [
        f"{name}:{number}"
        for name, text in sources(*PACKAGES)
        if name not in CLOCK_ALLOWED
        for number, line in enumerate(text.splitlines(), 1)
        if asks.search(line)
    ]
    assert found == []


def test_sql_never_asks_the_time_but_under_the_book_lock():
    """`now()` is the start of a transaction and lies about order; `clock_timestamp()` belongs to the ledger."""
    asks = re.compile(
        r"\b(?:now\(\)|current_timestamp|current_date|localtimestamp|statement_timestamp\(\))", re.IGNORECASE
    )
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if name in SQL_CLOCK_ALLOWED:
            continue
        if path.suffix == ".sql":
            text = re.sub(r"--.*", "", path.read_text())
        elif name.startswith("migrations/versions/"):
            text = path.read_text()
        else:
            continue
        found += [f"{name}: {match.group()}" for match in asks.finditer(text)]
    assert found == []


SQL_TEXT_ALLOWED = {"ledger/schema.py": "DDL takes no parameters; its names are the module's constants and role names"}
SQL_START = re.compile(r"^\s*(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|MERGE INTO)\s", re.IGNORECASE)


def test_no_value_becomes_sql_text():
    """A statement made when its module is loaded cannot hold a value; one made later may hold constants only."""
    found = []
    for name, tree in trees("ledger", "reconciliation", "reports", "gateway"):
        if name in SQL_TEXT_ALLOWED:
            continue
        constants = {id(part) for node in tree.body if is_constant(node) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.JoinedStr) or id(node) in constants:
                continue
            text = "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            names = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
            if SQL_START.match(text) and any(
                not (isinstance(n, ast.Name) and n.id.lstrip("_").isupper()) for n in names
            ):
                found.append(f"{name}:{node.lineno}")
    assert found == []


def is_constant(node: ast.stmt) -> bool:
    """A module's assignment to a name in capitals."""
    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name.lstrip("_").isupper()
        case _:
            return False


def test_files_and_functions_stay_short():
    """Functions of migrations are left out: they are lists of statements, read from top to bottom once."""
    found = []
    for name, text in sources(*PACKAGES, "tests", "benchmarks"):
        lines = len(text.splitlines())
        if lines > FILE_LINES_MAX:
            found.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX and not name.startswith("migrations/versions/"):
                    found.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert found == []


def test_public_names_are_documented():
    found = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in trees("ledger", "reconciliation", "reports", "gateway")
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert found == []


REGISTRIES = re.compile(
    r"(?:pypi\.org|pythonhosted\.org|--(?:extra-)?index-url|--find-links|registry\.npmjs|ghcr\.io|proxy\.golang)"
)


def test_nothing_points_to_a_registry():
    found = [
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path != Path(__file__) and REGISTRIES.search(path.read_text(errors="replace"))
    ]
    assert found == []


CARD_NUMBER = re.compile(
    r"(?<![0-9A-Za-z.])(?:4[0-9]{15}|5[1-5][0-9]{14}|3[47][0-9]{13}|35[0-9]{14}|62[0-9]{14})(?![0-9A-Za-z.])"
)
CARDS_ALLOWED = {
    "gateway/sandbox": "the providers' published test numbers",
    "tests/sandbox": "the same, sent to it",
    "tests/providers/test_against_sandbox.py": "the same, sent to it",
    "tests/foundation/test_logs.py": "planted, to prove that the scrubber finds it",
}


def is_card_number(digits: str) -> bool:
    doubled = [int(digit) * 2 - 9 * (int(digit) > 4) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def test_card_numbers_stand_in_the_sandbox_only():
    found = [
        f"{name}: {number}"
        for path in tracked()
        if path.suffix in {".py", ".sql", ".md", ".json", ".csv", ".txt", ".toml", ".yml"}
        and path.name not in {"requirements.txt", "requirements-dev.txt"}
        and not allowed(name := path.relative_to(ROOT).as_posix(), CARDS_ALLOWED)
        for number in CARD_NUMBER.findall(path.read_text(errors="replace"))
        if is_card_number(number)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["ledger", "reconciliation", "reports"])
def test_lower_packages_know_nothing_of_the_gateway(name):
    found = [
        f"{file}:{node.lineno}"
        for file, tree in trees(name)
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gateway")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "gateway" for alias in node.names))
    ]
    assert found == []


def test_every_metric_is_measured_somewhere():
    home = "gateway/foundation/metrics.py"
    names = [
        node.target.id
        for name, tree in trees("gateway")
        if name == home
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_")
    ]
    everything = "\n".join(text for name, text in sources("gateway") if name != home)
    assert [name for name in names if not re.search(rf"\b{name}\.\w+\(", everything)] == []
