"""Reads what each field of the schema means from the comment beside it in the source; `--help` prints it."""

import ast
import inspect
import io
import tokenize

from pipeline.config.trial import Strict


def sentences(schema: type[Strict]) -> dict[str, str]:
    """Return the comment of each field of a section, inherited fields included: on the field's lines or above them."""
    found: dict[str, str] = {}
    for base in reversed(schema.__mro__[:-1]):
        found |= _own(base)
    return found


def _own(schema: type) -> dict[str, str]:
    source = inspect.getsource(schema)
    comments = {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first, last = node.lineno, node.end_lineno or node.lineno
            while comments.get(first - 1, ("", False))[1]:
                first -= 1
            found[node.target.id] = " ".join(comments[line][0] for line in range(first, last + 1) if line in comments)
    return found
