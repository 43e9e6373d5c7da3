"""Where the numbers come from: versions, hardware, settings, command, catalogue."""

import json
from collections.abc import Mapping

from ...storage.manifest import Manifest


def provenance(m: Manifest) -> dict[str, dict[str, str]]:
    """A run's manifest as facts below titles."""
    left_out = ", ".join(f"{count} in {dtype}" for dtype, count in m.left_out_by_dtype.items())
    ran = {
        "LogitLab": m.logitlab,
        "command": m.command,
        "started": m.started,
        "finished": m.finished or "not finished",
        "complete": "yes" if m.complete else "no",
        "catalogue": f"{len(m.catalogue['cases']):,} cases, SHA-256 {m.catalogue['hash']}",
        "left out": f"cases that a dtype cannot hold: {left_out}" if left_out else "none",
    }
    blocks: list[tuple[str, Mapping[str, object]]] = [
        ("The run", ran),
        ("Hardware", m.hardware),
        ("Frameworks", m.packages),
        ("Packages", m.versions),
        *((f"Settings of {name}", settings) for name, settings in m.nonempty_settings.items()),
        ("Devices", {name: ", ".join(devices) for name, devices in m.devices.items()}),
        ("Environment variables", m.environment),
        ("Held to their own definitions", m.conventions),
        ("Variants", m.variants),
        ("Logits from files", {file["path"]: file["digest"] for file in m.files}),
        ("Not installed", m.missing),
    ]
    return {
        title: {name: value if isinstance(value, str) else json.dumps(value) for name, value in of.items()}
        for title, of in blocks if of
    }  # fmt: skip
