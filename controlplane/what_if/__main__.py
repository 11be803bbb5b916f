"""The process in which one half of a question is worked out, `as-is` or `what-if`: the question as
msgpack on standard input, a line of JSON on standard output for each progress, and the outcome or a
fault as the last.

A process of its own for each half uses two cores where there are two, keeps the server's loop free,
can be ended at any moment, and gives way to everything else on the machine."""

from __future__ import annotations

import os
import sys

import msgspec

from controlplane.errors import LoadstarError
from controlplane.what_if.question import Fault, Half, Progress, Question
from controlplane.what_if.work import answer

_NICE = 10


def main() -> None:
    """Answer one half of the one question."""
    os.nice(_NICE)
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    try:
        _tell(answer(question, _tell, what_if=sys.argv[1] == "what-if"))
    except LoadstarError as error:
        _tell(Fault(kind=error.kind, reason=error.reason, message=error.message))


def _tell(told: Progress | Half | Fault) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
