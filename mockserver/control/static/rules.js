// A page of rules: each in words, with how often it was used, and a form whose rule the server checks.

import { get, patch, path, post, remove } from "./api.js";
import { json } from "./contents.js";
import { ask, attempt, button, count, h, hidden, keyed, read } from "./dom.js";
import { reader } from "./live.js";

// What differs is data: { kind, one, title, words(rule), used: [key, label] of how often a rule was used, counts: keys
// that are not part of a rule, over(rule): why it is no longer used, off(rule), lead: [title, cell], acts, common: rules
// to add with a click, fields and compose(value) of the form, nothing: what to show if there are no rules }.
export const rules = (spec) => (page) => {
  const { kind, one, title, words, used: [used, usedLabel] } = spec;
  const at = (...parts) => path("worlds", page.world, kind, ...parts);
  const rows = h("ul", { class: "rows", "aria-label": title });
  const nothing = h("div", { class: "nothing" });
  const add = (rule) => attempt(() => post(at(), rule), ({ id }) => `Added ${id}`);
  const menu = spec.common?.map(([name, what, rule]) => button([h("b", {}, name), h("span", {}, what)], () => add(rule), { class: "common" }));
  const clear = button("Delete all", () => attempt(() => remove(at()), `All ${kind} deleted`), { disabled: true });
  const sent = (rule) => Object.fromEntries(Object.entries(rule).filter(([key]) => !spec.counts.includes(key)));
  const element = h(
    "section",
    { class: "plain-view", "aria-label": title },
    h("div", { class: "tools" }, h("h2", {}, title), h("span", { class: "space" }), clear, button(`New ${one}`, () => form(), { class: "primary" })),
    menu && h("div", { class: "menu", role: "group", "aria-label": `Add a common ${one}` }, menu),
    h("div", { class: "head c-rules", "aria-hidden": "true" }, h("span", {}, spec.lead[0]), h("span", {}, "Rule"), h("span", { class: "end" }, usedLabel), h("span", { class: "end" }, "Matched"), h("span", {})),
    rows,
    nothing,
  );

  const show = keyed(rows, (rule) => rule.id, ({ place, ...rule }) => {
    const over = spec.over(rule);
    const change = (body, done) => attempt(() => patch(at(rule.id), body), done);
    return h(
      "li",
      { class: `c-rules ${over || spec.off?.(rule) ? "off" : ""}` },
      spec.lead[1](rule, change, place),
      h("details", { class: "rule" }, h("summary", {}, h("b", {}, rule.id), " ", h("span", {}, words(rule)), over && h("span", { class: "pill" }, over), rule.seeded && h("span", { class: "pill" }, "seeded")), json(sent(rule))),
      h("span", { class: "fired end", "data-label": `${usedLabel} ` }, count(rule[used]), hidden(` times ${used}`), rule.times ? ` of ${count(rule.times)}` : ""),
      h("span", { class: "matched end" }, count(rule.matched), hidden(" times matched")),
      h(
        "span",
        { class: "acts" },
        spec.acts?.(rule, change, over),
        button("Copy", () => form(rule), { "aria-label": `Copy ${rule.id}`, title: "Write a new rule that begins as this one" }),
        button("Delete", () => attempt(() => remove(at(rule.id)), `${title.slice(0, -1)} deleted`), { "aria-label": `Delete ${rule.id}` }),
      ),
    );
  });

  const refresh = reader(async () => {
    try {
      const { data } = page.info ? await get(at()) : { data: [] };
      show(data.map((rule, place) => ({ ...rule, place: place + 1 })));
      clear.disabled = !data.length;
      nothing.textContent = data.length ? "" : spec.nothing;
    } catch (error) {
      show([]);
      clear.disabled = true;
      nothing.replaceChildren(...[page.failed(error)].flat());
    }
  });

  // The fields write the rule; what is sent is the text of the rule, which the server checks while it is written.
  function form(copied) {
    const state = h("output", { class: "state" });
    const check = reader(async () => {
      const text = editor.value;
      try {
        const { data: [rule] = [], ...own } = await post(`${at()}?dry_run=true`, text);
        [state.textContent, state.className] = [`Valid. ${words(rule ?? own)}`, "state good"];
      } catch (error) {
        [state.textContent, state.className] = [error.message, "state bad"];
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
        else if (!name) inputs.rule.value = JSON.stringify({ ...sent(copied), id: undefined }, null, 2);
        editor = inputs.rule;
        check();
      },
    });
    dialog.querySelector(".actions").prepend(state); // they stay in view
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
