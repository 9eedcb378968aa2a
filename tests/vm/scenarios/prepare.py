#!/usr/bin/python3 -IS
"""Fill the directory SEED with the data that the scenarios copy: `prepare.py SEED`.

The same bytes come out every time, so it may run in the guest or once outside of it. It makes
* `tree/`      2,000 files of 0-8 KiB in 60 directories, with spaces, umlauts, CJK and capitals;
* `tree.list`  their paths, one a line, in an order in which any first N cover all directories;
* `tree.tar`   the same as an archive;
* `repo.git`   a bare repository of 16 commits on `main` and a tag.
"""

import hashlib
import os
import sys

FILES = 2_000
DIRECTORIES = 60
COMMITS = 16
LARGEST = 8_192  # bytes; also the length of the longest slice of POOL
POOL = hashlib.shake_128(b"usmbd").digest(4 * LARGEST)  # every content is a slice of it
STEMS = ("notes", "Read Me", "Größe", "設計図", "a+b, (copy)", "MixedCase.Name", ".hidden", "x'y&z")


def directory(number: int) -> str:
    """Return the path of directory `number`, up to three levels below `tree`."""
    stem = STEMS[number % len(STEMS)].lstrip(".")
    if number < 20:
        return f"tree/{stem} {number:02}"
    return f"{directory(number // 3)}/{stem}-{number:02}"


def size(number: int) -> int:
    """Return the length of file `number`: edges first, then spread over 0..LARGEST."""
    edges = (0, 1, 4_095, 4_096, 4_097, LARGEST)
    return edges[number] if number < len(edges) else number * 2_654_435_761 % (LARGEST + 1)


def write_tree() -> list[str]:
    """Write the files below `tree` and return their paths."""
    directories = [directory(number) for number in range(DIRECTORIES)]
    for path in directories:
        os.makedirs(path)
    paths = []
    for number in range(FILES):
        stem = STEMS[number // 3 % len(STEMS)]
        paths.append(f"{directories[number % DIRECTORIES]}/{stem}.{number:04}")
        begin = number * 13 % (len(POOL) - LARGEST)
        with open(paths[-1], "wb", buffering=0) as file:
            file.write(POOL[begin : begin + size(number)])
    return paths


def fast_import_stream() -> bytes:
    """Return a history for `git fast-import`: commits that each change two of eight files."""
    stream = []
    for number in range(COMMITS):
        message = f"Change {number}\n"
        stream.append(
            f"commit refs/heads/main\nmark :{number + 1}\n"
            f"committer A Tester <tester@example.org> {1_700_000_000 + number * 60} +0000\n"
            f"data {len(message)}\n{message}"
        )
        for path in (f"source/file {number % 8}.txt", f"docs/{number % 3}/größe.txt"):
            text = "".join(f"line {line} of {path}\n" for line in range(number, number + 60))
            stream.append(f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n")
    stream.append(f"reset refs/tags/v1\nfrom :{COMMITS // 2}\n\n")
    return "".join(stream).encode()


def run(command: str) -> None:
    """Run `command` in the shell, or end with its name when it fails."""
    if os.system(command) != 0:
        sys.exit(f"failed: {command}")


def main() -> None:
    """Make everything beneath the directory of the command line."""
    os.makedirs(sys.argv[1], exist_ok=True)
    os.chdir(sys.argv[1])
    with open("tree.list", "w", encoding="utf-8") as file:
        file.writelines(f"{path}\n" for path in write_tree())
    run("tar -cf tree.tar --sort=name --mtime=@1700000000 tree")
    with open("history", "wb") as file:
        file.write(fast_import_stream())
    run("git init -q --bare -b main repo.git")
    run("git -C repo.git fast-import --quiet < history && rm history")


if __name__ == "__main__":
    main()
