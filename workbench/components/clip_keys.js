// The Clip page's keys, and the window that shows them. A key does what a click on its link or button does.

const TYPED = "textarea, select, [contenteditable=true], [role=textbox], [role=combobox], [role=spinbutton], " +
  "input:not([type=checkbox], [type=radio], [type=range], [type=button], [type=submit])"
const PATIENCE = 3000 // milliseconds until a field that a key opens is there

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".clip-keys")
  const window_ = root.querySelector("dialog")
  root.querySelector("button").onclick = () => window_.showModal()
  root.querySelector("table").replaceChildren(...data.keys.map(row))
  if (root.listener) removeEventListener("keydown", root.listener, true)
  root.listener = (event) => pressed(event, data.keys, root, window_)
  addEventListener("keydown", root.listener, true) // before Streamlit's own keys
  return () => removeEventListener("keydown", root.listener, true)
}

function row({ key, does }) {
  const line = document.createElement("tr"), [name, what] = ["th", "td"].map((tag) => document.createElement(tag))
  name.scope = "row"
  name.textContent = key
  what.textContent = does
  line.append(name, what)
  return line
}

function pressed(event, keys, root, window_) {
  if (!root.isConnected) return removeEventListener("keydown", root.listener, true)
  const from = event.composedPath()[0]
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || from.closest?.(TYPED)) return
  const found = keys.find(({ key, click }) => key === event.key && click !== undefined)
  if (!found || document.querySelector("[role=dialog]") || (window_.open && found.key !== "?")) return
  event.preventDefault()
  event.stopPropagation()
  if (event.repeat) return
  if (found.key === "?") return window_.open ? window_.close() : window_.showModal()
  const target = document.querySelector(found.click)
  if (!target || target.disabled || target.getAttribute("aria-disabled") === "true") return
  target.click()
  if (found.focus) focusWhenThere(found.focus, performance.now() + PATIENCE)
}

function focusWhenThere(selector, last) {
  const field = document.querySelector(selector)
  if (field) field.focus()
  else if (performance.now() < last) requestAnimationFrame(() => focusWhenThere(selector, last))
}
