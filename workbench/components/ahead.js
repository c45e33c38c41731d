// A tab's first chart waits until the browser has Plotly, which is large. A page without any loads it once that page is
// drawn, for the next one.

const QUIET = 1000 // milliseconds after which a page is looked at, and not used

export default function ({ data }) {
  if (!data.script || window.sthAhead) return
  window.sthAhead = true
  const app = document.querySelector("[data-testid=stApp]")
  const beside = document.querySelector("script[type=module][src]").src
  const load = () => {
    if (app.dataset.testScriptState === "notRunning") import(new URL(data.script, beside))
    else setTimeout(load, QUIET)
  }
  setTimeout(load, QUIET)
}
