#!/usr/bin/env python3
"""Writes the seed corpus of the language targets from the reference vectors: fuzz/corpus/TARGET/ID."""

import json
import pathlib

root = pathlib.Path(__file__).resolve().parent.parent
vectors = root / "vectors" / "apprise"
corpus = root / "fuzz" / "corpus"


def seed(target, name, text):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))


for kind in ("url", "params", "format", "overflow", "config-text", "config-yaml"):
    for line in (vectors / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines():
        vector = json.loads(line)
        given = vector["input"]
        if "url" in given:
            seed("url", vector["id"], given["url"])
        if "body" in given:
            seed("html", vector["id"], given["body"][:4096])
        for name, text in given.get("files", {}).items():
            target = "yaml_config" if kind == "config-yaml" else "text_config"
            seed(target, f"{vector['id']}-{name.replace('/', '_')}", text)
