// A page of rules (faults, answers): descriptions, usage counts, and a form for new rules, which the server validates.

import { get, patch, path, post, remove } from "./api.js";
import { json } from "./contents.js";
import { ask, attempt, button, count, h, hidden, keyed, read } from "./dom.js";
import { reader } from "./live.js";

// `spec` is { kind, one, title, describe(rule), used: [key, label] of the usage count, counts: keys that are not part of
// a rule, ended(rule): why the rule is no longer used, disabled(rule), firstColumn: [title, cell], actions, common: rules
// to add with a click, fields and compose(value) of the form, emptyText: the text if there are no rules }.
export const rules = (spec) => (page) => {
  const { kind, one, title, describe, used: [used, usedLabel] } = spec;
  const at = (...parts) => path("worlds", page.world, kind, ...parts);
  const rows = h("ul", { class: "rows", "aria-label": title });
  const emptyNote = h("div", { class: "nothing" });
  const add = (rule) => attempt(() => post(at(), rule), ({ id }) => `Added ${id}`);
  const menu = spec.common?.map(([name, what, rule]) => button([h("b", {}, name), h("span", {}, what)], () => add(rule), { class: "common" }));
  const clear = button("Delete all", () => attempt(() => remove(at()), `All ${kind} deleted`), { disabled: true });
  const withoutCounts = (rule) => Object.fromEntries(Object.entries(rule).filter(([key]) => !spec.counts.includes(key)));
  const element = h(
    "section",
    { class: "plain-view", "aria-label": title },
    h("div", { class: "tools" }, h("h2", {}, title), h("span", { class: "space" }), clear, button(`New ${one}`, () => form(), { class: "primary" })),
    menu && h("div", { class: "menu", role: "group", "aria-label": `Add a common ${one}` }, menu),
    h("div", { class: "head c-rules", "aria-hidden": "true" }, h("span", {}, spec.firstColumn[0]), h("span", {}, "Rule"), h("span", { class: "end" }, usedLabel), h("span", { class: "end" }, "Matched"), h("span", {})),
    rows,
    emptyNote,
  );

  const show = keyed(rows, (rule) => rule.id, ({ position, ...rule }) => {
    const ended = spec.ended(rule);
    const change = (body, done) => attempt(() => patch(at(rule.id), body), done);
    return h(
      "li",
      { class: `c-rules ${ended || spec.disabled?.(rule) ? "off" : ""}` },
      spec.firstColumn[1](rule, change, position),
      h("details", { class: "rule" }, h("summary", {}, h("b", {}, rule.id), " ", h("span", {}, describe(rule)), ended && h("span", { class: "pill" }, ended), rule.seeded && h("span", { class: "pill" }, "seeded")), json(withoutCounts(rule))),
      h("span", { class: "fired end", "data-label": `${usedLabel} ` }, count(rule[used]), hidden(` times ${used}`), rule.times ? ` of ${count(rule.times)}` : ""),
      h("span", { class: "matched end" }, count(rule.matched), hidden(" times matched")),
      h(
        "span",
        { class: "acts" },
        spec.actions?.(rule, change, ended),
        button("Copy", () => form(rule), { "aria-label": `Copy ${rule.id}`, title: "Write a new rule that begins as this one" }),
        button("Delete", () => attempt(() => remove(at(rule.id)), `${title.slice(0, -1)} deleted`), { "aria-label": `Delete ${rule.id}` }),
      ),
    );
  });

  const refresh = reader(async () => {
    try {
      const { data } = page.info ? await get(at()) : { data: [] };
      show(data.map((rule, index) => ({ ...rule, position: index + 1 })));
      clear.disabled = !data.length;
      emptyNote.textContent = data.length ? "" : spec.emptyText;
    } catch (error) {
      show([]);
      clear.disabled = true;
      emptyNote.replaceChildren(...[page.failed(error)].flat());
    }
  });

  // The fields generate the JSON of the rule. The JSON is sent, and the server validates it on every change.
  function form(copied) {
    const validity = h("output", { class: "state" });
    const check = reader(async () => {
      const text = editor.value;
      try {
        const { data: [rule] = [], ...own } = await post(`${at()}?dry_run=true`, text);
        [validity.textContent, validity.className] = [`Valid. ${describe(rule ?? own)}`, "state good"];
      } catch (error) {
        [validity.textContent, validity.className] = [error.message, "state bad"];
      }
    });
    const dialog = ask({
      title: `New ${one}`,
      wide: true,
      fields: [...spec.fields, { name: "rule", label: "Rule (JSON)", type: "textarea", rows: 12, hint: "The fields above write it. Edit it for everything else that a rule can do." }],
      action: "Add",
      submit: ({ rule }) => post(at(), rule),
      changed(inputs, name) {
        if (name !== "rule" && (name || !copied)) inputs.rule.value = JSON.stringify(spec.compose((field) => read(inputs[field])), null, 2);
        else if (!name) inputs.rule.value = JSON.stringify({ ...withoutCounts(copied), id: undefined }, null, 2);
        editor = inputs.rule;
        check();
      },
    });
    dialog.querySelector(".actions").prepend(validity); // the actions stay in view
  }
  let editor;

  return {
    element,
    show() {},
    async changed(kinds) {
      if (kinds.has(kind) || kinds.has("journal")) await refresh();
    },
    tick() {},
  };
};
