"""What a batch made, on one sheet: `contact_sheet.html`, and `contact_sheet.png` with its further pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.batch import Batch
from engine.drafts import write_whole
from server.batch.sheet_drawing import pages_of
from server.batch.sheet_layout import laid_out
from server.batch.sheet_page import page_of
from server.batch.sheet_pictures import Pictures

NAME = "contact_sheet"


def write_contact_sheet(folder: Path, batch: Batch, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the sheet of a batch beside its pictures; the same pictures make the same bytes.

    Further pages of the picture are `contact_sheet_2.png` and so on.

    Args:
        folder: The output folder, to which the paths in the lines are relative.
        lines: Of the manifest; a job without one is shown as not run.

    Raises:
        OSError: It cannot be written.
    """
    sheet, pictures = laid_out(batch, lines), Pictures(folder)
    for number, page in enumerate(pages_of(sheet, pictures), 1):
        write_whole(folder / f"{NAME}{f'_{number}' if number > 1 else ''}.png", page)
    write_whole(folder / f"{NAME}.html", page_of(sheet, batch, pictures))
