// Streamlit adds a step to the browser's history for each change of the address, and takes two of them for one link to
// another page. Back should take a person to the view before: another page, run, clip, cell, or step of the tour.

const STEPS = ["run", "clip", "a", "b", "label", "said", "tour"]
const OWN = { clip: ["run", "clip"], compare: ["a", "b"] } // what a page adds when it was opened without it
const SOON = 2000 // milliseconds in which a page that was just opened completes its address

export default function ({ data }) {
  for (const cookie of data.cookies) document.cookie = cookie
  if (history.ours) return
  history.ours = true
  const push = history.pushState.bind(history)
  let opened = -SOON // when another page was opened
  let half = null // the page of which the query, and not yet the path, was changed
  history.pushState = (state, title, address) => {
    const from = new URL(location.href), to = new URL(address ?? from, from)
    const now = performance.now(), other = from.pathname !== to.pathname
    const replaces = other ? half === from.pathname && from.search === to.search : !isStep(from, to, now - opened < SOON)
    half = other ? null : from.pathname
    if (other) opened = now
    return replaces ? history.replaceState(state, title, address) : push(state, title, address)
  }
}

function isStep(from, to, fresh) {
  const changed = (key) => String(from.searchParams.getAll(key)) !== String(to.searchParams.getAll(key))
  const own = OWN[from.pathname.split("/").pop()] ?? ["run"]
  const completes = (key) => !from.searchParams.has(key) && (fresh || own.includes(key))
  return STEPS.some((key) => changed(key) && !completes(key))
}
