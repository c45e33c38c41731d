// A clip's exact frames under a finger, the arrow keys or the pointer; over each its Grad-CAM, below it the curves.
// Frames come as JPEGs of one stretch of the clip at a time; a frame outside it is asked of the server.

const SETTLED = 250 // milliseconds after the last step until the server (and the address) learn the frame
const HEIGHT = 74 // of the timeline, in CSS pixels

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".scrubber")
  const view = (root.view ??= new View(root))
  view.tell = setStateValue
  view.show(data)
  return () => view.stop()
}

class View {
  constructor(root) {
    this.root = root
    this.picture = root.querySelector(".picture")
    this.timeline = root.querySelector(".timeline")
    this.words = root.querySelector(".words")
    this.frame = 0
    const buttons = { first: -Infinity, back: -1, on: 1, last: Infinity }
    for (const [name, by] of Object.entries(buttons))
      root.querySelector(`.${name}`).onclick = () => this.go(this.frame + by)
    this.playing = null
    root.querySelector(".play").onclick = () => this.play()
    for (const [name, by] of Object.entries({ earlier: -1, later: 1 }))
      root.querySelector(`.${name}`).onclick = () => this.go(this.seenFrom(by))
    this.slider = root.querySelector(".slider")
    this.slider.onkeydown = (event) => this.key(event)
    const drag = (event) => this.go(this.frameAt(event.offsetX))
    this.timeline.onpointerdown = (event) => {
      this.timeline.setPointerCapture(event.pointerId)
      this.timeline.onpointermove = drag
      drag(event)
    }
    this.timeline.onpointerup = this.timeline.onpointercancel = () => (this.timeline.onpointermove = null)
    new ResizeObserver(() => this.data && this.draw()).observe(root)
  }

  show(data) {
    const other = !this.data || this.data.given !== data.given || this.data.clip !== data.clip
    if (!this.data || this.data.images !== data.images) {
      this.pictures = data.images.map((bytes) => {
        const image = new Image()
        image.src = `data:image/jpeg;base64,${bytes}`
        image.decode().then(() => this.draw(), () => {})
        return image
      })
    }
    this.data = data
    this.maps = Int8Array.from(atob(data.maps), (c) => c.charCodeAt(0))
    this.colours = Uint8Array.from(atob(data.colours), (c) => c.charCodeAt(0))
    if (other) this.frame = data.frame
    this.slider.setAttribute("aria-valuemax", data.count - 1)
    this.draw()
  }

  key(event) {
    const far = event.shiftKey ? 10 : 1
    const to = {
      ArrowRight: this.frame + far, ArrowUp: this.frame + far, ArrowLeft: this.frame - far,
      ArrowDown: this.frame - far, Home: 0, End: this.data.count - 1,
      PageUp: this.seenFrom(-1), PageDown: this.seenFrom(1),
    }[event.key]
    if (event.key === " ") this.play()
    else if (to !== undefined) this.go(to)
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  // The next frame that the network saw, before or after this one.
  seenFrom(by) {
    const { seen } = this.data
    const rest = by > 0 ? seen.filter((f) => f > this.frame) : seen.filter((f) => f < this.frame)
    return rest.length ? (by > 0 ? rest[0] : rest.at(-1)) : this.frame
  }

  go(frame) {
    this.frame = Math.max(0, Math.min(this.data.count - 1, Math.round(frame)))
    this.draw()
    clearTimeout(this.settling)
    const wait = this.here() ? SETTLED : 0
    if (!this.playing || wait === 0) this.settling = setTimeout(() => this.tell("frame", this.frame), wait)
  }

  play() {
    if (this.playing) return this.stop()
    const step = () => {
      if (this.here()?.complete) this.go((this.frame + 1) % this.data.count)
      this.playing = setTimeout(step, 1000 / this.data.rate)
    }
    this.playing = setTimeout(step, 0)
    this.draw()
  }

  stop() {
    if (!this.playing) return
    clearTimeout(this.playing)
    this.playing = null
    if (this.root.isConnected) this.go(this.frame)
  }

  here() {
    return this.pictures[this.frame - this.data.start]
  }

  draw() {
    const { data, frame } = this
    const image = this.here()
    const ready = Boolean(image?.complete && image.naturalWidth)
    this.picture.width = data.width
    this.picture.height = data.height
    this.picture.style.aspectRatio = `${data.width} / ${data.height}`
    this.root.classList.toggle("waiting", !ready)
    const pen = this.picture.getContext("2d", { willReadFrequently: true })
    if (ready) {
      pen.drawImage(image, 0, 0, data.width, data.height)
      this.heat(pen)
      this.last = frame
    }
    this.lines()
    this.say()
    this.root.dataset.frame = ready ? frame : "" // what is painted, for tests and screen readers' checks
  }

  // The map of this frame: its own if the network saw it, else what lies between its neighbours'.
  mapHere() {
    const { seen, rows, columns } = this.data
    const size = rows * columns
    let after = seen.findIndex((f) => f >= this.frame)
    if (after < 0) after = seen.length - 1
    const before = seen[after] > this.frame && after > 0 ? after - 1 : after
    const gap = seen[after] - seen[before]
    const share = gap > 0 ? (this.frame - seen[before]) / gap : 0
    const map = new Float32Array(size)
    for (let i = 0; i < size; i++) {
      const a = this.maps[before * size + i], b = this.maps[after * size + i]
      map[i] = (a + share * (b - a)) / 127
    }
    return map
  }

  heat(pen) {
    const { data, colours } = this
    const [top, left, bottom, right] = data.box
    const height = bottom - top, width = right - left
    if (data.opacity > 0) {
      const map = this.mapHere(), pixels = pen.getImageData(left, top, width, height), p = pixels.data
      const columns = places(width, data.columns, 1), rows = places(height, data.rows, data.columns)
      for (let y = 0; y < height; y++) {
        const [y0, y1, dy] = rows[y]
        for (let x = 0; x < width; x++) {
          const [x0, x1, dx] = columns[x]
          const up = map[y0 + x0] * (1 - dx) + map[y0 + x1] * dx
          const down = map[y1 + x0] * (1 - dx) + map[y1 + x1] * dx
          const value = up * (1 - dy) + down * dy
          const c = 3 * Math.round(127.5 * (1 + value)), a = data.opacity * Math.sqrt(Math.abs(value))
          const i = 4 * (y * width + x)
          for (let k = 0; k < 3; k++) p[i + k] += a * (colours[c + k] - p[i + k])
        }
      }
      pen.putImageData(pixels, left, top)
    }
    pen.strokeStyle = "#bebebe"
    pen.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1)

    // Of each pixel: the cell before, the cell after (as offsets into the map), and how far it is between them.
    function places(length, cells, stride) {
      return Array.from({ length }, (_, i) => {
        const at = Math.max(0, Math.min(cells - 1, ((i + 0.5) * cells) / length - 0.5))
        const low = Math.floor(at), high = Math.min(low + 1, cells - 1)
        return [low * stride, high * stride, at - low]
      })
    }
  }

