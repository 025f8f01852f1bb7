"""Small valid files of common kinds, always the same bytes, by extension."""

import base64
import io
import zipfile
from collections.abc import Mapping

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
_GIF = "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="
_JPEG = (
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
)
_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>endobj\nxref\n0 4\n0000000000 65535 f \n"
    b"0000000009 00000 n \n0000000052 00000 n \n0000000101 00000 n \ntrailer<</Size 4/Root 1 0 R>>\nstartxref\n162\n"
    b"%%EOF\n"
)
_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
)
_RELS = '<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_FORMAT = "application/vnd.openxmlformats-officedocument"


def _zip(members: Mapping[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return target.getvalue()


def _office(main: str, kind: str, document: str, more: Mapping[str, tuple[str, str]] | None = None) -> bytes:
    """An Office document of one part, and others that it refers to: by path their type and text."""
    parts = {main: (kind, document), **(more or {})}
    types = "".join(
        f'<Override PartName="/{path}" ContentType="{_FORMAT}.{kind}+xml"/>' for path, (kind, _) in parts.items()
    )
    rels = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    root = f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="{main}"/>'
    members = {"[Content_Types].xml": f"{_TYPES}{rels}{types}</Types>", "_rels/.rels": f"{_RELS}{root}</Relationships>"}
    folder, _, name = main.rpartition("/")
    if more:
        inner = "".join(
            f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" Target="{path.removeprefix(f"{folder}/")}"/>'
            for n, path in enumerate(more, 1)
        )
        members[f"{folder}/_rels/{name}.rels"] = f"{_RELS}{inner}</Relationships>"
    return _zip(members | {path: text for path, (_, text) in parts.items()})


_SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"

SAMPLES: Mapping[str, bytes] = {
    "csv": b"name,value\na,1\nb,2\n",
    "tsv": b"name\tvalue\na\t1\nb\t2\n",
    "txt": b"A sample file.\n",
    "md": b"# Sample\n\nA sample file.\n",
    "json": b'{"name": "a", "value": 1}\n',
    "html": b"<!doctype html><title>Sample</title><p>A sample file.</p>\n",
    "xml": b'<?xml version="1.0"?><sample/>\n',
    "yaml": b"name: a\nvalue: 1\n",
    "py": b'print("a sample file")\n',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n',
    "png": base64.b64decode(_PNG),
    "gif": base64.b64decode(_GIF),
    "jpg": base64.b64decode(_JPEG),
    "jpeg": base64.b64decode(_JPEG),
    "pdf": _PDF,
    "zip": _zip({"sample.txt": "A sample file.\n"}),
    "docx": _office(
        "word/document.xml",
        "wordprocessingml.document.main",
        f'<w:document xmlns:w="{_WORDS}"><w:body><w:p><w:r><w:t>A sample file.</w:t></w:r></w:p></w:body></w:document>',
    ),
    "xlsx": _office(
        "xl/workbook.xml",
        "spreadsheetml.sheet.main",
        f'<workbook xmlns="{_SHEETS}" xmlns:r="{_OFFICE}"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets>'
        "</workbook>",
        {
            "xl/worksheets/sheet1.xml": (
                "spreadsheetml.worksheet",
                f'<worksheet xmlns="{_SHEETS}"><sheetData><row r="1"><c r="A1"><v>1</v></c></row></sheetData></worksheet>',
            )
        },
    ),
}
