// Streamlit adds an entry to the browser's history for each change of the URL, and two entries for a link to another
// page. Here Back returns to the previous view: another page, run, clip, cell, or stop of the tour.

const VIEW_KEYS = ["run", "clip", "with", "a", "b", "label", "said", "tour"]
const FILLED_IN = { clip: ["run", "clip"], compare: ["a", "b"] } // what a page adds to a URL that lacks it
const OPENING = 2000 // milliseconds in which a page that was just opened completes its URL

export default function () {
  if (history.patched) return
  history.patched = true
  const push = history.pushState.bind(history)
  let opened = -OPENING // when the current page was opened
  let pending = null // the path of a page whose query, but not yet its path, has changed
  history.pushState = (state, title, url) => {
    const from = new URL(location.href), to = new URL(url ?? from, from)
    const now = performance.now(), otherPage = from.pathname !== to.pathname
    const replaces = otherPage
      ? pending === from.pathname && from.search === to.search
      : !isNewView(from, to, now - opened < OPENING)
    pending = otherPage ? null : from.pathname
    if (otherPage) opened = now
    return replaces ? history.replaceState(state, title, url) : push(state, title, url)
  }
}

function isNewView(from, to, opening) {
  const changed = (key) => String(from.searchParams.getAll(key)) !== String(to.searchParams.getAll(key))
  const filledIn = FILLED_IN[from.pathname.split("/").pop()] ?? ["run"]
  const completes = (key) => !from.searchParams.has(key) && (opening || filledIn.includes(key))
  return VIEW_KEYS.some((key) => changed(key) && !completes(key))
}
