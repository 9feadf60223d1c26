"""Writes the client that waits from the one that is awaited: `python tools/unasync.py`. A test compares the two.

What both say is then said once, in `kgservice/client/asynchronous.py`, with the types of each.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "kgservice" / "client"
SOURCE, TARGET = CLIENT / "asynchronous.py", CLIENT / "synchronous.py"
HEAD = '''"""The client for programs that wait. Written by `tools/unasync.py` from the one that is awaited: change that one."""'''
WORDS = (
    (r'\A""".*?"""', HEAD),
    (r"for (\w+) in (.+):\n\s+yield \1\n", r"yield from \2\n"),
    (r"\basync (def|with|for) ", r"\1 "),
    (r"\bawait ", ""),
    (r"\bAsyncIterator, (.*)Iterator, ", r"\1Iterator, "),  # it is imported once
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsyncBaseTransport\b", "BaseTransport"),
    (r"__(aenter|aexit)__", lambda found: f"__{found[1][1:]}__"),
    (r"\baclose\b", "close"),
    (r"\bimport anyio\n", ""),
    (r"\bfrom __future__ import annotations\n", "from __future__ import annotations\n\nimport time\n"),
    (r"\banyio\.sleep\b", "time.sleep"),
    (
        r"Asks a service without blocking; questions under way at the same time share its connections\.",
        "Asks a service; safe to use from many threads, which share its connections.",
    ),
)  # fmt: skip
"""Patterns and what stands in their place, in this order."""


def waiting(text: str) -> str:
    """The client that waits, as the code is formatted here."""
    for pattern, instead in WORDS:
        text = re.sub(pattern, instead, text, flags=re.DOTALL if pattern.startswith(r"\A") else 0)
    ruff = [str(found) if (found := Path(sys.executable).with_name("ruff")).exists() else "ruff"]
    for task in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        call = [*ruff, *task, "--stdin-filename", str(TARGET), "-"]
        text = subprocess.run(call, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> None:
    """Write it."""
    TARGET.write_text(waiting(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
