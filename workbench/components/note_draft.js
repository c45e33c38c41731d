// A note is kept in the browser with each letter until it is saved, so that another page, a reload or a closed tab does
// not lose it: Streamlit sends a text to the server only once the box loses the focus.

const BOX = ".st-key-note_box textarea"
const opened = (window.sthNote ??= {}) // the note in the box, to which what is typed belongs

export default function ({ data, setStateValue }) {
  const key = `sth note ${data.key}`
  if (!opened.key) document.addEventListener("input", keep, true)
  Object.assign(opened, { key, version: data.version })
  const kept = JSON.parse(localStorage.getItem(key))
  if (!kept) return
  if (kept.text === data.saved) localStorage.removeItem(key)
  else if (kept.text !== data.text && document.querySelector(BOX)?.value !== kept.text) setStateValue("kept", kept)
}

function keep({ target }) {
  if (!target.matches?.(BOX)) return
  localStorage.setItem(opened.key, JSON.stringify({ text: target.value, version: opened.version }))
}
