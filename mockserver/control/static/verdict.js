// The verdict: mistakes of clients that the journal proves. The navigation shows their number.

import { button, h, plural } from "./dom.js";

export function verdict(page) {
  const card = h("div", { class: "card", "aria-live": "polite" });
  const element = h(
    "section",
    { class: "plain-view", "aria-label": "Verdict" },
    h("div", { class: "tools" }, h("h2", {}, "Verdict"), h("span", { class: "space" }), button("Check again", () => page.check())),
    card,
    h("p", { class: "quiet" }, "The verdict reads the journal and finds what a correct client would not have done, such as ignoring Retry-After or a container that is never deleted."),
  );

  const proof = (numbers) => [
    numbers.length === 1 ? "Request " : "Requests ",
    numbers.slice(0, 20).flatMap((number) => [h("a", { href: page.link("journal", number) }, `#${number}`), " "]),
    numbers.length > 20 && `and ${numbers.length - 20} more`,
  ];

  function draw() {
    if (!page.verdict) {
      card.className = "card";
      return card.replaceChildren(h("p", { class: "quiet" }, "Not checked yet."));
    }
    const { ok, findings = [], problem } = page.verdict;
    card.className = `card ${ok ? "good" : "bad"}`;
    const summary = ok ? [h("b", {}, "No mistakes found. "), "The clients of this world did nothing wrong so far."] : [h("b", {}, `${plural(findings.length, "finding")}. `), "The clients of this world made these mistakes:"];
    const items = findings.map(({ name, message, exchanges }) => h("li", {}, h("b", {}, name), h("p", {}, message), h("p", { class: "quiet" }, proof(exchanges))));
    card.replaceChildren(...(problem ? [page.failed(problem)] : [h("p", {}, summary), h("ul", { class: "findings" }, items)]));
  }

  return { element, show: draw, checked: draw, async changed() {}, tick() {} };
}
