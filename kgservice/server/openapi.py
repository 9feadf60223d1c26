"""`python -m kgservice.server.openapi` writes `api/openapi.json`; a test holds that the file is what the code says."""

from __future__ import annotations

import json
from pathlib import Path


def document() -> str:
    """The OpenAPI document as it is committed: sorted keys, one space a level."""
    from kgservice.release import ReleaseStore
    from kgservice.server.app import create_app
    from kgservice.server.holder import EngineHolder
    from kgservice.server.settings import ServerSettings

    app = create_app(EngineHolder(ReleaseStore(Path())), ServerSettings(home=Path()))
    return json.dumps(app.openapi(), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the document into the checkout."""
    from kgservice.resources import share

    path = share() / "api" / "openapi.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
