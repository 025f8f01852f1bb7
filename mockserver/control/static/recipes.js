// Text to copy: an exchange as a curl command, a Python program or a seed, and examples for a new world.

import { KEY } from "./facts.js";

const EXAMPLE_KEY = KEY === "sk" ? "sk-test" : KEY; // a server with keys of its own accepts no others, and does not tell them
const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const form = (exchange) => (exchange.request.headers["content-type"] ?? "").startsWith("multipart/form-data");
const isFile = (value) => value?.filename !== undefined;
const base = (name) => name.slice(name.lastIndexOf("/") + 1) || "file";

// Split a path at the end of the base URL, as the server does: a world, then the prefix of OpenAI, Azure or Foundry.
function root(exchange, origin) {
  const [, prefix, rest] = /^((?:\/w\/[^/]*)?(?:(?:\/v1|(?:\/api\/projects\/[^/]+)?\/+openai(?:\/v1)?)(?=\/|$))?)(.*)$/.exec(exchange.path);
  return { url: origin + prefix, rest };
}

export function curl(exchange, origin) {
  const { method, path, query, request } = exchange;
  const parts = [`curl ${method === "GET" ? "" : `-X ${method} `}${shell(origin + path + (query ? `?${query}` : ""))}`];
  parts.push(`-H "Authorization: Bearer $OPENAI_API_KEY"`);
  for (const name of ["x-mock-fault", "range", "idempotency-key"])
    if (request.headers[name]) parts.push(`-H ${shell(`${name}: ${request.headers[name]}`)}`);
  if (form(exchange) && request.body) {
    for (const [name, value] of Object.entries(request.body))
      for (const each of [value].flat())
        parts.push(isFile(each) ? `-F ${shell(`${name}${Array.isArray(value) ? "[]" : ""}=@${base(each.filename)}${each.filename.includes("/") ? `;filename=${each.filename}` : ""}`)}` : `--form-string ${shell(`${name}=${each}`)}`);
  } else if (request.body !== undefined && request.body !== null) {
    parts.push(`-H 'Content-Type: ${request.headers["content-type"] ?? "application/json"}'`);
    parts.push(`--data-raw ${shell(typeof request.body === "string" ? request.body : JSON.stringify(request.body))}`);
  } else if (request.body_bytes) parts.push("--data-binary @body # the journal did not keep it, as it was too large");
  return `${parts.join(" \\\n  ")}\n`;
}

