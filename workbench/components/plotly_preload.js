// The first chart of a tab waits until the browser has loaded Plotly, which is large. A page with charts loads it while
// the server computes them; any other page loads it after it has been drawn.

const POLL = 1000 // milliseconds between two checks whether the page has been drawn

export default function ({ data }) {
  if (!data.script || window.plotlyPreloaded) return
  window.plotlyPreloaded = true
  const app = document.querySelector("[data-testid=stApp]")
  const streamlitScript = document.querySelector("script[type=module][src]").src
  const load = () => import(new URL(data.script, streamlitScript))
  const loadWhenIdle = () =>
    app.dataset.testScriptState === "notRunning" ? load() : setTimeout(loadWhenIdle, POLL)
  data.now ? load() : setTimeout(loadWhenIdle, POLL)
}
