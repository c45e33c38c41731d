// A tab's first chart waits until the browser has Plotly, which is large. A page with charts loads it while the server
// computes them; another page once it is drawn, for the next one.

const QUIET = 1000 // milliseconds after which a page is looked at, and not used

export default function ({ data }) {
  if (!data.script || window.sthAhead) return
  window.sthAhead = true
  const app = document.querySelector("[data-testid=stApp]")
  const beside = document.querySelector("script[type=module][src]").src
  const load = () => import(new URL(data.script, beside))
  const whenQuiet = () => app.dataset.testScriptState === "notRunning" ? load() : setTimeout(whenQuiet, QUIET)
  data.now ? load() : setTimeout(whenQuiet, QUIET)
}
