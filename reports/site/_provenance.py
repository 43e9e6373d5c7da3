"""Where the numbers come from: versions, hardware, settings, command, catalogue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def provenance(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A run's manifest as blocks of pairs."""
    m = manifest
    catalogue = m["catalogue"]
    ran = {
        "LogitLab": m["versions"].get("logitlab", ""),
        "command": m.get("command", ""),
        "started": m.get("started", ""),
        "finished": m.get("finished", "not finished"),
        "complete": "yes" if m["complete"] else "no",
        "catalogue": f"{len(catalogue['cases']):,} cases, SHA-256 {catalogue['hash']}",
        "left out": _left_out(m["left_out"]),
    }
    blocks = [
        ("The run", ran),
        ("Hardware", m["hardware"]),
        ("Frameworks", {p: v for of in m["frameworks"].values() for p, v in of.items()}),
        ("Packages", m["versions"]),
        ("Devices", {n: ", ".join(map(str, d)) for n, d in m.get("devices", {}).items()}),
        ("Environment variables", m.get("environment", {})),
        ("Held to their own definitions", m.get("conventions", {})),
        ("Variants", m.get("variants", {})),
        ("Logits from files", {f.get("path", ""): f.get("digest", "") for f in m.get("files", [])}),
        ("Not installed", m["missing"]),
    ]
    settings = [(f"Settings of {name}", of) for name, of in m.get("settings", {}).items() if of]
    told = [{"title": title, "pairs": _pairs(of)} for title, of in [*blocks[:4], *settings, *blocks[4:]] if of]
    return {"name": str(m["run"]), "blocks": told}


def _left_out(entries: list[dict[str, Any]]) -> str:
    dtypes = [e["dtype"] for e in entries]
    counted = ", ".join(f"{dtypes.count(d)} in {d}" for d in dict.fromkeys(dtypes))
    return f"cases that a dtype cannot hold: {counted}" if counted else "none"


def _pairs(of: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(k), v if isinstance(v, str) else json.dumps(v, default=str)) for k, v in of.items()]
