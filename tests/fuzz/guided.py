# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``python -m tests.fuzz.guided TARGET CORPUS SECONDS``: fuzz one target, guided by coverage.

Needs atheris, which ends the process that it runs in; ``python -m tests.fuzz`` starts one for each
target. An input that fails is saved in CORPUS, with a name that begins with ``crash-``,
``timeout-`` or ``oom-``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

from tests.fuzz.mutations import TOKENS

with atheris.instrument_imports(include=["bootprof", "optimizer"]):
    from tests.fuzz.targets import TARGETS, attempt

LONGEST_BYTES = 1 << 14
# libFuzzer's dictionaries hold at most this much a word.
WORD_BYTES = 64


def write_dictionary(path: Path) -> None:
    """Write the tokens that readers of text stumble over, as libFuzzer reads them."""
    words = sorted({token for token in TOKENS if 0 < len(token) <= WORD_BYTES})
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
    path.write_text("".join(f'"{line}"\n' for line in lines))


def main() -> None:
    """Fuzz a target."""
    name, corpus, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    target = TARGETS[name]
    inputs, dictionary = corpus / "inputs", corpus / "dictionary"
    inputs.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (inputs / f"seed-{number}").write_bytes(seed)
    write_dictionary(dictionary)
    arguments = [
        *(sys.argv[0], str(inputs), f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}"),
        *(f"-dict={dictionary}", f"-artifact_prefix={corpus}/", "-timeout=20"),
        *("-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"),
    ]
    atheris.Setup(arguments, lambda data: attempt(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
