// One instance: a line, and all that is known of it when it is opened.

import { h, icon, named, setText, visible } from "./dom.js";
import { badge, flash, plural } from "./marks.js";
import { byTrouble, isMaintenance, LABELS } from "./status.js";

export class InstanceRow {
  constructor(instance) {
    this.mark = h("span.mark");
    this.address = h("bdi.address");
    this.node = h("bdi.node");
    this.tags = h("span.tags");
    this.checks = h("span.of-checks");
    this.problem = h("span.problem");
    this.summary = h("summary", { tabIndex: -1 },
      this.mark, named(instance.id, "bdi.name"), this.address, this.node, this.tags, this.checks, icon("chevron"), this.problem);
    this.more = h("div.more");
    this.element = h("details.instance", {}, this.summary, this.more);
    this.element.addEventListener("toggle", () => this.#open());
  }

  update(instance, changed) {
    // Only news: one that changed while another view was shown doesn't light up now.
    if (changed !== this.changed && performance.now() - changed < 1500) flash(this.summary);
    this.changed = changed;
    if (instance === this.instance) return;
    this.instance = instance;
    const { status, checks } = instance;
    const good = checks.filter((check) => check.status === "passing").length;
    this.element.dataset.status = status;
    this.mark.replaceChildren(icon(status), h("span.unseen", {}, `${LABELS[status]}: `));
    setText(this.address, visible(place(instance)));
    setText(this.node, visible(instance.node));
    this.tags.replaceChildren(...instance.tags.slice(0, 12).map((tag) => named(tag)));
    setText(this.checks, good === checks.length ? plural(good, "check") : `${good}/${checks.length} checks`);
    setText(this.problem, visible(problem(instance)));
    if (this.element.open) this.#open();
  }

  #open() {
    if (!this.element.open) {
      this.more.replaceChildren();
      return;
    }
    const { checks, meta, weights, tags, node, key } = this.instance;
    const facts = [
      ["Address", named(place(this.instance))],
      ["Node", named(node)],
      ["Weights", `${weights[0]} passing, ${weights[1]} warning`],
      tags.length && ["Tags", h("span.tags", {}, ...tags.map((tag) => named(tag)))],
      ...Object.entries(meta).map(([name, value]) => [named(name), named(value)]),
    ].filter(Boolean);
    this.more.replaceChildren(
      h("dl.facts", {}, ...facts.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
      h("ul.checks", { "aria-label": "Checks" }, ...[...checks].sort(byTrouble).map((check) => checkItem(check))),
      h("p.none", { hidden: checks.length > 0 }, "It has no checks, and counts as passing."),
    );
    this.more.dataset.key = key;
  }
}

function checkItem(check) {
  const kind = [check.type && check.type.toUpperCase(), check.node && "of the node"].filter(Boolean).join(", ");
  const text = check.output || (isMaintenance(check) ? "" : check.notes);
  return h("li.check", { data: { status: isMaintenance(check) ? "maintenance" : check.status } },
    h("div", {}, badge(isMaintenance(check) ? "maintenance" : check.status),
      named(check.name || check.id, "bdi.name"), h("span.kind", {}, kind)),
    text.trim() ? h("pre", { tabIndex: 0, "aria-label": "Output" }, visible(text.trim())) : null,
    isMaintenance(check) && check.notes ? h("pre", {}, visible(check.notes)) : null,
  );
}

export function place({ address, port }) {
  const host = address.includes(":") ? `[${address}]` : address;
  return port ? `${host}:${port}` : host;
}

// Why an instance isn't passing, in a line.
export function problem(instance) {
  if (instance.status === "passing") return "";
  const check = instance.checks.find((one) => (instance.status === "maintenance" ? isMaintenance(one) : one.status === instance.status));
  const text = instance.status === "maintenance" ? check.notes || "In maintenance" : check.output || check.name || check.id;
  return text.trim().slice(0, 300);
}
