"""The command line: ``visavis detect``, ``verify``, ``enroll``, ``identify``, ``find``, ``gallery`` and more.

One file a group of commands. Nothing heavy is imported until a command runs, so ``visavis --help`` is quick.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from visavis import __version__
from visavis.cli.calibrate import calibrate
from visavis.cli.classify import app as classify
from visavis.cli.cluster import cluster
from visavis.cli.comparison import compare
from visavis.cli.datasets import app as datasets
from visavis.cli.demo import demo
from visavis.cli.evaluate import app as evaluate
from visavis.cli.events import app as events
from visavis.cli.faces import detect, find, verify
from visavis.cli.gallery import app as gallery
from visavis.cli.machine import bench, doctor
from visavis.cli.models import app as models
from visavis.cli.people import enroll, identify
from visavis.cli.report import printable
from visavis.cli.video import app as video
from visavis.cli.watch import watch
from visavis.errors import VisavisError, exit_code

__all__ = ["app", "main"]

app = typer.Typer(
    name="visavis",
    rich_markup_mode=None,  # boxes break on narrow terminals, and cost a tenth of a second
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# typer brings click along or carries a copy of it, depending on its version
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"visavis {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Face recognition that says how sure it is.

    \b
    Start here:
      visavis demo                                  see it work on sample photos
      visavis verify a.jpg b.jpg                    are these the same person?
      visavis enroll ada ada.jpg -g people.db       remember a person
      visavis identify party.jpg -g people.db       who is in this photo?
    """


for _command in (detect, verify, find, enroll, identify, cluster):
    app.command()(_command)
app.add_typer(gallery, name="gallery")
models.command()(compare)
app.add_typer(classify, name="classify")
app.add_typer(models, name="models")
app.add_typer(evaluate, name="evaluate")
app.add_typer(datasets, name="datasets")
app.add_typer(events, name="events")
app.add_typer(video, name="video")
for _command in (watch, calibrate, demo, doctor, bench):
    app.command()(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; a user's mistake is one line on stderr.

    Parameters
    ----------
    argv
        Arguments after the program's name; None takes the process's own.

    Returns
    -------
    0, or 1 for no match (verify) or some files skipped (batches), 2 for an error, 130 when interrupted, 141 when
    the reader of a pipe has gone.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # replaced by something that is no text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    command = typer.main.get_command(app)
    try:
        with command.make_context("visavis", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except VisavisError as error:
        return _fail(str(error), exit_code(error))
    except _UsageError as error:
        return _usage(error)
    except MemoryError:
        return _fail("out of memory; use fewer or smaller images")
    except OSError as error:
        if error.filename is None:  # a full disk under stdout, which what is left to print would meet again
            _drop_output()
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    return 0


def _drop_output() -> None:
    """Let nothing more be printed to a stdout that takes nothing: the flush at exit would complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        print(context.get_help())
        return 0
    where = "visavis" if context is None else context.command_path
    message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    return _fail(f"{message[:300]}{'...' if len(message) > 300 else ''}; see {where} --help")


def _fail(message: str, code: int = 2) -> int:
    with contextlib.suppress(OSError):
        print(f"visavis: {printable(message)}", file=sys.stderr, flush=True)
    return code
