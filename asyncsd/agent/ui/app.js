// The page: what the stream says goes to the store, and the views show it, at most once a frame.

import { Announcer } from "./announcer.js";
import { Connection } from "./connection.js";
import { eachFrame, setText, visible } from "./dom.js";
import { Overview } from "./overview.js";
import { chosen } from "./router.js";
import { Services } from "./services.js";
import { ServiceView } from "./service.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { theme } from "./theme.js";
import { Timeline } from "./timeline.js";

const store = new Store();
const stream = new Stream("events", {
  event(name, data) {
    store.take(name, data);
    announcer.look();
  },
  state(name, detail) {
    connection.state(name, detail);
  },
});
const connection = new Connection(stream);
const main = document.getElementById("main");
const where = document.getElementById("where");

const render = eachFrame(() => {
  view.render();
  services.render();
  timeline.render(view.name ?? null);
  if (store.agent) setText(where, visible(`${store.agent.node} · ${store.agent.dc}`));
});

const services = new Services(store);
const timeline = new Timeline(store);
const announcer = new Announcer(store);
const overview = new Overview(store, stream);
let view = overview;

function route({ focus = true } = {}) {
  const name = chosen();
  view = name === null ? overview : new ServiceView(name, store, { render, findTag });
  document.body.dataset.view = name === null ? "overview" : "service";
  document.title = `${view.label ?? "Services"} · asyncsd agent`;
  main.replaceChildren(view.element);
  view.render();
  render();
  if (!focus) return;
  // As a new page would: those who listen hear its title.
  view.title.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function findTag(tag) {
  services.filter.set(`tag:${tag.replace(/\s.*/s, "").toLowerCase()}`);
  services.filter.input.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, dialog")) return;
  event.preventDefault();
  if (document.body.dataset.view === "service" && !services.filter.input.checkVisibility()) location.hash = "#/";
  services.filter.input.focus();
  services.filter.input.select();
});

// Its fragment isn't a view.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

store.listen(render);
addEventListener("hashchange", () => route());
theme();
route({ focus: false });
stream.connect();
