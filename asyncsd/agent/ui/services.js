// The list of services at the side.

import { arrange, h, icon, named, setText, visible } from "./dom.js";
import { Filter } from "./filter.js";
import { flash, healthBar } from "./marks.js";
import { chosen, href } from "./router.js";
import { roving } from "./roving.js";
import { LABELS, STATUSES } from "./status.js";

export class Services {
  constructor(store) {
    this.store = store;
    this.rows = new Map();
    this.list = document.getElementById("services");
    this.none = document.getElementById("services-none");
    this.filter = new Filter(document.getElementById("filter"), {
      label: "Filter by name or tag",
      hint: "Words of names and tags; tag:v1 for tags alone",
      key: "/",
      change: () => this.render(), // not at the next frame: Enter takes the first that is listed
    });
    this.roving = roving(this.list, "a.service", this.filter.input);
  }

  render() {
    const services = this.store.sorted();
    const totals = Object.fromEntries(STATUSES.map((status) => [status, 0]));
    for (const service of services) totals[service.status] += 1;
    this.filter.show(totals);
    const matches = this.filter.matcher();
    const shown = services.filter((service) => matches((status) => service.counts[status] > 0, [service.name], service.tags));
    for (const name of this.rows.keys()) if (!this.store.services.has(name)) this.rows.delete(name);
    const current = chosen();
    arrange(this.list, shown.map((service) => this.#row(service, service.name === current)));
    this.roving();
    this.none.hidden = shown.length > 0 || !this.store.heard;
    setText(this.none, this.filter.active ? "No service is like that." : "No services.");
  }

  #row(service, current) {
    let row = this.rows.get(service.name);
    if (!row) this.rows.set(service.name, (row = new Row(service)));
    row.update(service);
    if (current) row.link.setAttribute("aria-current", "page");
    else row.link.removeAttribute("aria-current");
    return row.item;
  }
}

class Row {
  constructor(service) {
    this.mark = h("span.mark");
    this.number = h("span.number");
    this.tags = h("span.tags");
    this.bar = h("span.health", { "aria-hidden": "true" });
    this.link = h("a.service", { href: href(service.name), tabIndex: -1, title: visible(service.name) },
      this.mark, named(service.name, "bdi.name"), this.number, this.tags, this.bar);
    this.item = h("li", {}, this.link);
  }

  update(service) {
    // All of it is made from these.
    const says = JSON.stringify([service.counts, service.tags]);
    if (says === this.says) return;
    if (this.says !== undefined) flash(this.link);
    this.says = says;
    const total = service.list.length;
    const good = service.counts.passing;
    this.link.dataset.status = service.status;
    this.mark.replaceChildren(icon(service.status), h("span.unseen", {}, `${LABELS[service.status]}: `));
    this.number.replaceChildren(
      good === total ? total.toLocaleString("en") : `${good.toLocaleString("en")}/${total.toLocaleString("en")}`,
      h("span.unseen", {}, total === 1 ? " instance" : good === total ? " instances" : " instances passing"),
    );
    this.tags.replaceChildren(...service.tags.slice(0, 12).map((tag) => named(tag)));
    healthBar(this.bar, service.counts);
  }
}
