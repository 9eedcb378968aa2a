"""What the documents name is there: a reader who follows a path finds the file."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("transport", "protocol", "mountd", "tests", "lab")

DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *(p for f in FOLDERS for p in (REPOSITORY / f).rglob("*.md"))]
)
PATHS = {
    *(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.iterdir() if path.is_file()),
    *(str(p.relative_to(REPOSITORY)) for f in FOLDERS for p in (REPOSITORY / f).rglob("*")),
    *FOLDERS,
}
"""Files and folders of the project, from its root."""

_PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?(?:::\w+)?")
_SUFFIXES = (".py", ".sh", ".md", ".toml")


def named(text: str) -> set[str]:
    """Return what looks like a path of the project: in backquotes, or as the target of a link."""
    quoted = {
        token.partition("::")[0]
        for token in re.findall(r"`([^`\n]+)`", text)
        if _PATH.fullmatch(token) and "NAME" not in token
    }
    linked = set(re.findall(r"\]\((?!https?:)([^)#]+)", text))
    return linked | {
        token
        for token in quoted
        if token.endswith(_SUFFIXES) or (token.partition("/")[0] in FOLDERS and "/" in token)
    }


def there(token: str, folder: str) -> bool:
    """Tell whether a path is there, from the root or below the document's folder.

    `...` stands for folders that are left out.
    """
    token = token.rstrip("/").replace("...", "*")
    wanted = (token, f"{token}.py", f"{folder}/{token}", f"{folder}/*/{token}", f"*/{token}")
    return any(fnmatch(path, pattern) for path in PATHS for pattern in wanted)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_what_is_named_is_there(document: Path) -> None:
    folder = str(document.parent.relative_to(REPOSITORY))
    missing = {token for token in named(document.read_text()) if not there(token, folder)}
    assert not missing


def test_paths_are_found_in_text() -> None:
    text = "`protocol/x.py`, [x](lab/README.md), `smb.conf`, `a = 1`, `verbs*.py`, `lab/no`"
    assert named(text) == {"protocol/x.py", "lab/README.md", "verbs*.py", "lab/no"}
    assert there("verbs*.py", "transport")
    assert not there("lab/no", ".")
