// A list that is one stop of the Tab key, with arrows inside it: WAI-ARIA's "roving tabindex".

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

// Items have tabIndex -1 until the function that comes back is called, after each rendering. `entry`, a field
// above the list, is where its first item is reached from, and where ArrowUp leads from it.
export function roving(list, selector, entry = null) {
  let stop = null;

  const items = () => [...list.querySelectorAll(selector)];

  function settle(item) {
    if (stop && stop !== item) stop.tabIndex = -1;
    stop = item ?? null;
    if (stop) stop.tabIndex = 0;
  }

  list.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) settle(item);
  });
  list.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const item = event.target.closest(selector);
    if (step === undefined || !item || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const all = items();
    const place = all.indexOf(item) + step;
    if (place < 0 && step === -1 && entry) entry.focus();
    else all[Math.max(0, Math.min(all.length - 1, place))].focus();
  });
  entry?.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    const first = list.querySelector(selector);
    if (!first) return;
    event.preventDefault();
    first.focus();
    if (event.key === "Enter") first.click();
  });

  return () => {
    if (stop && list.contains(stop)) return;
    settle(list.querySelector(`${selector}[aria-current]`) ?? list.querySelector(selector));
  };
}
