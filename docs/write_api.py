"""Writes docs/api.md: every public name with its signature and docstring, read by griffe.

Nothing is imported, so the page is the same on every machine. `make docs` runs this.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import griffe
from griffe import Class, DocstringSectionKind, Function, Module, Object

DOCS = Path(__file__).parent
NAMESPACES = {
    "widevalley": "the optimizers",
    "widevalley.scoping": "how the scope grows",
    "widevalley.readout": "averages of the anchors",
    "widevalley.gradient_point": "where the gradient is taken",
    "widevalley.workers": "many workers of a process group",
    "widevalley.valley": "the instruments",
    "widevalley.valley.hessian": "",
    "widevalley.valley.entropy": "",
    "widevalley.valley.landscape": "",
    "widevalley.valley.robustness": "",
    "widevalley.valley.samplers": "",
    "widevalley.valley.theory": "",
    "widevalley.valley.theory.pac_bayes": "",
    "widevalley.plot": "pictures of what the instruments measured",
    "widevalley.experimental": "not measured yet where it matters",
}
"""What is documented, in this order."""
INTRODUCTION = """\
# Every public name

Made from the docstrings by `make docs`; edit those. Errors are listed under "Raises"; a name that
stands in two namespaces is one object, described where it lives.
"""


def write(file: Path = DOCS / "api.md") -> None:
    """Write the page."""
    file.write_text(page())


def page() -> str:
    """The page, in Markdown."""
    logging.getLogger("griffe").setLevel(logging.ERROR)
    package = griffe.load(
        "widevalley", search_paths=[DOCS.parent / "src"], docstring_parser="google"
    )
    parts = [INTRODUCTION]
    described: dict[str, str] = {}
    # The inner namespaces first: there a name lives, and the outer ones point to it.
    for path in sorted(NAMESPACES, key=lambda path: -path.count(".")):
        for name in public_names(module_at(package, path)):
            described.setdefault(target_path(package, f"{path}.{name}"), f"{path}.{name}")
    for path, what in NAMESPACES.items():
        module = module_at(package, path)
        title = f"`{path}`" + (f": {what}" if what else "")
        parts.append(f"## {title}\n\n{text_of(module)}")
        for name in public_names(module):
            home = described[target_path(package, f"{path}.{name}")]
            if home != f"{path}.{name}":
                parts.append(f"### {name}\n\nSee [`{home}`](#{anchor(home)}).\n")
            else:
                parts.append(entry(f"{path}.{name}", resolved(package, f"{path}.{name}")))
    return "\n".join(parts)


def public_names(module: Any) -> list[str]:
    """The names in `__all__`, else what the module defines, without other modules."""
    if module.exports is not None:
        names = [str(name) for name in module.exports]
    else:
        names = [n for n, m in module.members.items() if not m.is_alias and not n.startswith("_")]
    return sorted((n for n in names if not module[n].is_module), key=str.casefold)


def entry(path: str, found: Object) -> str:
    """One name: signature, docstring, and of a class its public members."""
    name = path.rpartition(".")[2]
    lines = [f'### <a id="{anchor(path)}"></a>{name}\n']
    if isinstance(found, Class | Function):
        lines.append(f"```python\n{signature(name, found)}\n```\n")
    lines.append(text_of(found))
    if isinstance(found, Class):
        members: dict[str, Any] = found.all_members
        for member in members.values():
            target = member.final_target if member.is_alias else member
            if member.name.startswith("_") or not target.docstring:
                continue
            # Inherited ones too, but of this package alone: griffe reads no other.
            call = ""
            if isinstance(target, Function):
                call = signature(member.name, target).removeprefix(member.name)
            first = str(target.docstring.value).split("\n\n")[0]
            lines.append(f"- `{member.name}{' '.join(call.split())}`: {inline(first)}")
        lines.append("")
    return "\n".join(lines)


def signature(name: str, found: Class | Function) -> str:
    """As it is called; a line an argument where it would be long."""
    arguments = []
    marked = False
    for p in found.parameters:
        if p.name == "self":
            continue
        if p.kind == griffe.ParameterKind.keyword_only and not marked:
            arguments.append("*")
            marked = True
        text = p.name + (f": {p.annotation}" if p.annotation else "")
        arguments.append(text + (f" = {p.default}" if p.default is not None else ""))
    result = f" -> {found.returns}" if isinstance(found, Function) and found.returns else ""
    short = f"{name}({', '.join(arguments)}){result}"
    if len(short) <= 90:
        return short
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){result}"


def text_of(found: Object) -> str:
    """The docstring in Markdown."""
    if not found.docstring:
        return ""
    parts = []
    for section in found.docstring.parsed:
        if section.kind is DocstringSectionKind.text:
            parts.append(markdown(section.value))
        elif section.kind in (DocstringSectionKind.parameters, DocstringSectionKind.attributes):
            items = (f"- `{p.name}`: {inline(p.description)}" for p in section.value)
            parts.append("**Arguments**\n\n" + "\n".join(items))
        elif section.kind is DocstringSectionKind.raises:
            items = (f"- `{e.annotation}`: {inline(e.description)}" for e in section.value)
            parts.append("**Raises**\n\n" + "\n".join(items))
        elif section.kind is DocstringSectionKind.returns:
            items = (inline(r.description) for r in section.value)
            parts.append("**Returns** " + " ".join(items))
        else:
            raise ValueError(f"{found.path}: a docstring section of kind {section.kind.value}")
    return "\n\n".join(parts) + "\n"


def markdown(text: str) -> str:
    """Paragraphs, with reST's formulas and literal blocks as fences."""
    parts = []
    fence = ""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(".. math::"):
            parts.append(f"```math\n{dedented(paragraph.removeprefix('.. math::'))}\n```")
        elif fence and paragraph.startswith("    "):
            parts.append(f"```{fence}\n{dedented(paragraph)}\n```")
        elif paragraph.startswith("|"):
            parts.append(paragraph)
        else:
            parts.append(re.sub(r"::$", ":", escaped(paragraph)))
        fence = "text" if paragraph.endswith("::") else ""
    return "\n\n".join(parts)


def dedented(block: str) -> str:
    """A block without its indentation."""
    return "\n".join(line.strip() for line in block.strip().splitlines())


def inline(text: str) -> str:
    """A description as one line."""
    return escaped(" ".join(text.split()))


def escaped(text: str) -> str:
    """What Markdown would take for emphasis or HTML, outside code; double backticks as single."""
    pieces = re.split(r"(``.+?``|`.+?`)", text, flags=re.DOTALL)
    return "".join(
        f"`{piece.strip('`')}`" if k % 2 else re.sub(r"([*<|\\])", r"\\\1", piece)
        for k, piece in enumerate(pieces)
    )


def anchor(path: str) -> str:
    """The name of a link's target."""
    return path.replace(".", "-").lower()


def module_at(package: Any, path: str) -> Module:
    """A namespace by its path."""
    found = resolved(package, path)
    assert isinstance(found, Module)
    return found


def resolved(package: Any, path: str) -> Object:
    """What a path names, wherever it is defined."""
    _, _, inside = path.partition(".")
    found = package[inside] if inside else package
    target: Object = found.final_target if found.is_alias else found
    return target


def target_path(package: Any, path: str) -> str:
    """Where what a path names is defined."""
    return str(resolved(package, path).path)


if __name__ == "__main__":
    write()
