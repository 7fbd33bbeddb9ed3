// The last changes, of all services or of one.

import { arrange, h, icon, named, setText, visible } from "./dom.js";
import { ago, flash, plural } from "./marks.js";
import { href } from "./router.js";
import { LABELS } from "./status.js";

const SHOWN = 60;
const TOGETHER = 1_500; // ms between two of a kind that are told as one

const ICONS = {
  registered: "plus",
  deregistered: "minus",
  reaped: "minus",
  changed: "edit",
  "check-added": "plus",
  "check-removed": "minus",
  "maintenance-on": "maintenance",
  "maintenance-off": "passing",
};

export class Timeline {
  constructor(store) {
    this.store = store;
    this.items = null; // what is shown, by key; null at first
    this.list = document.getElementById("timeline");
    this.none = document.getElementById("timeline-none");
    setInterval(() => document.hidden || this.#age(), 1000);
  }

  render(service) {
    // A node's check speaks of every service on it.
    const of = this.store.changes.filter((change) => service === null || change.service === service || !change.service);
    const groups = together(of).slice(0, SHOWN);
    const items = new Map();
    for (const group of groups) {
      const key = `${group[0].number}-${group.length}-${group.at(-1).number}`;
      const item = this.items?.get(key) ?? changeItem(group);
      items.set(key, item);
      if (this.items && !this.items.has(key) && Date.now() - group[0].time < 2_000) flash(item);
    }
    this.items = this.store.heard ? items : null;
    arrange(this.list, [...items.values()]);
    this.none.hidden = groups.length > 0;
    setText(this.none, this.store.heard ? "Nothing has changed yet." : "");
    this.#age();
  }

  #age() {
    const now = Date.now();
    for (const time of this.list.querySelectorAll("time")) setText(time, ago(now - time.dataset.time));
  }
}

// Neighbours that say the same of several instances of a service, as one: a start of fifty is one line.
function together(changes) {
  const groups = [];
  for (const change of changes) {
    const last = groups.at(-1)?.at(-1);
    const same = last && change.service && ["kind", "service", "old", "new"].every((field) => last[field] === change[field])
      && Math.abs(last.time - change.time) < TOGETHER && change.id !== last.id;
    if (same) groups.at(-1).push(change);
    else groups.push([change]);
  }
  return groups;
}

function changeItem(group) {
  const change = group[0];
  const status = change.kind === "status" || change.kind === "check-added" ? change.new : "";
  const time = new Date(change.time);
  return h("li.change", { data: { kind: change.kind, status } },
    icon(change.kind === "status" ? change.new : ICONS[change.kind] ?? "edit"),
    h("p", {}, subject(group), " ", said(change)),
    group.length === 1 && change.detail.trim() ? h("p.detail", { title: visible(change.detail) }, visible(change.detail.trim())) : null,
    h("time", { dateTime: time.toISOString(), title: time.toLocaleString(), data: { time: change.time } }));
}

// Whom a change is about: a link to its service, or the node.
function subject(group) {
  const { service, id, node } = group[0];
  if (!service) return h("b", {}, "Node ", named(node));
  if (group.length > 1) return h("a", { href: href(service) }, plural(group.length, "instance"), " of ", named(service));
  return h("a", { href: href(service) }, named(id));
}

function said(change) {
  switch (change.kind) {
    case "registered": return "registered";
    case "deregistered": return "deregistered";
    case "reaped": return "removed: critical for too long";
    case "changed": return "changed";
    case "check-added": return h("span", {}, "has a new check, ", named(change.check), `: ${change.new}`);
    case "check-removed": return h("span", {}, "lost the check ", named(change.check));
    case "maintenance-on": return "in maintenance";
    case "maintenance-off": return "back from maintenance";
    default: return h("span", {}, h("b.now", { data: { status: change.new } }, (LABELS[change.new] ?? change.new).toLowerCase()), h("span.was", {}, `, was ${change.old}`));
  }
}

// One change as a sentence, to be spoken.
export function sentence(change) {
  const who = visible(change.id || `Node ${change.node}`).slice(0, 60);
  const what = said(change);
  return `${who} ${change.kind === "status" ? `is ${change.new}` : typeof what === "string" ? what : what.textContent}`;
}
