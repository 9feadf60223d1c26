"""schemathesis over the whole OpenAPI document of a real server: `python -m tests.conformance.openapi [OPTION...]`.

Examples, the bounds of every schema, and made-up requests, fitting and not: no answer of 500 or more, none that is not
declared, none that does not fit its declaration. Options go to `schemathesis run`, such as `--include-path /sparql`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conformance.serving import sample_release
from tests.serving import serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
"""Not `unsupported_method`: ids may hold slashes, so that PUT of an id may look like another path of GET."""
EXAMPLES, SEED = 25, 7


def main() -> int:
    """The exit status of schemathesis."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        *("--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES)),
        *("--seed", str(SEED)),
        *("--suppress-health-check", "all"),
        "--continue-on-failure",
        *("--request-timeout", "60"),
        "--no-color",
        *sys.argv[1:],
    ]
    with sample_release() as home, serving(home) as address:
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.conformance.openapi_hooks"}
        return subprocess.run([*command, f"{address}/openapi.json"], check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
