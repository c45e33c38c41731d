// A clip frame by frame, with Grad-CAM over each frame and curves below, for keyboard, pointer and touch.
// Frames arrive as JPEGs, one chunk of the clip at a time; a frame outside the chunk is requested from the server.

const DELAY = 250 // milliseconds from the last step until the server and the URL get the frame
const HEIGHT = 74, MARGIN = 8 // of the timeline, in CSS pixels

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".scrubber")
  const view = (root.view ??= new Scrubber(root))
  view.sendState = setStateValue
  view.show(data)
  return () => view.stop()
}

class Scrubber {
  constructor(root) {
    this.root = root
    this.picture = root.querySelector(".picture")
    this.timeline = root.querySelector(".timeline")
    this.status = root.querySelector(".status")
    this.frame = 0
    const buttons = { first: -Infinity, previous: -1, next: 1, last: Infinity }
    for (const [name, by] of Object.entries(buttons))
      root.querySelector(`.${name}`).onclick = () => this.go(this.frame + by)
    this.timer = null // set while the clip plays
    root.querySelector(".play").onclick = () => this.play()
    for (const [name, by] of Object.entries({ "previous-input": -1, "next-input": 1 }))
      root.querySelector(`.${name}`).onclick = () => this.go(this.inputFrame(by))
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
    const requested = this.data?.request !== data.request || this.data?.clip !== data.clip
    if (!this.data || this.data.images !== data.images) {
      this.images = data.images.map((bytes) => {
        const image = new Image()
        image.src = `data:image/jpeg;base64,${bytes}`
        image.decode().then(() => this.draw(), () => {})
        return image
      })
    }
    this.data = data
    this.maps = Int8Array.from(atob(data.maps), (c) => c.charCodeAt(0))
    this.colours = Uint8Array.from(atob(data.colours), (c) => c.charCodeAt(0))
    if (requested) this.frame = data.frame
    this.slider.setAttribute("aria-valuemax", data.count - 1)
    this.draw()
  }

