"""What a build of ``reef@v1`` left: its layout, and which files changed since."""

from pathlib import Path

from datapack.oci.layout import Layout


def layout(catalog) -> Layout:
    return Layout(catalog.root / "dist/reef-v1")


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*") if p.is_file()}