  x(frame) {
    const count = Math.max(1, this.data.count - 1)
    return 8 + (frame / count) * (this.wide - 16)
  }

  frameAt(x) {
    return ((x - 8) / (this.wide - 16)) * (this.data.count - 1)
  }

  lines() {
    const { data } = this, scale = window.devicePixelRatio || 1
    const ink = getComputedStyle(this.root).color
    this.wide = this.timeline.clientWidth || 600
    this.timeline.width = this.wide * scale
    this.timeline.height = HEIGHT * scale
    const pen = this.timeline.getContext("2d")
    pen.scale(scale, scale)
    const low = HEIGHT - 12, high = 8
    pen.strokeStyle = pen.fillStyle = ink
    pen.globalAlpha = 0.45
    pen.fillRect(8, low, this.wide - 16, 1)
    for (const f of data.seen) pen.fillRect(this.x(f) - 1, low, 2, 8)
    pen.globalAlpha = 1
    for (const { values, colour, dash } of data.curves) {
      const peak = Math.max(...values.map(Math.abs)) || 1
      pen.strokeStyle = pen.fillStyle = colour
      pen.lineWidth = 2
      pen.setLineDash(dash)
      pen.beginPath()
      values.forEach((v, i) => pen.lineTo(this.x(data.seen[i]), low - (Math.max(0, v) / peak) * (low - high)))
      pen.stroke()
      pen.setLineDash([])
      values.forEach((v, i) => {
        pen.beginPath()
        pen.arc(this.x(data.seen[i]), low - (Math.max(0, v) / peak) * (low - high), 3, 0, 7)
        pen.fill()
      })
    }
    pen.fillStyle = ink
    pen.fillRect(this.x(this.frame) - 1, 0, 2, HEIGHT)
  }

  say() {
    const { data, frame } = this, at = data.seen.indexOf(frame)
    const parts = [`frame ${frame} of ${data.count}`, `${(frame / data.rate).toFixed(2)} s`]
    if (at < 0) parts.push("not seen by the network")
    else for (const { name, values, unit } of data.curves) parts.push(`${name} ${format(values[at], unit)}`)
    this.words.textContent = parts.join(" · ")
    this.slider.setAttribute("aria-valuenow", frame)
    this.slider.setAttribute("aria-valuetext", parts.join(", "))
    const play = this.root.querySelector(".play")
    play.textContent = this.playing ? "❚❚" : "▶"
    play.setAttribute("aria-label", this.playing ? "Pause" : "Play")

    function format(value, unit) {
      return unit === "share" ? `${(100 * value).toFixed(0)} %` : `${(Math.round(1000 * value) / 10 || 0).toFixed(1)} points`
    }
  }
}
