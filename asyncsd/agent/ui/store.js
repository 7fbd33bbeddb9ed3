// What the page knows of the registry, and who wants to hear of changes.

import { byTrouble, compare, count, statusOf, worst } from "./status.js";

const MOST_CHANGES = 200;

export class Store {
  constructor() {
    this.agent = null;
    this.heard = false; // whether there was a first update
    this.instances = new Map(); // by key
    this.services = new Map(); // by name: {name, instances: Map, tags, counts, status, list}
    this.changes = []; // newest first; `time` in ms of this page's clock
    this.fresh = new Map(); // by key: when it last changed
    this.listeners = new Set();
  }

  listen(listener) {
    this.listeners.add(listener);
  }

  take(name, data) {
    if (name === "agent") this.agent = data;
    else if (name === "update") this.#update(data);
    else return;
    for (const listener of this.listeners) listener();
  }

  #update({ whole, put, drop, changes }) {
    const before = whole ? this.instances : null;
    const now = performance.now();
    const touched = new Set();
    if (whole) {
      this.instances = new Map();
      this.services = new Map();
      this.changes = [];
      this.fresh.clear();
    }
    for (const key of drop) this.#remove(key, touched);
    for (const instance of put) {
      const old = this.instances.get(instance.key) ?? before?.get(instance.key);
      this.#remove(instance.key, touched);
      instance.status = statusOf(instance);
      this.instances.set(instance.key, instance);
      this.#service(instance.service).instances.set(instance.key, instance);
      touched.add(instance.service);
      // Only what one sees the difference of: a new output alone isn't worth a highlight.
      if (this.heard && (!whole || before.size) && (!old || old.status !== instance.status)) this.fresh.set(instance.key, now);
    }
    for (const name of touched) this.#summarise(name);
    const received = Date.now();
    for (const change of changes) this.changes.unshift({ ...change, time: received - change.age * 1000 });
    this.changes.length = Math.min(this.changes.length, MOST_CHANGES);
    this.heard = true;
  }

  #service(name) {
    let service = this.services.get(name);
    if (!service) this.services.set(name, (service = { name, instances: new Map() }));
    return service;
  }

  #remove(key, touched) {
    const old = this.instances.get(key);
    if (!old) return;
    this.instances.delete(key);
    this.fresh.delete(key);
    this.services.get(old.service).instances.delete(key);
    touched.add(old.service);
  }

  #summarise(name) {
    const service = this.services.get(name);
    if (!service.instances.size) {
      this.services.delete(name);
      return;
    }
    service.list = [...service.instances.values()].sort(byTrouble);
    service.tags = [...new Set(service.list.flatMap((instance) => instance.tags))].sort(compare);
    service.counts = count(service.list);
    service.status = worst(service.counts);
  }

  // The services by name.
  sorted() {
    return [...this.services.values()].sort((one, other) => compare(one.name, other.name));
  }

  // Whether nobody but the agent itself is registered.
  get empty() {
    return this.heard && [...this.services.keys()].every((name) => name === "consul");
  }
}
