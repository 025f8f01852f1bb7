// Files of the Files API.

import { upload } from "./contents.js";
import { bytes, h, middle, size } from "./dom.js";
import { PURPOSES } from "./facts.js";
import { examples } from "./recipes.js";
import { ageColumn, idColumn, nameColumn, resource, time } from "./resource.js";

const purpose = h("select", { "aria-label": "Purpose of uploads" }, PURPOSES.map((each) => h("option", { value: each, selected: each === "user_data" }, each)));

export const files = resource({
  kind: "files",
  one: "File",
  name: (row) => row.filename,
  columns: [
    nameColumn((row) => row.filename, (row) => middle(row.filename, 12)),
    idColumn,
    { name: "Purpose", width: "6.5rem", keep: "medium", class: "quiet", cell: (row) => row.purpose },
    { name: "Size", width: "4.8rem", end: true, class: "quiet", sort: "size", cell: (row) => size(row.bytes) },
    ageColumn("Age", "created_at", { sort: "created" }),
  ],
  filters: [{ name: "purpose", label: "Purpose", options: [["", "Any purpose"], ...PURPOSES.map((each) => [each, each])] }],
  tools: [h("label", { class: "as" }, h("span", {}, "Purpose "), purpose)],
  uploads: (at) => [["Upload", (file) => upload(at(), file, { purpose: purpose.value })]],
  example: examples.files,
  content: true,
  facts: (row) => [
    ["Purpose", row.purpose],
    ["Size", bytes(row.bytes)],
    ["Created", time(row.created_at)],
    row.expires_at && ["Expires", time(row.expires_at)],
  ],
});
