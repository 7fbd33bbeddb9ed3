// The view of one service: what it is, and its instances.

import { arrange, h, icon, named, setText, visible } from "./dom.js";
import { Filter } from "./filter.js";
import { InstanceRow, place } from "./instance.js";
import { badge, healthBar, plural } from "./marks.js";
import { roving } from "./roving.js";

export class ServiceView {
  constructor(name, store, { render, findTag }) {
    this.name = name;
    this.store = store;
    this.findTag = findTag;
    this.rows = new Map();
    this.title = h("h1", { tabIndex: -1 }, named(name));
    this.badge = h("span");
    this.tags = h("p.tags");
    this.bar = h("div.health", { "aria-hidden": "true" });
    this.counts = h("p.counts");
    this.search = h("search.filter");
    this.filter = new Filter(this.search, {
      label: "Filter instances",
      hint: "Words of ids, addresses, nodes, tags and meta",
      change: render,
    });
    this.list = h("div.instances", { role: "group", "aria-label": "Instances" });
    this.none = h("p.none", { hidden: true });
    this.roving = roving(this.list, "summary", this.filter.input);
    this.element = h("article.view", {},
      h("a.back", { href: "#/" }, icon("back"), "All services"),
      h("header.heading", {}, h("div.title", {}, this.title, this.badge), this.tags, this.counts, this.bar),
      this.search, this.list, this.none);
  }

  render() {
    const service = this.store.services.get(this.name);
    const list = service?.list ?? [];
    for (const key of this.rows.keys()) if (!service?.instances.has(key)) this.rows.delete(key);
    if (service) this.#head(service);
    else this.#gone();
    const matches = this.filter.matcher();
    const shown = list.filter((instance) =>
      matches((status) => instance.status === status, [instance.id, place(instance), instance.node, ...Object.entries(instance.meta).flat()], instance.tags));
    arrange(this.list, shown.map((instance) => this.#row(instance)));
    this.roving();
    this.search.hidden = list.length < 6 && !this.filter.active;
    this.none.hidden = shown.length > 0 || !this.store.heard;
    setText(this.none, list.length ? "No instance is like that." : "Nothing is registered under this name. It is shown here once something is.");
  }

  #head(service) {
    const says = JSON.stringify([service.counts, service.tags]);
    if (says === this.says) return;
    this.says = says;
    const { counts, list, tags, status } = service;
    this.badge.replaceChildren(badge(status));
    this.tags.replaceChildren(...tags.slice(0, 40).map((tag) => {
      const chip = h("button.chip", { type: "button", title: "Services with this tag" }, named(tag));
      chip.addEventListener("click", () => this.findTag(tag));
      return chip;
    }));
    this.tags.hidden = !tags.length;
    const parts = ["critical", "warning", "maintenance"].filter((one) => counts[one]).map((one) =>
      `${counts[one].toLocaleString("en")} ${one === "maintenance" ? "in maintenance" : one}`);
    setText(this.counts, [plural(list.length, "instance"), ...(parts.length ? parts : ["all passing"])].join(" · "));
    healthBar(this.bar, counts);
    this.filter.show(counts);
  }

  #gone() {
    this.says = undefined;
    this.badge.replaceChildren();
    this.tags.hidden = true;
    setText(this.counts, this.store.heard ? "No instances" : "");
    this.bar.replaceChildren();
  }

  #row(instance) {
    let row = this.rows.get(instance.key);
    if (!row) this.rows.set(instance.key, (row = new InstanceRow(instance)));
    row.update(instance, this.store.fresh.get(instance.key));
    return row.element;
  }

  get label() {
    return visible(this.name).slice(0, 80);
  }
}
