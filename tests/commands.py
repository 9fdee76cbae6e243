"""The command line, run in the test's own process: one of its own takes a second to begin."""

import io
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from streamer.cli import main


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def streamer(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Done:
    """Run a command to its end; what would be a traceback at a user is raised."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["streamer", *map(str, arguments)]),
        mock.patch.dict(os.environ, {"COLUMNS": "100", **(environment or {})}),
        redirect_stdout(out),
        redirect_stderr(err),
        _logging_as_at_the_start(),
    ):
        code = _exit_code()
    return Done(code, out.getvalue(), err.getvalue())


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@contextmanager
def _logging_as_at_the_start() -> Iterator[None]:
    """Log to where the command logs, and not to the test's report."""
    root, bleak = logging.getLogger(), logging.getLogger("bleak")
    handlers, level, bleak_level = root.handlers[:], root.level, bleak.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        bleak.setLevel(bleak_level)
