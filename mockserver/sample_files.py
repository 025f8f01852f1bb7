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
_FORMAT = "application/vnd.openxmlformats-officedocument"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_XML = '<?xml version="1.0" encoding="UTF-8"?>'


def _zip(members: Mapping[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return target.getvalue()


def _types(parts: Mapping[str, str]) -> str:
    """The types of the parts of an Office document, by their paths."""
    rels = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    types = [f'<Override PartName="/{path}" ContentType="{_FORMAT}.{kind}+xml"/>' for path, kind in parts.items()]
    return f'{_XML}<Types xmlns="{_PACKAGE}/content-types">{rels}{"".join(types)}</Types>'


def _refers(kind: str, target: str) -> str:
    """What an Office document, or a part of it, refers to."""
    relation = f'<Relationship Id="rId1" Type="{_OFFICE}/{kind}" Target="{target}"/>'
    return f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{relation}</Relationships>'


_TEXT = "<w:p><w:r><w:t>A sample file.</w:t></w:r></w:p>"
_DOCX = {
    "[Content_Types].xml": _types({"word/document.xml": "wordprocessingml.document.main"}),
    "_rels/.rels": _refers("officeDocument", "word/document.xml"),
    "word/document.xml": f'<w:document xmlns:w="{_WORDS}"><w:body>{_TEXT}</w:body></w:document>',
}
_SHEET = '<sheet name="Sheet1" sheetId="1" r:id="rId1"/>'
_ROW = '<row r="1"><c r="A1"><v>1</v></c></row>'
_KINDS = {"xl/workbook.xml": "spreadsheetml.sheet.main", "xl/worksheets/sheet1.xml": "spreadsheetml.worksheet"}
_XLSX = {
    "[Content_Types].xml": _types(_KINDS),
    "_rels/.rels": _refers("officeDocument", "xl/workbook.xml"),
    "xl/_rels/workbook.xml.rels": _refers("worksheet", "worksheets/sheet1.xml"),
    "xl/workbook.xml": f'<workbook xmlns="{_SHEETS}" xmlns:r="{_OFFICE}"><sheets>{_SHEET}</sheets></workbook>',
    "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEETS}"><sheetData>{_ROW}</sheetData></worksheet>',
}

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
    "docx": _zip(_DOCX),
    "xlsx": _zip(_XLSX),
}
