// All services at a glance: a card each, with a mark for every instance.

import { arrange, h, icon, named, setText, visible } from "./dom.js";
import { plural } from "./marks.js";
import { href } from "./router.js";
import { LABELS } from "./status.js";

const MOST_CARDS = 60;
const MOST_MARKS = 96;

export class Fleet {
  constructor(store) {
    this.store = store;
    this.cards = new Map();
    this.list = h("ul.cards");
    this.rest = h("p.none");
    this.element = h("section.fleet", { "aria-label": "All services" }, h("h2", {}, "Services"), this.list, this.rest);
  }

  render() {
    const services = this.store.sorted();
    for (const name of this.cards.keys()) if (!this.store.services.has(name)) this.cards.delete(name);
    arrange(this.list, services.slice(0, MOST_CARDS).map((service) => this.#card(service)));
    this.rest.hidden = services.length <= MOST_CARDS;
    setText(this.rest, `and ${plural(services.length - MOST_CARDS, "more service")}`);
  }

  #card(service) {
    let card = this.cards.get(service.name);
    if (!card) this.cards.set(service.name, (card = new Card(service)));
    card.update(service);
    return card.element;
  }
}

class Card {
  constructor(service) {
    this.mark = h("span.mark");
    this.words = h("span.words");
    this.marks = h("span.marks", { "aria-hidden": "true" });
    this.link = h("a.card", { href: href(service.name) }, this.mark, named(service.name, "bdi.name"), this.words, this.marks);
    this.element = h("li", {}, this.link);
  }

  update(service) {
    const says = service.list.map((instance) => instance.status[0]).join("");
    if (says === this.says) return;
    this.says = says;
    const { list, counts, status } = service;
    this.link.dataset.status = status;
    this.mark.replaceChildren(icon(status), h("span.unseen", {}, `${LABELS[status]}: `));
    setText(this.words, counts.passing === list.length ? plural(list.length, "instance") : `${counts.passing} of ${list.length} passing`);
    const more = list.length - MOST_MARKS;
    this.marks.replaceChildren(
      ...list.slice(0, MOST_MARKS).map((instance) => h("i", { title: visible(instance.id), data: { status: instance.status } })),
      ...(more > 0 ? [`+${more.toLocaleString("en")}`] : []),
    );
  }
}
