// What to type for a first service: shown while there is none.

import { h } from "./dom.js";

// With `token`, the agent asks for one, which has to be in the command.
export function howTo(token) {
  const { origin, host } = location;
  return [
    h("h2", {}, "Nothing is registered yet"),
    h("p", {}, "Register a service, and it appears here at once. From a shell:"),
    code(`curl -X PUT ${origin}/v1/agent/service/register \\\n${token ? `  -H "X-Consul-Token: $TOKEN" \\\n` : ""}  -d '{"Name": "web", "Address": "127.0.0.1", "Port": 8080, "Tags": ["v1"]}'`, "shell command"),
    h("p", {}, "Or from a program, for as long as it runs:"),
    code(`from asyncsd import Discovery, Registration\n\nme = Registration(service="web", port=8080)\nasync with Discovery.from_url("consul://${host}${token ? "?token_file=token" : ""}") as sd:\n    async with sd.register(me):\n        ...`, "Python code"),
  ];
}

function code(text, what) {
  const shown = h("code", {}, text);
  const button = h("button.plain", { type: "button", "aria-label": `Copy the ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // There is no clipboard for a page that isn't on localhost or https: selected, Ctrl+C takes it.
      getSelection().selectAllChildren(shown);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return h("div.code", {}, h("pre", { tabIndex: 0, role: "region", "aria-label": what }, shown), button);
}
