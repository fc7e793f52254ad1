"""Writes docs/record.schema.json again: what `mlops lineage --json` says.

python docs/record_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from mlops_pipelines.explain.record_schema import json_schema

FILE = Path(__file__).with_name("record.schema.json")

if __name__ == "__main__":
    FILE.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", "utf-8")
