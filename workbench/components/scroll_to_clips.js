// What a click on a plot opens may lie below the screen: scroll until its first row is seen, once for the same clips.
export default function ({ data }) {
  if (window.sthOpened === data.clips) return
  window.sthOpened = data.clips
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"
  document.querySelector(`.${data.card}`)?.scrollIntoView({ block: "nearest", behavior })
}
