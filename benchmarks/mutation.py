"""python -m benchmarks.mutation [SUBJECT ...]: which small mistakes in the code its tests would not notice.

Each subject is a few modules and the fast tests of them, of the fleet also the slow ones. One mistake after another is
planted in a function ("mutant"): another comparison, operator, number or text, a condition negated, an argument or a
statement left out. A mutant is killed if a test fails. What survives is printed, to be read: it changes nothing that
matters, or a test is missing.

pytest collects the tests once; each mutant is a fork of that process, which replaces the code of one function and runs
the tests that execute the changed line. So functions with decorators are changed too, and TensorFlow is imported once.
Not changed: the texts of errors and other f-strings, assertions, annotations, and code outside functions.
"""

import argparse
import ast
import copy
import gc
import importlib
import inspect
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from benchmarks.rounds import ROOT

OUT = ROOT / "build" / "mutation"
"""The survivors of each subject."""
SUBJECTS = {
    "metrics": (
        ["evaluation/metrics.py", "evaluation/metric_functions.py"],
        [
            "evaluation/test_metrics.py",
            "evaluation/test_metric_functions.py",
            "evaluation/test_metric_file.py",
            "config/test_metric_and_submission.py",
        ],
    ),
    "folds": (
        ["data/folds.py", "config/folds.py"],
        ["data/test_folds.py"],
    ),
    "targets": (
        ["data/target.py", "data/targets.py"],
        ["data/test_targets.py", "config/test_target_files.py"],
    ),
    "blend": (
        ["ensemble/blend.py"],
        ["ensemble/test_nested_score.py", "workflows/test_blend_metadata.py", "workflows/test_blend_targets.py"],
    ),
    "methods": (
        ["ensemble/methods.py"],
        ["ensemble/test_methods.py", "ensemble/test_nested_score.py", "ensemble/test_stacking_metadata.py"],
    ),
    "check": (["submission/check.py"], ["submission/test_check.py"]),
    "checkpoints": (
        ["training/checkpoints.py"],
        [
            "training/test_checkpoints.py",
            "training/test_resume.py::test_training_stopped_after_any_step_resumes_to_the_same_end",
            "training/test_resume.py::test_stop_and_resume_report_the_position",
            "training/test_resume.py::test_last_checkpoint_has_only_what_another_stage_needs",
            "training/test_resume.py::test_counters_of_plateau_and_early_stopping_are_restored",
            "training/test_resume.py::test_requested_learning_rate_is_restored",
            "training/test_resume.py::test_normalization_uses_restored_statistics",
        ],
    ),
    "fleet": (["kaggle/fleet.py", "jobs/queue.py"], ["kaggle/test_fleet.py", "jobs/test_queue.py"]),
}
"""The modules and the tests of each subject."""
WITH_SLOW_TESTS = ("fleet",)
"""Each takes a few seconds."""
FACTOR = 10
"""A mutant is killed with which a test takes so many times its usual CPU time, and three seconds more."""
KILLED, SURVIVED, INVALID = 0, 1, 2
"""Exit codes of a mutant's process."""

