"""Tables that lie beside a folder's images and say something of each: labels.csv its class, groups.csv its group.

A group is what must not be trained on and tested on at once: a patient, a video, a camera. Names count byte by byte, as
the file system has them.
"""

import csv
import io
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from entia.datasets.walking import Walk, counted, printable, some
from entia.fields import Problem


class Table(NamedTuple):
    """What a table says: a value by each file's name below the folder, as bytes."""

    file: Path
    digest: str
    """SHA-256."""
    rows: dict[bytes, str]


def read(root: Path, what: str) -> Table | None:
    """The table of each image's label or group; None where there is none.

    Raises: Problem, where it cannot be read, or is not a line `file,what` and then one a file, of two values or more.
    """
    file = root / f"{what}s.csv"
    if not os.path.isfile(file):
        return None
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise Problem(f"{printable(file)}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise Problem(f"{printable(file)}: is not UTF-8; save it as CSV in UTF-8") from error
    rows = dict(_rows(file, what, text))
    if len({*rows.values()}) < 2:
        raise Problem(f"{printable(file)}: there must be two {what}s or more")
    return Table(file, sha256(content).hexdigest(), rows)


def _rows(file: Path, what: str, text: str) -> Iterator[tuple[bytes, str]]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    known: set[str] = set()
    try:
        if (head := next(lines, [])) != ["file", what]:
            raise Problem(
                f"{printable(file)}: its first line must be file,{what} and is {printable(','.join(head)) or 'empty'}; "
                "mend it, or rename the table if it is not meant for this"
            )
        for row in filter(None, lines):
            if len(row) != 2 or not all(row) or row[0] in known:
                wrong = f"{row[0]} is there twice" if row[0] in known else ",".join(row)
                raise Problem(
                    f"{printable(file)}, line {lines.line_num}: each line must be a file's name and its {what}, once; "
                    f"there is: {printable(wrong)}"
                )
            known.add(row[0])
            yield row[0].encode(), os.fsdecode(row[1].encode())
    except csv.Error as error:
        raise Problem(f"{printable(file)}, line {lines.line_num}: is no CSV ({error}); mend or remove it") from error


def told(table: Table, walk: Walk) -> dict[str, str]:
    """Each image's value by its path; an empty one, where files already fail.

    Raises: Problem, naming the rows without an image and the images without a row.
    """
    names = {path: os.fsencode(path[len(str(walk.root)) + 1 :]) for _, path in walk.images}
    lone = table.rows.keys() - names.values()
    bare = [name for name in names.values() if name not in table.rows]
    for wrong, (what, lacks) in ((lone, ("row", "an image")), (bare, ("image", "a row"))):
        if wrong and not walk.faults:
            shown = some(printable(os.fsdecode(name)) for name in sorted(wrong))
            raise Problem(
                f"{printable(table.file)}: {counted(len(wrong), what)} without {lacks}: {shown}; add what is missing"
            )
    return {path: table.rows.get(name, "") for path, name in names.items()}
