// A clip frame by frame, with Grad-CAM over each frame and curves below, for keyboard, pointer and touch. It has one
// view, or the views of two networks, which show the same frame.
// Frames arrive as JPEGs, one chunk of the clip at a time; a frame outside the chunk is requested from the server.

const DELAY = 250 // milliseconds from the last step until the server and the URL get the frame
const TOGETHER = 50 // milliseconds in which Streamlit may join what is sent to one request
const ACTS = ["pointerdown", "keydown", "click", "change"] // of a person, by which Streamlit's widgets send too
const HEIGHT = 66, MARGIN = 8 // of a view's timeline, in CSS pixels

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".scrubber")
  const view = (root.view ??= new Scrubber(root))
  view.sendState = setStateValue
  view.show(data)
  return () => view.stop()
}

class Scrubber {
  frame = 0
  timer = null // set while the clip plays

  constructor(root) {
    const part = (name) => root.querySelector(`.${name}`)
    this.root = root
    for (const name of ["slider", "pictures", "timeline", "status", "play"]) this[name] = part(name)
    const clicks = {
      first: () => this.go(0), last: () => this.go(this.data.count - 1), play: () => this.playOrPause(),
      previous: () => this.go(this.frame - 1), next: () => this.go(this.frame + 1),
      "previous-input": () => this.go(this.inputFrame(-1)), "next-input": () => this.go(this.inputFrame(1)),
    }
    for (const [name, click] of Object.entries(clicks)) part(name).onclick = click
    this.slider.onkeydown = (event) => this.key(event)
    const drag = ({ offsetX }) => this.go(((offsetX - MARGIN) / this.timelineLength) * (this.data.count - 1))
    this.timeline.onpointerdown = (event) => {
      this.timeline.setPointerCapture(event.pointerId)
      this.timeline.onpointermove = drag
      drag(event)
    }
    this.timeline.onpointerup = this.timeline.onpointercancel = () => (this.timeline.onpointermove = null)
    new ResizeObserver(() => this.data && this.draw()).observe(root)
    const acted = (event) => {
      if (!root.isConnected) ACTS.forEach((kind) => removeEventListener(kind, acted, true))
      else if (!event.composedPath().includes(root)) this.acted()
    }
    ACTS.forEach((kind) => addEventListener(kind, acted, true))
  }

  show(data) {
    const old = this.data
    this.data = data
    this.views = data.views.map((view, i) => this.viewOf(view, old?.views[i], this.views?.[i]))
    if (this.pictures.children.length !== this.views.length) this.makePictures()
    this.views.forEach(({ name }, i) => (this.pictures.children[i].querySelector("figcaption").textContent = name))
    if (old?.request !== data.request || old.clip !== data.clip) this.frame = data.frame
    this.slider.setAttribute("aria-valuemax", data.count - 1)
    this.draw()
  }

  makePictures() {
    this.pictures.replaceChildren(...this.views.map(() => {
      const [figure, name, canvas] = ["figure", "figcaption", "canvas"].map((tag) => document.createElement(tag))
      canvas.className = "picture"
      figure.append(name, canvas)
      return figure
    }))
  }

  // What the server sent of a view, decoded.
  viewOf(view, old, shown) {
    const same = old?.images.length === view.images.length && view.images.every((uri, i) => uri === old.images[i])
    return {
      ...view,
      images: same ? shown.images : view.images.map((uri) => this.decode(uri)),
      maps: Int8Array.from(atob(view.maps), (c) => c.charCodeAt(0)),
      colours: Uint8Array.from(atob(view.colours), (c) => c.charCodeAt(0)),
    }
  }

  decode(uri) {
    const image = new Image()
    image.src = uri
    image.decode().then(() => this.draw(), () => {})
    return image
  }