# Mutants

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
IGNORED_KEYWORDS = ("strict", "encoding", "highlight")
"""Arguments that guard against other platforms and future mistakes, or colour a message."""
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    lines: range
    """Of its statement, without those of the statements within."""
    what: str
    function: tuple[str, int]
    """The qualified name and the first line of the function whose code is replaced."""
    code: CodeType

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def mutants_of(path: Path) -> list[Mutant]:
    """All mutants of a file, in the order of its lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    original = functions_in(compile(tree, str(path), "exec", dont_inherit=True))
    found = []
    for holder, field, index, changed, line, lines, what in list(changes(tree)):
        before = getattr(holder, field) if index is None else getattr(holder, field)[index]
        _put(holder, field, index, changed)
        mutated = functions_in(compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True))
        _put(holder, field, index, before)
        differ = [key for key, code in original.items() if key in mutated and mutated[key] != code]
        if differ:  # also each function around the changed one; the outermost is the one that exists while tests run
            outermost = min(differ, key=lambda key: key[0].count("<locals>"))
            found.append(Mutant(str(path.relative_to(ROOT)), line, lines, what, outermost, mutated[outermost]))
    return sorted(found, key=lambda mutant: mutant.line)


def functions_in(code: CodeType) -> dict[tuple[str, int], CodeType]:
    found = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & inspect.CO_NEWLOCALS:  # not the body of a class
                found[constant.co_qualname, constant.co_firstlineno] = constant
            found |= functions_in(constant)
    return found


def _put(holder: ast.AST, field: str, index: int | None, value: ast.AST) -> None:
    if index is None:
        setattr(holder, field, value)
    else:
        getattr(holder, field)[index] = value


Change = tuple[ast.AST, str, int | None, ast.AST, int, range, str]
"""Where a node is, by what it is replaced, its line and those of its statement, and the change in words."""


def changes(tree: ast.AST, in_function: bool = False, lines: range = range(0)) -> Iterator[Change]:
    """All changes of the nodes below this one."""
    if isinstance(tree, ast.Assert | ast.JoinedStr | ast.Raise) or is_docstring(tree):
        return
    in_function = in_function or isinstance(tree, ast.FunctionDef)
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list") or isinstance(value, ast.arguments):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST):
                continue
            inner = _lines_of(node) if isinstance(node, ast.stmt) else lines
            if in_function:
                for changed, what in changes_of(node):
                    yield tree, field, index, changed, getattr(node, "lineno", inner.start), inner, what
            yield from changes(node, in_function, inner)


def is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _lines_of(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    last = max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno
    return range(statement.lineno, (last or statement.lineno) + 1)


def changes_of(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """The node with one mistake in it, and the mistake in words."""
    for changed in _changed(node):
        before, after = (ast.unparse(one).splitlines()[0].strip() for one in (node, changed))
        yield ast.copy_location(changed, node), f"{before}  →  {after}"


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                yield _with(node, ops=_replaced(node.ops, number, COMPARISONS[type(operator)]()))
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield _with(node, op=OPERATORS[type(node.op)]())
        case ast.BoolOp():
            yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp():
            yield copy.copy(node.operand)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as number):
            yield ast.Constant(number + 1)
        case ast.Constant(value=str() as text):
            yield ast.Constant(f"X{text}")
        case ast.Call():
            for number, keyword in enumerate(node.keywords):
                if keyword.arg and keyword.arg not in IGNORED_KEYWORDS:
                    yield _with(node, keywords=node.keywords[:number] + node.keywords[number + 1 :])
        case ast.IfExp():
            yield _with(node, test=_negated(node.test))
        case ast.comprehension():
            for number, test in enumerate(node.ifs):
                yield _with(node, ifs=_replaced(node.ifs, number, _negated(test)))
        case ast.If() | ast.While():
            yield _with(node, test=_negated(node.test))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript() | ast.Tuple(elts=[ast.Attribute(), *_])]):
            yield ast.Pass()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replaced(items: list[Any], number: int, item: Any) -> list[Any]:
    return [*items[:number], item, *items[number + 1 :]]


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


# Their tests


class Plugin:
    """Instead of running the tests, pytest runs them for each mutant in a process of its own."""

    def __init__(self, subject: str, again: bool) -> None:
        self.files = [ROOT / "src" / "podium" / name for name in SUBJECTS[subject][0]]
        self.subject, self.again = subject, again
        self.survivors = OUT / f"{subject}.txt"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        tests = {item.nodeid: item for item in session.items}
        lines, seconds = self._coverage(session)
        fast_first = sorted(tests, key=seconds.__getitem__)
        functions = self._functions()
        gc.freeze()  # forks share the pages
        if _in_fork(partial(_run, {tests[name]: seconds[name] for name in fast_first})) != SURVIVED:
            raise SystemExit(f"{self.subject}: the tests fail without any mutant, the fastest first")
        outcomes: Counter[int] = Counter()
        survivors = []
        for mutant in self._mutants():
            names = [name for name in fast_first if lines[name].get(mutant.file, set()) & set(mutant.lines)]
            chosen = {tests[name]: seconds[name] for name in names}
            found = functions[mutant.file, *mutant.function]
            outcome = _in_fork(partial(_try, found, mutant.code, chosen)) if names else SURVIVED
            outcomes[outcome] += 1
            if outcome == SURVIVED:
                survivors.append(str(mutant))
                print(mutant, "" if names else "  (no test runs this line)", flush=True)
        OUT.mkdir(parents=True, exist_ok=True)
        self.survivors.write_text("".join(f"{line}\n" for line in survivors), encoding="utf-8")
        if outcomes[INVALID]:
            print(f"{outcomes[INVALID]} mutants are not possible: other variables of the function around them")
        killed, total = outcomes[KILLED], outcomes[KILLED] + outcomes[SURVIVED]
        print(f"{self.subject}: {killed} of {total} mutants killed ({killed / max(1, total):.1%})", flush=True)
        return True

    def _mutants(self) -> list[Mutant]:
        mutants = [mutant for path in self.files for mutant in mutants_of(path)]
        if not self.again:
            return mutants
        wanted = set(self.survivors.read_text(encoding="utf-8").splitlines())
        return [mutant for mutant in mutants if str(mutant) in wanted]

    def _functions(self) -> dict[tuple[str, str, int], list[FunctionType]]:
        """The functions of the modules, by file, qualified name and first line."""
        for path in self.files:
            importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
        names = {str(path): str(path.relative_to(ROOT)) for path in self.files}
        found: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        gc.unfreeze()  # TensorFlow hides objects from the next line
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType) and (name := names.get(thing.__code__.co_filename)):
                found[name, thing.__code__.co_qualname, thing.__code__.co_firstlineno].append(thing)
        return found

    def _coverage(self, session: pytest.Session) -> tuple[dict[str, dict[str, set[int]]], dict[str, float]]:
        """The lines of the modules that each test executes, and how long it takes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lines.json"
            if _in_fork(partial(self._record, session.items, path)) != SURVIVED:
                raise SystemExit(f"{self.subject}: the tests fail without any mutant; run them with pytest first")
            content, modules = json.loads(path.read_text(encoding="utf-8"))
        for module in modules:  # what the tests import, once for all forks; `import kaggle` signs in over the network
            with suppress(Exception):
                if not module.startswith("kaggle"):
                    importlib.import_module(module)
        lines = {name: {file: set(numbers) for file, numbers in of.items()} for name, (of, _) in content.items()}
        return lines, {name: seconds for name, (_, seconds) in content.items()}

    def _record(self, items: Sequence[pytest.Item], path: Path) -> int:
        names = {str(file): str(file.relative_to(ROOT)) for file in self.files}
        found: dict[str, tuple[dict[str, list[int]], float]] = {}
        seen: dict[str, set[int]] = defaultdict(set)

        def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
            file = names.get(frame.f_code.co_filename)
            if file is None:
                return None
            seen[file].add(frame.f_lineno)
            return trace

        threading.settrace(trace)
        for item, after in zip(items, [*items[1:], None], strict=True):
            seen.clear()
            start = time.process_time()
            sys.settrace(trace)
            reports = runtestprotocol(item, log=False, nextitem=after)
            sys.settrace(None)
            for report in reports:
                if report.failed:
                    print(report.longreprtext, file=sys.stderr, flush=True)
                    return KILLED
            found[item.nodeid] = {file: sorted(numbers) for file, numbers in seen.items()}, time.process_time() - start
        path.write_text(json.dumps([found, [*sys.modules]]), encoding="utf-8")
        return SURVIVED


