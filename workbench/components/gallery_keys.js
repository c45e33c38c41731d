// Choosing clips of a gallery: a click on a picture ticks its clip, with Shift all clips from the last one on. Keys work
// where the focus or the pointer is in a gallery, and nothing is being typed.

const GALLERY = '[class*="st-key-gallery_of_"]', CARD = '[class*="st-key-card_of_"]'
const BOX = 'input[type="checkbox"]', TYPED = "input:not([type='checkbox']), textarea, select, [contenteditable]"
const BUTTONS = { a: "all", Escape: "none", u: "undo" } // the end of a button's key
const TAGS = { w: "wrong label", x: "exclude" }
let last = null // the clip that was ticked last, by its name: its box may be another element by now
let shift = false
let extending = false

export default function () {
  if (window.sthGallery) return
  window.sthGallery = true
  document.addEventListener("pointerdown", (event) => (shift = event.shiftKey), true)
  document.addEventListener("mousedown", keepText, true)
  document.addEventListener("click", tick, true)
  document.addEventListener("keydown", act, true)
}

function keepText(event) { // Shift and a click would select the text between
  if (event.shiftKey && event.target.closest?.(CARD)) event.preventDefault()
}

function tick(event) {
  if (extending) return
  const gallery = event.target.closest?.(GALLERY), card = event.target.closest?.(CARD)
  if (!gallery || !card) return
  const box = card.querySelector(BOX)
  if (!box) return
  if (event.target.matches(".thumbnail")) toggle(gallery, box)
  else if (box.closest("label")?.contains(event.target)) setTimeout(() => extend(gallery, box)) // it is ticked by then
}

function toggle(gallery, box) {
  extending = true
  box.click()
  extending = false
  setTimeout(() => extend(gallery, box))
}

function clipOf(box) {
  const card = box.closest(CARD)
  return card.querySelector(".thumbnail")?.getAttribute("aria-label") ?? card.className
}

function extend(gallery, box) { // with Shift: all from the last one on become as this one is
  const boxes = [...gallery.querySelectorAll(BOX)].filter((one) => one.closest(CARD))
  const [from, to] = [boxes.findIndex((one) => clipOf(one) === last), boxes.indexOf(box)].sort((a, b) => a - b)
  if (shift && from >= 0) {
    extending = true
    for (const one of boxes.slice(from, to + 1)) if (one !== box && one.checked !== box.checked) one.click()
    extending = false
  }
  last = clipOf(box)
}

function act(event) {
  const { key, target } = event
  shift = event.shiftKey
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches?.(TYPED)) return
  const gallery = target.closest?.(GALLERY) ?? [...document.querySelectorAll(GALLERY)].find((one) => one.matches(":hover"))
  if (!gallery) return
  if ((key === "Enter" || key === " ") && target.matches(".thumbnail")) {
    const box = target.closest(CARD)?.querySelector(BOX)
    if (!box) return
    toggle(gallery, box)
  } else if (key in BUTTONS) {
    const button = gallery.querySelector(`[class*="st-key-${BUTTONS[key]}_of_"] button`)
    if (!button || button.disabled) return
    button.click()
  } else if (key === "t") {
    const box = gallery.querySelector('[class*="st-key-tag_of_"] input')
    if (!box) return
    box.focus()
  } else if (key in TAGS) {
    const tags = [...gallery.querySelectorAll('[class*="st-key-tags_of_"] button')]
    const button = tags.find((one) => one.textContent.trim() === TAGS[key])
    if (!button) return
    button.click()
  } else return
  event.preventDefault()
  event.stopImmediatePropagation()
}