  key(event) {
    const step = event.shiftKey ? 10 : 1
    const target = {
      ArrowRight: this.frame + step, ArrowUp: this.frame + step, ArrowLeft: this.frame - step,
      ArrowDown: this.frame - step, Home: 0, End: this.data.count - 1,
      PageUp: this.inputFrame(-1), PageDown: this.inputFrame(1),
    }[event.key]
    if (event.key === " ") this.playOrPause()
    else if (target !== undefined) this.go(target)
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  // The nearest input frame of a network after this frame (by = 1) or before it (by = -1).
  inputFrame(by) {
    const inputs = this.views.flatMap((view) => view.inputs).sort((a, b) => a - b)
    const next = by > 0 ? inputs.find((f) => f > this.frame) : inputs.findLast((f) => f < this.frame)
    return next ?? this.frame
  }

  go(frame) {
    this.frame = Math.max(0, Math.min(this.data.count - 1, Math.round(frame)))
    this.draw()
    const delay = this.image ? DELAY : 0
    if (!this.timer || delay === 0) this.sendLater(delay)
    else this.waiting = clearTimeout(this.waiting)
  }

  sendLater(delay) {
    clearTimeout(this.waiting)
    this.waiting = setTimeout(() => {
      this.waiting = null
      this.send("frame", this.frame)
    }, delay)
  }

  send(name, value) {
    this.sendState(name, value)
    clearTimeout(this.sending)
    this.sending = setTimeout(() => (this.sending = null), TOGETHER)
  }

  // Of two fragments whose widgets send together, Streamlit draws one: what a person clicked must not be the other.
  acted() {
    if (this.waiting) this.sendLater(DELAY)
    if (!this.sending) return
    clearTimeout(this.sending) // the click came between sending and the request: then all is drawn anew
    this.sending = setTimeout(() => this.send("redraw", Date.now()), TOGETHER)
  }

  playOrPause() {
    if (this.timer) return this.stop()
    const step = () => {
      if (this.image?.complete) this.go((this.frame + 1) % this.data.count)
      this.timer = setTimeout(step, 1000 / this.data.rate)
    }
    this.timer = setTimeout(step, 0)
    this.draw()
  }

  stop() {
    if (!this.timer) return
    clearTimeout(this.timer)
    this.timer = null
    if (this.root.isConnected) this.go(this.frame)
  }

  get image() {
    return this.imageOf(this.views[0])
  }

  imageOf(view) {
    return view.images[this.frame - this.data.start]
  }

  draw() {
    const all = this.views.map((view, i) => this.drawPicture(view, this.pictures.querySelectorAll(".picture")[i]))
    const ready = all.every(Boolean)
    this.root.classList.toggle("loading", !ready)
    this.drawTimeline()
    this.updateStatus()
    this.root.dataset.frame = ready ? this.frame : "" // for tests
  }

  // Whether the frame is there.
  drawPicture(view, picture) {
    const image = this.imageOf(view), { width, height } = view
    Object.assign(picture, { width, height })
    picture.style.setProperty("--ratio", width / height)
    if (!image?.complete || !image.naturalWidth) return false
    const pen = picture.getContext("2d", { willReadFrequently: true })
    pen.drawImage(image, 0, 0, width, height)
    this.drawMap(pen, view)
    return true
  }

  // The map of this frame, in [-1, 1]; between two input frames, the interpolated one; far from all of them, none.
  currentMap({ inputs, reach, rows, columns, maps }) {
    const size = rows * columns
    if (this.frame < inputs[0] - reach || this.frame > inputs.at(-1) + reach) return new Float32Array(size)
    let after = inputs.findIndex((f) => f >= this.frame)
    if (after < 0) after = inputs.length - 1
    const before = inputs[after] > this.frame && after > 0 ? after - 1 : after
    const share = (this.frame - inputs[before]) / (inputs[after] - inputs[before] || Infinity)
    const [a, b] = [before, after].map((i) => maps.subarray(i * size, (i + 1) * size))
    return Float32Array.from(a, (value, i) => (value + share * (b[i] - value)) / 127)
  }

  drawMap(pen, view) {
    const { colours, opacity } = view, [top, left, bottom, right] = view.box
    const height = bottom - top, width = right - left
    if (opacity > 0) {
      const map = this.currentMap(view), pixels = pen.getImageData(left, top, width, height), p = pixels.data
      const columns = nearestCells(width, view.columns, 1), rows = nearestCells(height, view.rows, view.columns)
      let i = 0
      for (const [y0, y1, dy] of rows) {
        for (const [x0, x1, dx] of columns) {
          const up = map[y0 + x0] * (1 - dx) + map[y0 + x1] * dx
          const down = map[y1 + x0] * (1 - dx) + map[y1 + x1] * dx
          const value = up * (1 - dy) + down * dy
          const c = 3 * Math.round(127.5 * (1 + value)), a = opacity * Math.sqrt(Math.abs(value))
          for (let k = 0; k < 3; k++) p[i + k] += a * (colours[c + k] - p[i + k])
          i += 4
        }
      }
      pen.putImageData(pixels, left, top)
    }
    pen.strokeStyle = "#bebebe"
    pen.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1)
  }