def _try(functions: Sequence[FunctionType], code: CodeType, tests: Mapping[pytest.Item, float]) -> int:
    """Whether one of the tests fails, or takes too long, with this code of the function."""
    if not functions:
        return INVALID
    for function in functions:
        try:
            function.__code__ = code
        except ValueError:  # it takes other variables of the function around it
            return INVALID
    return _run(tests)


def _run(tests: Mapping[pytest.Item, float]) -> int:
    for (item, seconds), after in zip(tests.items(), [*list(tests)[1:], None], strict=True):
        limit = math.ceil(3 + FACTOR * seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + limit, resource.RLIM_INFINITY))
        signal.alarm(20 * limit)  # it may wait for ever without any CPU time
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=after)):
            return KILLED
    return SURVIVED


def _in_fork(work: Callable[[], int]) -> int:
    """What the work gives in a process with temporary folders of its own; KILLED if it crashes or takes too long."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        pid = os.fork()
        if not pid:
            os._exit(_work(work, folder))
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # and what its tests started
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code in (SURVIVED, INVALID) else KILLED


def _work(work: Callable[[], int], folder: str) -> int:
    os.setsid()
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = folder
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in range(2):
        os.dup2(quiet, number)
    try:
        return work()
    except BaseException:
        return KILLED


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description="Mistakes that no test notices.")
    parser.add_argument("subjects", nargs="*", choices=[[], *SUBJECTS], metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--again", action="store_true", help="only the mutants that survived the last time")
    given = parser.parse_args(arguments)
    if len(given.subjects) == 1:
        tests = [f"tests/{name}" for name in SUBJECTS[given.subjects[0]][1]]
        marks = "not kill and not demo" + " and not slow" * (given.subjects[0] not in WITH_SLOW_TESTS)
        options = ["-q", "-s", "-p", "no:cacheprovider", "-m", marks]
        raise SystemExit(pytest.main([*options, *tests], plugins=[Plugin(given.subjects[0], given.again)]))
    for subject in given.subjects or SUBJECTS:  # in a process of its own, which imports no more than it needs
        command = [sys.executable, "-m", "benchmarks.mutation", subject, *["--again"] * given.again]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
