// Uploads of the Uploads API, which the API itself can't list.

import { count, h, hidden, middle, size } from "./dom.js";
import { examples } from "./recipes.js";
import { ageColumn, idColumn, nameColumn, resource, time } from "./resource.js";

const STATUS = { pending: "Pending", completed: "Completed", cancelled: "Cancelled", expired: "Expired" };
const status = (row) => h("span", { class: `pill ${row.status}` }, row.status);

export const uploads = resource({
  kind: "uploads",
  one: "Upload",
  name: (row) => row.filename,
  columns: [
    { name: "Status", width: "5.8rem", cell: status },
    nameColumn((row) => row.filename, (row) => middle(row.filename)),
    { ...idColumn, width: "10.5rem" },
    { name: "Purpose", width: "6.5rem", keep: "wide", class: "quiet", cell: (row) => row.purpose },
    { name: "Parts", width: "3rem", end: true, keep: "wide", class: "quiet", cell: (row) => [count(row.parts), hidden(row.parts === 1 ? " part" : " parts")] },
    { name: "Size", width: "4.8rem", end: true, class: "quiet", cell: (row) => size(row.bytes) },
    ageColumn("Age", "created_at", { sort: "created", keep: "medium" }),
  ],
  filters: [{ name: "status", label: "Status", options: [["", "Any status"], ...Object.entries(STATUS)] }],
  example: examples.uploads,
  badge: status,
  facts: (row, page) => [
    ["Size", `${size(row.bytes)} (${row.bytes} bytes)`],
    row.status === "pending" && ["Parts", `${count(row.parts)} with ${row.part_bytes} of ${row.bytes} bytes`],
    row.file_id && ["File", h("a", { href: page.link("files", row.file_id) }, row.file_id)],
    ["Purpose", row.purpose],
    ["MIME type", row.mime_type],
    ["Created", time(row.created_at)],
    ["Expires", time(row.expires_at)],
  ],
});