  // Below each other, for each view: its curves, each up to its maximum, over ticks at the input frames.
  drawTimeline() {
    const { timeline } = this, scale = window.devicePixelRatio || 1, width = timeline.clientWidth || 600
    const height = HEIGHT * this.views.length, textColour = getComputedStyle(this.root).color
    this.timelineLength = width - 2 * MARGIN
    timeline.style.height = `${height}px`
    Object.assign(timeline, { width: width * scale, height: height * scale })
    const pen = timeline.getContext("2d")
    pen.scale(scale, scale)
    this.views.forEach((view, i) => this.drawCurves(pen, view, i * HEIGHT, textColour))
    pen.fillStyle = textColour
    pen.fillRect(this.xOf(this.frame) - 1, 0, 2, height)
  }

  xOf(frame) {
    return MARGIN + (frame / Math.max(1, this.data.count - 1)) * this.timelineLength
  }

  drawCurves(pen, { inputs, curves }, top, textColour) {
    const low = top + HEIGHT - 12, high = top + 8
    pen.fillStyle = textColour
    pen.globalAlpha = 0.45
    pen.fillRect(MARGIN, low, this.timelineLength, 1)
    for (const f of inputs) pen.fillRect(this.xOf(f) - 1, low, 2, 8)
    pen.globalAlpha = 1
    for (const { values, colour, dash } of curves) {
      const peak = Math.max(...values.map(Math.abs)) || 1
      const points = values.map((v, i) => [this.xOf(inputs[i]), low - (Math.max(0, v) / peak) * (low - high)])
      const line = new Path2D(), dots = new Path2D()
      for (const [x, y] of points) {
        line.lineTo(x, y)
        dots.moveTo(x, y)
        dots.arc(x, y, 3, 0, 2 * Math.PI)
      }
      pen.strokeStyle = pen.fillStyle = colour
      pen.lineWidth = 2
      pen.setLineDash(dash)
      pen.stroke(line)
      pen.fill(dots)
    }
  }

  updateStatus() {
    const { data, frame } = this
    const parts = [`frame ${frame} of ${data.count}`, `${(frame / data.rate).toFixed(2)} s`]
    for (const { name, inputs, curves } of this.views) {
      const at = inputs.indexOf(frame), of = name && `${name.split(":")[0]}: `
      if (at < 0) parts.push(`${of}not an input frame`)
      else parts.push(of + curves.map(({ name, values, unit }) => `${name} ${format(values[at], unit)}`).join(" · "))
    }
    this.status.textContent = parts.join(" · ")
    this.slider.setAttribute("aria-valuenow", frame)
    this.slider.setAttribute("aria-valuetext", parts.join(", "))
    this.play.textContent = this.timer ? "❚❚" : "▶"
    this.play.setAttribute("aria-label", this.timer ? "Pause" : "Play")
  }
}

// Bilinear interpolation along one axis: for each pixel the two nearest cells, as offsets into the map, and the weight
// of the second.
function nearestCells(length, count, stride) {
  return Array.from({ length }, (_, i) => {
    const at = Math.max(0, Math.min(count - 1, ((i + 0.5) * count) / length - 0.5)), low = Math.floor(at)
    return [low * stride, Math.min(low + 1, count - 1) * stride, at - low]
  })
}

function format(value, unit) {
  return unit === "share" ? `${(100 * value).toFixed(0)} %` : `${(Math.round(1000 * value) / 10 || 0).toFixed(1)} points`
}