  key(event) {
    const step = event.shiftKey ? 10 : 1
    const target = {
      ArrowRight: this.frame + step, ArrowUp: this.frame + step, ArrowLeft: this.frame - step,
      ArrowDown: this.frame - step, Home: 0, End: this.data.count - 1,
      PageUp: this.inputFrame(-1), PageDown: this.inputFrame(1),
    }[event.key]
    if (event.key === " ") this.play()
    else if (target !== undefined) this.go(target)
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  // The nearest input frame of the network after this frame (by = 1) or before it (by = -1).
  inputFrame(by) {
    const { inputs } = this.data
    const next = by > 0 ? inputs.find((f) => f > this.frame) : inputs.findLast((f) => f < this.frame)
    return next ?? this.frame
  }

  go(frame) {
    this.frame = Math.max(0, Math.min(this.data.count - 1, Math.round(frame)))
    this.draw()
    clearTimeout(this.sending)
    const delay = this.image ? DELAY : 0
    if (!this.timer || delay === 0) this.sending = setTimeout(() => this.sendState("frame", this.frame), delay)
  }

  play() {
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
    return this.images[this.frame - this.data.start]
  }

  draw() {
    const { data, frame, image } = this
    const ready = Boolean(image?.complete && image.naturalWidth)
    this.picture.width = data.width
    this.picture.height = data.height
    this.picture.style.aspectRatio = `${data.width} / ${data.height}`
    this.root.classList.toggle("loading", !ready)
    const pen = this.picture.getContext("2d", { willReadFrequently: true })
    if (ready) {
      pen.drawImage(image, 0, 0, data.width, data.height)
      this.drawMap(pen)
    }
    this.drawTimeline()
    this.updateStatus()
    this.root.dataset.frame = ready ? frame : "" // for tests
  }

  // The map of this frame; between two input frames, the interpolated one.
  currentMap() {
    const { inputs, rows, columns } = this.data
    const size = rows * columns
    let after = inputs.findIndex((f) => f >= this.frame)
    if (after < 0) after = inputs.length - 1
    const before = inputs[after] > this.frame && after > 0 ? after - 1 : after
    const gap = inputs[after] - inputs[before]
    const share = gap > 0 ? (this.frame - inputs[before]) / gap : 0
    const map = new Float32Array(size)
    for (let i = 0; i < size; i++) {
      const a = this.maps[before * size + i], b = this.maps[after * size + i]
      map[i] = (a + share * (b - a)) / 127
    }
    return map
  }

  drawMap(pen) {
    const { data, colours } = this
    const [top, left, bottom, right] = data.box
    const height = bottom - top, width = right - left
    if (data.opacity > 0) {
      const map = this.currentMap(), pixels = pen.getImageData(left, top, width, height), p = pixels.data
      const columns = cells(width, data.columns, 1), rows = cells(height, data.rows, data.columns)
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

    // Bilinear interpolation along one axis: for each pixel the two nearest cells, as offsets into the map, and the
    // weight of the second.
    function cells(length, count, stride) {
      return Array.from({ length }, (_, i) => {
        const at = Math.max(0, Math.min(count - 1, ((i + 0.5) * count) / length - 0.5))
        const low = Math.floor(at), high = Math.min(low + 1, count - 1)
        return [low * stride, high * stride, at - low]
      })
    }
  }

  x(frame) {
    const count = Math.max(1, this.data.count - 1)
    return MARGIN + (frame / count) * (this.timelineWidth - 2 * MARGIN)
  }

  frameAt(x) {
    return ((x - MARGIN) / (this.timelineWidth - 2 * MARGIN)) * (this.data.count - 1)
  }

  drawTimeline() {
    const { data } = this, scale = window.devicePixelRatio || 1
    const textColour = getComputedStyle(this.root).color
    this.timelineWidth = this.timeline.clientWidth || 600
    this.timeline.width = this.timelineWidth * scale
    this.timeline.height = HEIGHT * scale
    const pen = this.timeline.getContext("2d")
    pen.scale(scale, scale)
    const low = HEIGHT - 12, high = 8
    pen.strokeStyle = pen.fillStyle = textColour
    pen.globalAlpha = 0.45
    pen.fillRect(MARGIN, low, this.timelineWidth - 2 * MARGIN, 1)
    for (const f of data.inputs) pen.fillRect(this.x(f) - 1, low, 2, 8)
    pen.globalAlpha = 1
    for (const { values, colour, dash } of data.curves) {
      const peak = Math.max(...values.map(Math.abs)) || 1
      pen.strokeStyle = pen.fillStyle = colour
      pen.lineWidth = 2
      pen.setLineDash(dash)
      pen.beginPath()
      const points = values.map((v, i) => [this.x(data.inputs[i]), low - (Math.max(0, v) / peak) * (low - high)])
      for (const point of points) pen.lineTo(...point)
      pen.stroke()
      pen.setLineDash([])
      for (const point of points) {
        pen.beginPath()
        pen.arc(...point, 3, 0, 2 * Math.PI)
        pen.fill()
      }
    }
    pen.fillStyle = textColour
    pen.fillRect(this.x(this.frame) - 1, 0, 2, HEIGHT)
  }

  updateStatus() {
    const { data, frame } = this, at = data.inputs.indexOf(frame)
    const parts = [`frame ${frame} of ${data.count}`, `${(frame / data.rate).toFixed(2)} s`]
    if (at < 0) parts.push("not an input frame")
    else for (const { name, values, unit } of data.curves) parts.push(`${name} ${format(values[at], unit)}`)
    this.status.textContent = parts.join(" · ")
    this.slider.setAttribute("aria-valuenow", frame)
    this.slider.setAttribute("aria-valuetext", parts.join(", "))
    const play = this.root.querySelector(".play")
    play.textContent = this.timer ? "❚❚" : "▶"
    play.setAttribute("aria-label", this.timer ? "Pause" : "Play")

    function format(value, unit) {
      return unit === "share" ? `${(100 * value).toFixed(0)} %` : `${(Math.round(1000 * value) / 10 || 0).toFixed(1)} points`
    }
  }
}
