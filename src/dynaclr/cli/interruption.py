"""Ctrl-C that arrives where Python drops exceptions."""

from __future__ import annotations

import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ["is_interruption", "repeating_lost_interruptions"]

_PAUSE_SECONDS = 0.01


def is_interruption(error: BaseException) -> bool:
    """Tell whether an error is what became of a `KeyboardInterrupt`, as in compiled modules that are being imported."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__
    return seen is not None


@contextmanager
def repeating_lost_interruptions() -> Iterator[None]:
    """Interrupt the main thread again when a `KeyboardInterrupt` was raised where nothing can catch it.

    That is so in finalizers, in callbacks of weak references, and where a generator that nobody holds any more is
    closed, as a loader that is left early. Python reports such exceptions to `sys.unraisablehook` and goes on; training
    would, too, as if nobody had pressed Ctrl-C.
    """
    before = sys.unraisablehook
    timers: list[threading.Timer] = []

    def repeat(unraisable: UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        # By another thread and a moment later: here the exception would be lost as the first one was.
        timer = threading.Timer(_PAUSE_SECONDS, _interrupt)
        timer.daemon = True
        timers.append(timer)
        timer.start()

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


def _interrupt() -> None:
    if hasattr(signal, "pthread_kill"):
        # Unlike `interrupt_main` it also ends what the main thread is waiting for.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        interrupt_main()
