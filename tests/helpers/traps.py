"""Hand-written sources of every language, with everything that could go wrong."""

from pathlib import Path

PROMPTS = Path(__file__).parents[1] / "prompts"
SOURCES = {
    language: (PROMPTS / name).read_text(encoding="utf-8")
    for language, name in {
        "cpp": "traps.cpp",
        "java": "Traps.java",
        "javascript": "traps.js",
        "python": "traps.py",
        "tsx": "traps.tsx",
        "typescript": "traps.ts",
    }.items()
}
