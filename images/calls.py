"""How verbs are called and how they answer: options' help, errors to exit codes, results as JSON.

0 done, 1 failed, 2 the spec or the call is wrong; nothing else in the project decides that.
"""

from __future__ import annotations

import difflib
import errno
import functools
import json as jsonlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec

from invoke import __version__
from invoke.exceptions import Exit, ParseError
from invoke.program import Program
from invoke.tasks import task

from specs.errors import BakehouseError, SpecError, UsageError

P = ParamSpec("P")

_HINTS: Final = {
    errno.EACCES: "see the rights of the file and of its folders",
    errno.EEXIST: "a file stands where a folder is wanted: name another place",
    errno.EISDIR: "a folder stands where a file is wanted: name another place",
    errno.ENOENT: "see that the path is right",
    errno.ENOSPC: "free some space",
    errno.ENOTDIR: "a file stands where a folder is wanted: name another place",
    errno.EROFS: "its file system cannot be written: name another place",
}


def verb(help_: dict[str, str]) -> Callable[[Callable[P, None]], Any]:
    """A task whose errors are printed once, with their hint, and end the process with their code.

    `help_` maps its options to their help.
    """

    def decorate(function: Callable[P, None]) -> Any:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except KeyboardInterrupt:
                print("stopped; nothing was published", file=sys.stderr)
                sys.exit(130)
            except BrokenPipeError:
                _nobody_reads()
            except (BakehouseError, OSError) as error:
                told = told_of(error) if isinstance(error, OSError) else error
                if kwargs.get("json"):
                    print(jsonlib.dumps(as_data(told)))
                else:
                    print(f"error: {told}", file=sys.stderr)
                sys.exit(told.exit_code)

        return task(
            guarded, help={key.strip("_").replace("_", "-"): text for key, text in help_.items()}
        )

    return decorate


def told_of(error: OSError) -> BakehouseError:
    """What the system refused, with a next step."""
    where = f"{error.filename}: " if error.filename else ""
    hint = _HINTS.get(error.errno or 0, "run `invoke doctor` to see what this machine lacks")
    return BakehouseError(f"{where}{error.strerror or error}", hint)


def as_data(error: BakehouseError) -> dict[str, Any]:
    """An error as plain data, for `--json`."""
    if isinstance(error, SpecError):
        return {"ok": False, "problems": [problem.as_data() for problem in error.problems]}
    return {"ok": False, "error": error.message, "hint": error.hint}


def emit(json: bool, data: Any, text: str) -> None:
    """Print a result: `data` as one line of JSON, or `text` for a person."""
    print(jsonlib.dumps(data) if json else text)


class Verbs(Program):
    """Invoke, which tells a wrong call as all other errors are told."""

    def parse_tasks(self) -> None:
        """Raises invoke's Exit with code 2 and a hint for what is no verb, option or number."""
        try:
            super().parse_tasks()
        except ParseError as error:
            flags = error.context.flags if error.context else ()
            wrong = wrong_call(str(error), list(self.collection.task_names), flags)
            raise Exit(f"error: {wrong}", wrong.exit_code) from error
        except ValueError as error:
            words = self.core.unparsed
            verbs = [one.flags for one in self.collection.to_contexts() if one.name in words]
            self._no_number(error, words, verbs)

    def parse_core(self, argv: list[str] | None) -> None:
        """Invoke's own options. Raises invoke's Exit with code 2 for what is no number."""
        try:
            super().parse_core(argv)
        except ValueError as error:
            self._no_number(error, self.argv, [])

    def _no_number(self, error: ValueError, words: Sequence[str], verbs: list[Any]) -> NoReturn:
        """Invoke makes numbers of words itself, and does not say of which."""
        wrong = wrong_number(str(error), words, [*verbs, self.initial_context.flags])
        raise Exit(f"error: {wrong}", wrong.exit_code) from error


def main(root: Path) -> None:
    """Run the verbs of `root`/tasks.py, from whatever folder; without words, list them."""
    words = sys.argv[1:] or ["--list"]
    program = Verbs(name="Invoke", binary="invoke", version=__version__)
    try:
        try:
            program.run(["invoke", "--search-root", os.fspath(root), *words])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as in `invoke --list | head`
        _nobody_reads()


def _nobody_reads() -> NoReturn:
    """End as a program does whose reader has gone. What is still to be written goes nowhere, and
    Python must not complain of that at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def wrong_call(said: str, verbs: Iterable[str], flags: Iterable[str]) -> UsageError:
    """What Invoke's parser said, in our words; `flags` are the options of the verb it was at."""
    empty = re.match(r"Flag <Argument: ([\w-]+)", said)
    if empty:
        return UsageError(f"--{empty[1]}: needs a value", f"write --{empty[1]} VALUE")
    unknown = re.fullmatch(r"No idea what '(.*)' is!", said)
    if not unknown:
        return UsageError(said.rstrip("!"), "`invoke --help VERB` tells its options")
    word = unknown[1]
    if word.endswith((".yaml", ".yml")):
        return UsageError(f"{word}: not a verb", f"name a spec with an option: --spec {word}")
    option = word.startswith("-")
    near = difflib.get_close_matches(word.replace("_", "-"), list(flags if option else verbs), n=1)
    otherwise = "`invoke --help VERB` tells its options" if option else "`invoke --list` tells all"
    hint = f"did you mean {near[0]}?" if near else otherwise
    return UsageError(f"{word}: no such {'option' if option else 'verb'}", hint)


def wrong_number(said: str, words: Sequence[str], flags: Sequence[Any]) -> UsageError:
    """Which option of a call got a word that is no whole number; `flags` are Invoke's arguments by
    their options, for each verb, and `said` is what is told when none of them did."""
    for word, following in zip(words, (*words[1:], ""), strict=True):
        option, given, value = word.partition("=")
        value = value if given else following
        takes = any(option in known and known[option].kind is int for known in flags)
        if takes and not re.fullmatch(r"[+-]?\d+", value):
            return UsageError(f"{option} {value}: not a whole number", f"write {option} NUMBER")
    return UsageError(said, "`invoke --help VERB` tells its options")
