// The view of everything: how many there are, and what needs a look. Without services, how to register one.

import { arrange, h, icon, named, setText, visible } from "./dom.js";
import { Fleet } from "./fleet.js";
import { howTo } from "./howto.js";
import { place, problem } from "./instance.js";
import { badge, flash, healthBar, plural } from "./marks.js";
import { href } from "./router.js";
import { byTrouble, count } from "./status.js";

const MOST_TROUBLES = 6;

export class Overview {
  constructor(store, stream) {
    this.store = store;
    this.stream = stream;
    this.rows = new Map();
    this.figures = Object.fromEntries(
      [["services", "Services"], ["instances", "Instances"], ["passing", "Passing"], ["warning", "Warning"], ["critical", "Critical"], ["maintenance", "Maintenance"]]
        .map(([name, label]) => [name, new Figure(name, label)]));
    this.bar = h("div.health", { "aria-hidden": "true" });
    this.summary = h("section.summary", { "aria-label": "Summary" }, h("dl.figures", {}, ...Object.values(this.figures).map((figure) => figure.element)), this.bar);
    this.calm = h("p.calm", {}, icon("passing"), h("span"));
    this.list = h("ul.troubles");
    this.rest = h("p.none");
    this.troubles = h("section", {}, h("h2", {}, "Needs a look"), this.calm, this.list, this.rest);
    this.fleet = new Fleet(store);
    this.howTo = h("section.start", { hidden: true });
    this.title = h("h1.unseen", { tabIndex: -1 }, "Overview");
    this.element = h("article.view", {}, this.title, this.summary, this.howTo, this.troubles, this.fleet.element);
  }

  get label() {
    return null;
  }

  render() {
    const { store } = this;
    const all = [...store.instances.values()];
    const counts = count(all);
    this.figures.services.show(store.services.size);
    this.figures.instances.show(all.length);
    for (const [status, number] of Object.entries(counts)) this.figures[status].show(number);
    healthBar(this.bar, counts);
    if (store.empty && this.howTo.hidden) this.howTo.replaceChildren(...howTo(this.stream.token !== ""));
    this.howTo.hidden = !store.empty;
    const troubles = all.filter((instance) => instance.status !== "passing").sort(byTrouble);
    this.summary.hidden = !store.heard;
    this.troubles.hidden = this.fleet.element.hidden = store.empty || !store.heard;
    this.fleet.render();
    this.calm.hidden = troubles.length > 0;
    setText(this.calm.lastChild, `All ${plural(all.length, "instance")} of ${plural(store.services.size, "service")} are passing.`);
    this.list.hidden = !troubles.length;
    for (const key of this.rows.keys()) if (!store.instances.has(key)) this.rows.delete(key);
    arrange(this.list, troubles.slice(0, MOST_TROUBLES).map((instance) => this.#row(instance)));
    this.rest.hidden = troubles.length <= MOST_TROUBLES;
    setText(this.rest, `and ${plural(troubles.length - MOST_TROUBLES, "more instance", "more instances")}`);
  }

  #row(instance) {
    const old = this.rows.get(instance.key);
    if (old?.instance === instance) return old.element;
    const element = h("li.trouble", { data: { status: instance.status } },
      badge(instance.status),
      h("a", { href: href(instance.service) }, named(instance.id)),
      h("span.of", {}, named(instance.service), " at ", h("bdi.address", {}, visible(place(instance)))),
      h("p.detail", {}, visible(problem(instance))));
    if (old?.instance.status !== instance.status && this.store.fresh.has(instance.key)) flash(element);
    this.rows.set(instance.key, { instance, element });
    return element;
  }
}

class Figure {
  constructor(name, label) {
    this.value = h("dd", {}, "0");
    const term = h("dt", {}, ["services", "instances"].includes(name) ? null : icon(name), label);
    this.element = h("div.figure", { data: { status: name } }, term, this.value);
  }

  show(number) {
    setText(this.value, number.toLocaleString("en"));
    this.element.classList.toggle("zero", number === 0);
  }
}