// Convert a JSON value to a Python literal. Strings are the same in both, except for unpaired surrogates.
export function literal(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, each]) => `${literal(key)}: ${literal(each)}`).join(", ")}}`;
  return JSON.stringify(value).replaceAll("\u007f", "\\x7f");
}

const IDENTIFIER = /^[a-z_]\w*$/i;
const CALLS = {
  CreateContainer: "containers.create",
  ListContainers: "containers.list",
  RetrieveContainer: "containers.retrieve",
  DeleteContainer: "containers.delete",
  CreateContainerFile: "containers.files.create",
  ListContainerFiles: "containers.files.list",
  RetrieveContainerFile: "containers.files.retrieve",
  RetrieveContainerFileContent: "containers.files.content.retrieve",
  DeleteContainerFile: "containers.files.delete",
  CreateFile: "files.create",
  ListFiles: "files.list",
  RetrieveFile: "files.retrieve",
  DownloadFile: "files.content",
  DeleteFile: "files.delete",
  CreateUpload: "uploads.create",
  AddUploadPart: "uploads.parts.create",
  CompleteUpload: "uploads.complete",
  CancelUpload: "uploads.cancel",
  CreateSkill: "skills.create",
  ListSkills: "skills.list",
  RetrieveSkill: "skills.retrieve",
  UpdateSkill: "skills.update",
  DeleteSkill: "skills.delete",
  RetrieveSkillContent: "skills.content.retrieve",
  CreateSkillVersion: "skills.versions.create",
  ListSkillVersions: "skills.versions.list",
  RetrieveSkillVersion: "skills.versions.retrieve",
  DeleteSkillVersion: "skills.versions.delete",
  RetrieveSkillVersionContent: "skills.versions.content.retrieve",
  CreateResponse: "responses.create",
  GetResponse: "responses.retrieve",
  DeleteResponse: "responses.delete",
  CancelResponse: "responses.cancel",
  ListInputItems: "responses.input_items.list",
};

export function python(exchange, origin) {
  const { operation, method, path, query, request } = exchange;
  const { url, rest } = root(exchange, origin);
  const lines = ["import os", "", "from openai import OpenAI", "", `client = OpenAI(base_url=${literal(url)}, api_key=os.environ.get("OPENAI_API_KEY", ${literal(EXAMPLE_KEY)}))`];
  const call = CALLS[operation];
  const args = [];
  if (!call) {
    const body = request.body === undefined ? "" : `, body=${literal(request.body)}`;
    lines.push(`print(client.${method.toLowerCase()}(${literal(rest + (query ? `?${query}` : ""))}${body}, cast_to=object))`);
    return `${lines.join("\n")}\n`;
  }
  const [, kind, first, , second] = rest.split("/").map(decodeURIComponent);
  if (second) args.push(literal(second), `${kind === "skills" ? "skill_id" : "container_id"}=${literal(first)}`);
  else if (first) args.push(literal(first));
  const asked = Object.fromEntries(new URLSearchParams(query));
  const values = method === "GET" ? { ...asked } : {};
  if (values.limit) values.limit = Number(values.limit);
  if (form(exchange)) {
    const fileArgument = ({ filename }) => (filename.includes("/") ? `(${literal(filename)}, open(${literal(base(filename))}, "rb"))` : `open(${literal(base(filename))}, "rb")`);
    for (const [name, value] of Object.entries(request.body ?? {})) {
      if (isFile(value)) args.push(`${name}=${fileArgument(value)}`);
      else if (isFile(value?.[0])) args.push(`${name}=[${value.map(fileArgument).join(", ")}]`);
      else values[name] = value;
    }
  } else if (request.body && typeof request.body === "object") Object.assign(values, request.body);
  const extra = {};
  for (const [name, value] of Object.entries(values)) {
    if (IDENTIFIER.test(name)) args.push(`${name}=${literal(value)}`);
    else extra[name] = value;
  }
  if (Object.keys(extra).length) args.push(`${method === "GET" ? "extra_query" : "extra_body"}=${literal(extra)}`);
  if (method !== "GET" && query) args.push(`extra_query=${literal(asked)}`);
  if (request.headers["x-mock-fault"]) args.push(`extra_headers=${literal({ "x-mock-fault": request.headers["x-mock-fault"] })}`);
  lines.push(`print(client.${call}(${args.join(", ")})${/content/.test(call) ? ".read()" : ""})`);
  return `${lines.join("\n")}\n`;
}

// Return a seed that creates the objects of the response, or for an error a fault that returns the same error. The
// journal does not know how much of an aborted response was sent, so the fault for it sends nothing.
export function seed(exchange) {
  const { response, status, operation, request } = exchange;
  const body = response.body;
  const result = { version: 1 };
  if (status >= 400 || status === null || exchange.aborted) {
    const effect = status === null || exchange.aborted ? { drop: "before_answer" } : { status, ...(body === undefined ? {} : { body }) };
    if (response.headers?.["retry-after"] && !effect.drop) effect.headers = { "retry-after": response.headers["retry-after"] };
    result.faults = [{ match: operation ? { operation } : { method: exchange.method }, times: 1, effect }];
    return yaml(result);
  }
  for (const each of body?.data ?? (body?.object ? [body] : [])) {
    const generated = (bytes) => ({ generate: { size: bytes ?? 0, pattern: "text" } });
    if (each.object === "container" && !each.deleted) {
      const { id, name, expires_after, memory_limit, network_policy, created_at, last_active_at } = each;
      (result.containers ??= []).push(withoutEmpty({ id, name, created_at, last_active_at, expires_after, memory_limit, network_policy }));
    } else if (each.object === "container.file" && !each.deleted) {
      const id = each.container_id;
      result.containers ??= [{ id, name: "container of these files", files: [] }];
      result.containers[0].files.push({ id: each.id, path: each.path, source: each.source, ...generated(each.bytes ?? request.body?.file?.bytes), ...(each.bytes === null ? { bytes: null } : {}) });
    } else if (each.object === "file" && !each.deleted) {
      (result.files ??= []).push(withoutEmpty({ id: each.id, filename: each.filename, purpose: each.purpose, created_at: each.created_at, expires_at: each.expires_at, ...generated(each.bytes) }));
    }
  }
  return yaml(result);
}

const withoutEmpty = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null));

// Serialize to YAML: lists of objects as items, everything else as JSON, which is valid YAML.
function yaml(values, indent = "") {
  const items = (value) => Array.isArray(value) && typeof value[0] === "object";
  const item = (each) => `${indent}  - ${yaml(each, `${indent}    `).trimStart()}`;
  return Object.entries(values)
    .map(([key, value]) => `${indent}${key}:${items(value) ? `\n${value.map(item).join("")}` : ` ${JSON.stringify(value)}\n`}`)
    .join("");
}

// Examples for a world at `url`, by language

const CURL = (url) => `export OPENAI_BASE_URL=${url} OPENAI_API_KEY=${shell(EXAMPLE_KEY)}\n`;
const PYTHON = (url) => `from openai import OpenAI\n\nclient = OpenAI(base_url=${literal(url)}, api_key=${literal(EXAMPLE_KEY)})\n`;
const NODE = (url, names) => `import ${names} from "openai";\n\nconst client = new OpenAI({ baseURL: ${literal(url)}, apiKey: ${literal(EXAMPLE_KEY)} });\n`;
const POST = (url, path) => `${CURL(url)}curl "$OPENAI_BASE_URL/${path}" -H "Authorization: Bearer $OPENAI_API_KEY"`;
const SKILL = "---\\nname: greet\\ndescription: Greet people.\\n---\\nSay hello.\\n";
const UPLOAD = [["bytes", 16], ["filename", "notes.txt"], ["mime_type", "text/plain"], ["purpose", "user_data"]];

export const examples = {
  containers: (url) => [
    ["curl", `${CURL(url)}curl "$OPENAI_BASE_URL/containers" -H "Authorization: Bearer $OPENAI_API_KEY" \\\n  -H "Content-Type: application/json" -d '{"name": "analysis"}'\n`],
    ["Python", `${PYTHON(url)}container = client.containers.create(name="analysis")\nprint(container.id)\n`],
    ["Node", `${NODE(url, "OpenAI")}const container = await client.containers.create({ name: "analysis" });\nconsole.log(container.id);\n`],
  ],
  files: (url) => [
    ["curl", `${CURL(url)}echo "Look at January." > notes.txt\ncurl "$OPENAI_BASE_URL/files" -H "Authorization: Bearer $OPENAI_API_KEY" \\\n  -F purpose=user_data -F file=@notes.txt\n`],
    ["Python", `${PYTHON(url)}file = client.files.create(file=("notes.txt", b"Look at January."), purpose="user_data")\nprint(file.id)\n`],
    ["Node", `${NODE(url, "OpenAI, { toFile }")}const notes = await toFile(Buffer.from("Look at January."), "notes.txt");\nconst file = await client.files.create({ file: notes, purpose: "user_data" });\nconsole.log(file.id);\n`],
  ],
  uploads: (url) => [
    ["curl", `${POST(url, "uploads")} \\\n  -H "Content-Type: application/json" -d '${JSON.stringify(Object.fromEntries(UPLOAD))}'\n`],
    ["Python", `${PYTHON(url)}upload = client.uploads.create(${UPLOAD.map(([name, value]) => `${name}=${literal(value)}`).join(", ")})\npart = client.uploads.parts.create(upload.id, data=b"Look at January.")\nprint(client.uploads.complete(upload.id, part_ids=[part.id]).status)\n`],
    ["Node", `${NODE(url, "OpenAI")}const upload = await client.uploads.create({ ${UPLOAD.map(([name, value]) => `${name}: ${literal(value)}`).join(", ")} });\nconsole.log(upload.id);\n`],
  ],
  skills: (url) => [
    ["curl", `printf -- '${SKILL}' > SKILL.md\n${POST(url, "skills")} \\\n  -F "files[]=@SKILL.md;filename=greet/SKILL.md"\n`],
    ["Python", `${PYTHON(url)}skill = client.skills.create(files=[("greet/SKILL.md", b"${SKILL}")])\nprint(skill.id)\n`],
    ["Node", `${NODE(url, "OpenAI, { toFile }")}const file = await toFile(Buffer.from("${SKILL}"), "greet/SKILL.md");\nconst skill = await client.skills.create({ files: [file] });\nconsole.log(skill.id);\n`],
  ],
};
